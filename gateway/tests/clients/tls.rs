//! The gateway over TLS.

use std::path::Path;

use proto::v1::{SubscribeRequest, streaming_service_client::StreamingServiceClient};
use tokio::net::TcpStream;
use tokio_tungstenite::{Connector, client_async_tls_with_config};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::harness::{Client, Gateway, PATIENCE, config_with};

/// Writes a new certificate and its key, and returns the certificate.
fn certify(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("chain.pem"), made.cert.pem()).unwrap();
    made.cert.pem()
}

async fn channel(gateway: &Gateway, trusted: &str) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(trusted)).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", gateway.address)).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await
}

#[tokio::test]
async fn every_protocol_is_spoken_over_tls_and_the_certificate_is_renewed() {
    runtime::tls::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path());
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let config = config_with(&[
        ("tls_certificate", chain.to_str().unwrap()),
        ("tls_key", key.to_str().unwrap()),
        ("header_timeout", "1s"),
    ]);
    let gateway = Gateway::start(config).await;

    let mut streaming = StreamingServiceClient::new(channel(&gateway, &first).await.unwrap());
    let request = SubscribeRequest { products: vec!["*".into()], ..SubscribeRequest::default() };
    let mut stream = streaming.subscribe(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());

    let trusting = runtime::tls::client_config(Some(&chain)).unwrap();
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let url = format!("wss://localhost:{}/ws", gateway.address.port());
    let connector = Some(Connector::Rustls(trusting));
    let (socket, _) = client_async_tls_with_config(url, socket, None, connector).await.unwrap();
    let mut client = Client(socket);
    client.settle().await;

    // Without TLS there is nothing to be had, and who does not shake hands is cut off.
    let plain = gateway.http("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(!plain.contains("alive"), "{plain}");
    assert!(gateway.http("").await.is_empty());

    let second = certify(folder.path());
    testkit::eventually(PATIENCE, || async { channel(&gateway, &second).await.is_ok() }).await;
    assert!(channel(&gateway, &first).await.is_err(), "the old one is still shown");
    client.settle().await;
    std::fs::write(&chain, "no certificate").unwrap();
    assert!(channel(&gateway, &second).await.is_ok());
    gateway.stop().await;
}
