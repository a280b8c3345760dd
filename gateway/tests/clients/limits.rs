//! Clients that take more than their share, and what the others notice of it: nothing.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    harness::{Gateway, PATIENCE, config_with},
    http2::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PING, RST_STREAM, frame, goaway, hello,
    },
};

/// Somebody else, who must be answered all the time.
async fn another_is_served(gateway: &Gateway) {
    let asked = Instant::now();
    let mut other = gateway.websocket("/ws").await;
    other.settle().await;
    assert!(gateway.get("/health").await.starts_with("HTTP/1.1 200 "));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn floods_of_http2_end_the_connection_that_makes_them() {
    let gateway = Gateway::start(config_with(&[])).await;
    let resets: Vec<u8> = (0..20_000_u32)
        .flat_map(|at| {
            let stream = 2 * at + 1;
            [
                frame(HEADERS, END_HEADERS | END_STREAM, stream, GET),
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
            ]
            .concat()
        })
        .collect();
    // Headers that never end.
    let mut endless = frame(HEADERS, 0, 1, GET);
    for _ in 0..2_000 {
        let header = [&[0x00, 0x01, b'a', 0x7f, 0x81, 0x07][..], &[b'x'; 256]].concat();
        endless.extend(frame(CONTINUATION, 0, 1, &header));
    }
    let nonsense = [frame(DATA, 0, 7, b"data for nobody"), frame(PING, 0, 3, b"12345678")].concat();
    for (name, flood) in [("resets", resets), ("endless headers", endless), ("nonsense", nonsense)] {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        socket.write_all(&hello()).await.unwrap();
        let (mut reading, mut writing) = socket.into_split();
        let wrote = tokio::spawn(async move {
            // The gateway may close in the middle of it.
            drop(writing.write_all(&flood).await);
            writing
        });
        another_is_served(&gateway).await;
        let code = goaway(&mut reading).await;
        drop(wrote.await.unwrap());
        // A connection that is reset outright has no GOAWAY to read any more.
        assert!(code.is_none_or(|code| code != 0), "{name}: {code:?}");
        another_is_served(&gateway).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn who_dawdles_is_cut_off_at_every_stage() {
    let gateway = Gateway::start(config_with(&[("header_timeout", "1s"), ("request_timeout", "1s")])).await;
    let head = format!("GET / HTTP/1.1\r\nhost: {}\r\n", gateway.address);
    for (name, beginning) in
        [("silence", b"".as_slice()), ("half a preface", b"PRI * HTTP"), ("half a head", head.as_bytes())]
    {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        socket.write_all(beginning).await.unwrap();
        let mut answer = Vec::new();
        // A connection that is cut may end with a reset.
        drop(
            timeout(PATIENCE, socket.read_to_end(&mut answer))
                .await
                .unwrap_or_else(|_| panic!("{name} is left open")),
        );
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{name}: {answer}");
    }
    for method in ["StreamingService/Subscribe", "MarketDataService/ListTicks"] {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST /ledgerflux.v1.{method} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/grpc-web+proto\r\n\
             content-length: 100\r\nconnection: close\r\n\r\n\0\0\0",
            gateway.address
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        drop(
            timeout(PATIENCE, socket.read_to_end(&mut answer))
                .await
                .unwrap_or_else(|_| panic!("{method} waits")),
        );
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.contains("grpc-status: 4"), "{method}: {answer}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_websockets_included() {
    let gateway = Gateway::start(config_with(&[("connections_per_address_max", "2")])).await;
    let mut first = gateway.websocket("/ws").await;
    first.settle().await;
    let mut second = gateway.websocket("/ws").await;
    second.settle().await;
    let mut third = TcpStream::connect(gateway.address).await.unwrap();
    let closed = timeout(PATIENCE, third.read(&mut [0; 1])).await.expect("it is closed at once");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    first.settle().await;
    drop(second);
    testkit::eventually(PATIENCE, || async {
        let mut socket = TcpStream::connect(gateway.address).await.ok()?;
        socket.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.ok()?;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.ok()?;
        (&answer == b"HTTP/1.1 200").then_some(())
    })
    .await;
    gateway.stop().await;
}
