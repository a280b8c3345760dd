//! The bounds of the HTTP server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use axum::{Extension, Router};
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use runtime::http::{Cut, Limits, serve};
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

/// How many answers are there.
type Places = Arc<AtomicUsize>;

/// A place that an answer holds.
struct Place(Places);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers that go on for ever, each with its place.
async fn start_endless(limits: Limits, places: Places) -> (SocketAddr, Shutdown, JoinHandle<()>) {
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let router = Router::new()
        .route("/much", get(async |Extension(places): Extension<Places>| endless(places, Duration::ZERO)))
        .route("/large", get(async |Extension(places): Extension<Places>| two_large(places)))
        .route("/seldom", get(async |Extension(places): Extension<Places>| endless(places, EVERY)))
        .route(
            "/cut",
            get(async |Extension(places): Extension<Places>, request: Request| {
                request.extensions().get::<Cut>().unwrap().when(tokio::time::sleep(EVERY));
                endless(places, Duration::ZERO)
            }),
        )
        .layer(Extension(places));
    let served = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
    (address, shutdown, served)
}

const EVERY: Duration = Duration::from_millis(300);

fn endless(places: Places, every: Duration) -> Body {
    places.fetch_add(1, Ordering::SeqCst);
    let place = Place(places);
    Body::from_stream(stream::unfold(place, move |place| async move {
        tokio::time::sleep(every).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 4_096])), place))
    }))
}

/// Two messages of 64 KiB.
fn two_large(places: Places) -> Body {
    places.fetch_add(1, Ordering::SeqCst);
    let place = Place(places);
    Body::from_stream(stream::iter(0..2).map(move |_| {
        let _place = &place;
        Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 64 * 1024]))
    }))
}

async fn http2(address: SocketAddr, window: u32) -> http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

async fn given_back(places: &Places) {
    let waiting = async {
        while places.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the answer is kept");
}

/// An answer that has begun.
async fn begun(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = send(address, &request(path)).await;
    stream.read_exact(&mut [0; 12]).await.unwrap();
    stream
}

fn get_http2(path: &str) -> hyper::Request<Empty<Bytes>> {
    hyper::Request::get(format!("http://localhost{path}")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_cut_off_and_what_it_holds_is_given_back() {
    let limits = Limits { stall_timeout: Duration::from_millis(500), ..Limits::default() };
    let places = Places::default();
    let (address, shutdown, served) = start_endless(limits, Arc::clone(&places)).await;
    // Over HTTP/1 it is the connection that ends.
    let unread = begun(address, "/much").await;
    given_back(&places).await;
    drop(unread);
    // Over HTTP/2 it is the stream: one that is only quiet goes on beside it.
    let mut client = http2(address, 0).await;
    let stuck = client.send_request(get_http2("/much")).await.unwrap();
    let mut reading = http2(address, 65_535).await;
    let mut quiet = reading.send_request(get_http2("/seldom")).await.unwrap().into_body();
    for _ in 0..4 {
        assert!(quiet.frame().await.unwrap().unwrap().is_data());
    }
    let reset = tokio::time::timeout(PATIENCE, stuck.into_body().frame()).await.expect("it is reset");
    assert!(reset.unwrap().is_err());
    assert!(quiet.frame().await.unwrap().is_ok());
    drop((client, quiet, reading));
    given_back(&places).await;
    shutdown.request();
    ended(served).await;
}

/// However large a message is, a client that goes on taking it is waited for.
#[tokio::test]
async fn an_answer_that_is_read_slowly_is_not_cut_off() {
    let limits = Limits { stall_timeout: EVERY * 2, ..Limits::default() };
    let places = Places::default();
    let (address, shutdown, served) = start_endless(limits, Arc::clone(&places)).await;
    let mut client = http2(address, 8 * 1024).await;
    let mut body = client.send_request(get_http2("/large")).await.unwrap().into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.expect("it is not reset").into_data().unwrap().len();
        tokio::time::sleep(EVERY / 2).await;
    }
    assert_eq!(read, 2 * 64 * 1024);
    shutdown.request();
    ended(served).await;
}

#[tokio::test]
async fn a_handler_can_have_its_answer_cut_off_whether_it_is_read_or_not() {
    let places = Places::default();
    let (address, shutdown, served) = start_endless(Limits::default(), Arc::clone(&places)).await;
    let unread = begun(address, "/cut").await;
    given_back(&places).await;
    for window in [0, 65_535] {
        let mut client = http2(address, window).await;
        let mut body = client.send_request(get_http2("/cut")).await.unwrap().into_body();
        let until_end = async { while body.frame().await.unwrap().is_ok() {} };
        tokio::time::timeout(PATIENCE, until_end).await.expect("it is reset");
        given_back(&places).await;
    }
    drop(unread);
    shutdown.request();
    ended(served).await;
}
