//! Keys, tokens and origins, as clients meet them.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use gateway::access::keys::{KeyFile, NewKey, Quotas, now};
use proto::v1::{
    SubscribeRequest, SubscribeResponse, streaming_service_client::StreamingServiceClient, subscribe_response,
};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error as SocketError, client::IntoClientRequest, http::HeaderValue},
};
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use crate::harness::{Client, Gateway, PATIENCE, config_with};

const SECRET: &[u8] = b"thirty-two bytes are enough of it";
/// What the README promises.
pub(crate) const REVOKED_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let keys = Self { folder: tempfile::tempdir().unwrap() };
        KeyFile::edit(&keys.path(), |_| ()).unwrap();
        std::fs::write(keys.folder.path().join("secret"), SECRET).unwrap();
        keys
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.toml")
    }

    /// Returns id and key.
    pub(crate) fn create(&self, products: &[&str], quotas: Quotas) -> (String, String) {
        let products = products.iter().map(|name| (*name).to_owned()).collect();
        let new = NewKey { name: "test".into(), products, expires: None, quotas };
        let (record, key) = KeyFile::edit(&self.path(), |file| file.create(new, now())).unwrap().unwrap();
        (record.id, key)
    }

    pub(crate) fn revoke(&self, id: &str) {
        KeyFile::edit(&self.path(), |file| file.revoke(id)).unwrap().expect("the key is there");
    }

    pub(crate) async fn gateway(&self) -> Gateway {
        self.gateway_with(&[]).await
    }

    /// One with further keys of the section set.
    pub(crate) async fn gateway_with(&self, further: &[(&str, &str)]) -> Gateway {
        let (keys, secret) = (self.path(), self.folder.path().join("secret"));
        let own = [
            ("keys", keys.to_str().unwrap()),
            ("jwt_key_file", secret.to_str().unwrap()),
            ("jwt_algorithm", "HS256"),
            ("auth_timeout", "1s"),
            ("origins", "https://app.example"),
        ];
        Gateway::start(config_with(&[&own, further].concat())).await
    }
}

