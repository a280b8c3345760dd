//! The operations endpoints, over real HTTP on the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::time::Duration;

use runtime::{Readiness, Shutdown, listen, ops, telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

struct Ops {
    address: SocketAddr,
    readiness: Readiness,
    shutdown: Shutdown,
    served: JoinHandle<()>,
}

async fn start() -> Ops {
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), "ops.listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let served = tokio::spawn(ops::serve(listener, readiness.clone(), shutdown.clone()));
    Ops { address, readiness, shutdown, served }
}

impl Ops {
    /// Status and body of the answer to a GET request.
    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    async fn stop(self) {
        self.shutdown.request();
        tokio::time::timeout(Duration::from_secs(10), self.served).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn health_is_alive_and_ready_tells_what_it_waits_for() {
    let ops = start().await;
    assert_eq!(ops.get("/health").await.0, 200);
    assert_eq!(ops.get("/ready").await.0, 503, "nothing has reported yet");

    let bus = ops.readiness.scoped("gateway").latch("bus");
    let exchange = ops.readiness.note("exchange");
    bus.set_waiting("connection refused");
    exchange.set_waiting("mute for 40 s");
    let (status, body) = ops.get("/ready").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 503);
    assert_eq!(body["ready"], false);
    assert_eq!(body["waiting"][0]["name"], "gateway.bus");
    assert_eq!(body["waiting"][0]["reason"], "connection refused");
    assert_eq!(ops.get("/health").await.0, 200);

    bus.set_ready();
    let (status, body) = ops.get("/ready").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["ready"]), (200, &true.into()));
    assert_eq!(body["notes"][0]["name"], "exchange");
    ops.stop().await;
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_other_paths_are_not_found() {
    let ops = start().await;
    assert_eq!(ops.get("/metrics").await.0, 503, "no recorder yet");
    let config = telemetry::Config { log: "off".to_owned(), ..telemetry::Config::default() };
    let _guard = telemetry::init(&config, "ledgerflux-test", "test-1").unwrap();
    metrics::histogram!("ledgerflux_test_hop_seconds").record(0.0003);
    metrics::histogram!("ledgerflux_test_batch_bytes").record(300.0);

    let (status, body) = ops.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "ledgerflux_test_hop_seconds_bucket{le=\"0.00025\"} 0",
        "ledgerflux_test_hop_seconds_bucket{le=\"0.0005\"} 1",
        "ledgerflux_test_batch_bytes_bucket{le=\"1024\"} 1",
        "ledgerflux_runtime_ready 0",
        "# TYPE ledgerflux_process_resident_memory_bytes gauge",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} is not in\n{body}");
    }
    for name in [
        "ledgerflux_build_info{version=\"",
        "ledgerflux_process_start_time_seconds 1",
        "ledgerflux_process_open_files ",
    ] {
        assert!(body.lines().any(|found| found.starts_with(name)), "{name} is not in\n{body}");
    }
    for path in ["/", "/metrics/x", "/debug"] {
        assert_eq!(ops.get(path).await.0, 404, "{path}");
    }
    ops.stop().await;
}

#[tokio::test]
async fn grpc_health_follows_readiness() {
    let ops = start().await;
    let bus = ops.readiness.latch("bus");
    let channel =
        tonic::transport::Endpoint::try_from(format!("http://{}", ops.address)).unwrap().connect_lazy();
    let mut client = HealthClient::new(channel);
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut next = async || watch.message().await.unwrap().unwrap().status();

    // The server begins as serving until it has looked at the readiness for the first time.
    while next().await != ServingStatus::NotServing {}
    bus.set_ready();
    assert_eq!(next().await, ServingStatus::Serving);
    bus.set_waiting("gone");
    assert_eq!(next().await, ServingStatus::NotServing);
    let checked = client.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(checked.status(), ServingStatus::NotServing);
    // The open watch must not keep the process alive.
    ops.stop().await;
}
