//! The bounds of the HTTP server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use runtime::http::{Limits, serve};
use runtime::{Shutdown, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(limits: Limits) -> (SocketAddr, Shutdown, JoinHandle<()>) {
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let router = Router::new()
        .route("/peer", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(300)).await))
        .route("/stuck", get(std::future::pending::<()>));
    let served = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
    (address, shutdown, served)
}

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that was cut may end with a reset instead of an end.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection stays open");
    String::from_utf8(answer).unwrap()
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

async fn ended(served: JoinHandle<()>) {
    tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
}

#[tokio::test]
async fn silent_and_dawdling_clients_are_cut() {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let (address, shutdown, served) = start(limits).await;
    for beginning in ["", "P", "PRI * HTTP/2.0\r\n", "GET /peer HTTP/1.1\r\nhost: "] {
        let answer = rest(send(address, beginning).await).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{beginning}: {answer}");
    }
    shutdown.request();
    ended(served).await;
}

#[tokio::test]
async fn handlers_see_the_clients_address_and_a_place_is_free_again_after_the_client_left() {
    let (address, shutdown, served) = start(Limits { connections_max: 1, ..Limits::default() }).await;
    for _ in 0..3 {
        let mut stream = send(address, &request("/peer")).await;
        let peer = stream.local_addr().unwrap().to_string();
        let mut answer = [0; 1024];
        let count = stream.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..count]).ends_with(&peer));
    }
    shutdown.request();
    ended(served).await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_place() {
    let (address, shutdown, served) = start(Limits { connections_max: 1, ..Limits::default() }).await;
    let first = send(address, &request("/stuck")).await;
    let mut second = send(address, &request("/peer")).await;
    let mut answer = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut answer)).await;
    assert!(early.is_err(), "the limit was not kept");
    drop(first);
    tokio::time::timeout(PATIENCE, second.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    shutdown.request();
    ended(served).await;
}

#[tokio::test]
async fn a_shutdown_lets_open_requests_end_and_cuts_idle_and_stuck_ones() {
    let limits = Limits { drain_deadline: Duration::from_secs(1), ..Limits::default() };
    let (address, shutdown, served) = start(limits).await;
    let idle = send(address, "").await;
    let slow = send(address, &request("/slow")).await;
    let stuck = send(address, &request("/stuck")).await;
    // Served already, so that the server has accepted those before it.
    let mut probe = send(address, &request("/peer")).await;
    probe.read_exact(&mut [0; 12]).await.unwrap();

    shutdown.request();
    assert!(rest(slow).await.starts_with("HTTP/1.1 200"));
    ended(served).await;
    assert!(rest(idle).await.is_empty());
    assert!(rest(stuck).await.is_empty());
    assert!(TcpStream::connect(address).await.is_err());
}