/// A token for `subject` that is good for `seconds`.
pub(crate) fn token(seconds: i64) -> String {
    let now = now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let exp = now.checked_add_signed(seconds).unwrap();
    let claims = format!(r#"{{"sub":"alice","exp":{exp},"products":["BTC-USD"]}}"#);
    let message = format!("{}.{}", BASE64.encode(r#"{"alg":"HS256"}"#), BASE64.encode(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    let signature = BASE64.encode(ring::hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

async fn subscribe(
    gateway: &Gateway,
    header: Option<(&'static str, &str)>,
    products: &[&str],
) -> Result<Streaming<SubscribeResponse>, Status> {
    let channel =
        Channel::from_shared(format!("http://{}", gateway.address)).unwrap().connect().await.unwrap();
    let products = products.iter().map(|name| (*name).to_owned()).collect();
    let mut request = Request::new(SubscribeRequest { products, ..SubscribeRequest::default() });
    if let Some((name, value)) = header {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    StreamingServiceClient::new(channel).subscribe(request).await.map(tonic::Response::into_inner)
}

/// The status that ends a stream.
async fn end(stream: &mut Streaming<SubscribeResponse>) -> Status {
    loop {
        match timeout(PATIENCE, stream.message()).await.expect("the stream ends") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends without a status"),
            Err(status) => return status,
        }
    }
}

pub(crate) fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_error_details().error_info().unwrap().reason.clone())
}

pub(crate) async fn websocket(
    gateway: &Gateway,
    header: &'static str,
    value: &str,
) -> Result<Client, SocketError> {
    let mut request = format!("ws://{}/ws", gateway.address).into_client_request().unwrap();
    request.headers_mut().insert(header, HeaderValue::from_str(value).unwrap());
    connect_async(request).await.map(|(socket, _)| Client(socket))
}

#[tokio::test]
async fn nobody_gets_data_without_good_credentials() {
    let keys = Keys::new();
    let (_, key) = keys.create(&["*"], Quotas::default());
    let gateway = keys.gateway().await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([1]).await;
    let forged = format!("{}x", &key[..key.len() - 1]);
    let (old, bent) = (token(-60), format!("{}A", token(600)));
    for (shown, why) in [
        (None, "CREDENTIALS_MISSING"),
        (Some(("authorization", "Basic YTpi".to_owned())), "CREDENTIALS_INVALID"),
        (Some(("authorization", "Bearer garbage".to_owned())), "CREDENTIALS_INVALID"),
        (Some(("x-api-key", forged.clone())), "CREDENTIALS_UNKNOWN"),
        (Some(("authorization", format!("Bearer {old}"))), "CREDENTIALS_EXPIRED"),
        (Some(("authorization", format!("Bearer {bent}"))), "CREDENTIALS_INVALID"),
    ] {
        let header = shown.as_ref().map(|(name, value)| (*name, value.as_str()));
        let status = subscribe(&gateway, header, &["BTC-USD"]).await.unwrap_err();
        assert_eq!(reason(&status), (Code::Unauthenticated, why.to_owned()), "{shown:?}");
        assert!(!status.message().contains(&forged), "{status:?}");
        if let Some((name, value)) = header {
            let refused = websocket(&gateway, name, value).await.map(|_| ()).unwrap_err();
            assert!(matches!(&refused, SocketError::Http(answer) if answer.status() == 401), "{refused:?}");
        }
    }
    // A WebSocket that says nothing, nonsense, or the wrong thing first.
    for first in [
        None,
        Some("{}"),
        Some(r#"{"op":"subscribe","products":["BTC-USD"]}"#),
        Some(r#"{"op":"auth","token":"x"}"#),
    ] {
        let mut client = gateway.websocket("/ws").await;
        if let Some(first) = first {
            client.send(first).await;
        }
        let close = client.closed().await.expect("a close");
        assert_eq!(u16::from(close.code), 1008, "{first:?}: {close:?}");
    }
    // What needs no key: the page, the probes, and what the page shows before it has one.
    assert!(gateway.get("/").await.starts_with("HTTP/1.1 200 "));
    assert!(gateway.get("/ready").await.starts_with("HTTP/1.1 200 "));
    let info = gateway.get("/info.json").await;
    assert!(info.contains(r#""auth_required":true"#) && !info.contains("BTC-USD"), "{info}");
    let channel =
        Channel::from_shared(format!("http://{}", gateway.address)).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    // And with it.
    let info = gateway
        .http(&format!(
            "GET /info.json HTTP/1.1\r\nhost: {}\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n",
            gateway.address
        ))
        .await;
    assert!(info.contains("BTC-USD"), "{info}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_websocket_shows_its_credentials_in_any_of_three_places() {
    let keys = Keys::new();
    let (id, key) = keys.create(&["BTC-USD"], Quotas::default());
    let gateway = keys.gateway().await;
    let by_header = websocket(&gateway, "authorization", &format!("Bearer {key}")).await.unwrap();
    let offered = format!("ledgerflux.v1.json, ledgerflux.bearer.{}", token(600));
    let by_subprotocol = websocket(&gateway, "sec-websocket-protocol", &offered).await.unwrap();
    let mut by_message = gateway.websocket("/ws").await;
    by_message.send(&format!(r#"{{"op":"auth","token":"{key}"}}"#)).await;
    assert_eq!(by_message.json().await, serde_json::json!({"op": "auth", "name": id}));
    for mut client in [by_header, by_subprotocol, by_message] {
        client.settle().await;
        let refused = client.refused(r#"{"op":"subscribe","products":["ETH-USD"]}"#, "SUBSCRIBE_ERROR").await;
        assert!(refused.contains("ETH-USD"), "{refused}");
        // Everything is what it may see.
        client.send(r#"{"op":"subscribe","products":["*"],"want_snapshot":true}"#).await;
        assert_eq!(client.json().await["data"]["product"], "BTC-USD");
        client.settle().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_revocation_ends_open_streams_and_nobody_elses() {
    let keys = Keys::new();
    let ((id, key), (_, other_key)) =
        (keys.create(&["*"], Quotas::default()), keys.create(&["*"], Quotas::default()));
    let gateway = keys.gateway().await;
    let mut stream = subscribe(&gateway, Some(("x-api-key", &key)), &["*"]).await.unwrap();
    let mut socket = websocket(&gateway, "x-api-key", &key).await.unwrap();
    let mut other = websocket(&gateway, "x-api-key", &other_key).await.unwrap();
    keys.revoke(&id);
    let revoked = Instant::now();
    let status = end(&mut stream).await;
    assert_eq!(reason(&status), (Code::Unauthenticated, "CREDENTIALS_REVOKED".to_owned()));
    let close = socket.closed().await.expect("a close");
    assert_eq!((u16::from(close.code), close.reason.contains("revoked")), (1008, true), "{close:?}");
    assert!(revoked.elapsed() < REVOKED_WITHIN, "{:?}", revoked.elapsed());
    let status = subscribe(&gateway, Some(("x-api-key", &key)), &["*"]).await.unwrap_err();
    assert_eq!(reason(&status).1, "CREDENTIALS_UNKNOWN");
    other.settle().await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_end_of_a_token_ends_what_it_opened() {
    let keys = Keys::new();
    let gateway = keys.gateway().await;
    // Tokens are good for some seconds longer, for issuers whose clock is off.
    let short = token(-3);
    let header = format!("Bearer {short}");
    let mut stream = subscribe(&gateway, Some(("authorization", &header)), &["*"]).await.unwrap();
    let mut socket = websocket(&gateway, "authorization", &header).await.unwrap();
    assert_eq!(reason(&end(&mut stream).await), (Code::Unauthenticated, "CREDENTIALS_EXPIRED".to_owned()));
    assert_eq!(u16::from(socket.closed().await.expect("a close").code), 1008);
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_sees_its_products_and_takes_no_more_than_its_quotas() {
    let keys = Keys::new();
    let two = 2.try_into().ok();
    let quotas = Quotas { connections_max: two, products_max: two, ..Quotas::default() };
    let (_, key) = keys.create(&["BTC-USD", "ETH-USD", "ADA-USD"], quotas);
    let (_, few) = keys.create(&["*"], Quotas { products_max: two, ..Quotas::default() });
    let (_, slow) = keys.create(&["*"], Quotas { calls_per_second: 1.try_into().ok(), ..Quotas::default() });
    let gateway = keys.gateway().await;
    let header = Some(("x-api-key", key.as_str()));
    let status = subscribe(&gateway, header, &["BTC-USD", "SOL-USD"]).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "PRODUCT_NOT_ALLOWED".to_owned()));
    let status = subscribe(&gateway, header, &["*"]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "three are more than two: {status:?}");
    let mut stream = subscribe(&gateway, header, &["BTC-USD", "ETH-USD"]).await.unwrap();
    let first = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap().message;
    assert!(matches!(first, Some(subscribe_response::Message::Snapshot(_))), "{first:?}");

    let mut socket = websocket(&gateway, "x-api-key", &key).await.unwrap();
    socket.settle().await;
    let status = subscribe(&gateway, header, &["BTC-USD"]).await.unwrap_err();
    assert_eq!(reason(&status), (Code::ResourceExhausted, "CONNECTIONS_QUOTA".to_owned()));
    assert!(status.get_error_details().retry_info().is_some());
    let close = websocket(&gateway, "x-api-key", &key).await.unwrap().closed().await.expect("a close");
    assert_eq!(u16::from(close.code), 1013);
    drop(stream);
    testkit::eventually(PATIENCE, || async { subscribe(&gateway, header, &["BTC-USD"]).await.is_ok() }).await;

    // `*` is more than it may follow, where it may see everything.
    let header = Some(("x-api-key", few.as_str()));
    let status = subscribe(&gateway, header, &["*"]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    subscribe(&gateway, header, &["SOL-USD", "ADA-USD"]).await.unwrap();
    let mut socket = websocket(&gateway, "x-api-key", &few).await.unwrap();
    socket.refused(r#"{"op":"subscribe","products":["*"]}"#, "SUBSCRIBE_ERROR").await;
    socket.send(r#"{"op":"subscribe","products":["SOL-USD","ADA-USD"]}"#).await;
    socket.refused(r#"{"op":"subscribe","products":["BTC-USD"]}"#, "SUBSCRIBE_ERROR").await;

    let header = Some(("x-api-key", slow.as_str()));
    let mut last = Ok(());
    for _ in 0..3 {
        last = subscribe(&gateway, header, &["BTC-USD"]).await.map(drop);
    }
    assert_eq!(reason(&last.unwrap_err()), (Code::ResourceExhausted, "CALLS_QUOTA".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_may_not_call() {
    let gateway = Gateway::start(config_with(&[("origins", "https://app.example")])).await;
    let own = format!("http://{}", gateway.address);
    for (origin, is_allowed) in [
        (own.as_str(), true),
        ("https://app.example", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let opened = websocket(&gateway, "origin", origin).await;
        assert_eq!(opened.is_ok(), is_allowed, "{origin}");
        if let Err(error) = opened {
            assert!(matches!(&error, SocketError::Http(answer) if answer.status() == 403), "{error:?}");
        }
        let answer = gateway
            .http(&format!(
                "POST /ledgerflux.v1.StreamingService/Subscribe HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\n\
                 content-type: application/grpc-web+proto\r\ncontent-length: 5\r\nconnection: close\r\n\r\n\0\0\0\0\0",
                gateway.address
            ))
            .await
            .to_lowercase();
        // An allowed one gets as far as an error about its products.
        assert_eq!(answer.contains("grpc-status: 7"), !is_allowed, "{origin}: {answer}");
        assert_eq!(answer.contains("access-control-allow-origin"), is_allowed, "{origin}: {answer}");
    }
    gateway.stop().await;
}
