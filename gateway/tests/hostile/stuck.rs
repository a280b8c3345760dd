//! Clients that ask for everything and read nothing: each costs less than a MiB.

use std::time::Duration;

use prost::Message as _;
use proto::v1::SubscribeRequest;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::sleep,
};
use tokio_tungstenite::{MaybeTlsStream, client_async};

use crate::{
    harness::{Client, Gateway, Publisher},
    http2::{DATA, END_HEADERS, END_STREAM, HEADERS, frame, hello_with, post},
    witness::Scene,
};

const CLIENTS: u64 = 32;
/// On each connection of HTTP/2.
const STREAMS: u32 = 16;

/// A socket that takes as little as the system allows.
async fn narrow(gateway: &Gateway) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(gateway.address).await.unwrap()
}

/// Subscribes over HTTP/2, many times on one connection, with a window of nothing.
async fn subscribes(gateway: &Gateway) -> TcpStream {
    let mut socket = narrow(gateway).await;
    let headers = post("/ledgerflux.v1.StreamingService/Subscribe");
    let request = SubscribeRequest { products: vec!["*".into()], ..SubscribeRequest::default() };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0][..], &length, &message].concat();
    let no_window = [0, 4, 0, 0, 0, 0];
    let mut bytes = hello_with(&no_window);
    for at in 0..STREAMS {
        bytes.extend(frame(HEADERS, END_HEADERS, 2 * at + 1, &headers));
        bytes.extend(frame(DATA, END_STREAM, 2 * at + 1, &body));
    }
    socket.write_all(&bytes).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_costs_little() {
    let scene = Scene::set(&[("rate_per_second", "1000000"), ("rate_burst", "1000000")], None).await;
    let mut busy = Publisher::on(&scene.gateway.bus, "ETH-USD").await;
    busy.publish(1..=512).await;
    let before = scene.memory_at_rest().await;
    let (mut sockets, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let socket = narrow(&scene.gateway).await;
        let address = format!("ws://{}/ws", scene.gateway.address);
        let (socket, _) = client_async(address, MaybeTlsStream::Plain(socket)).await.unwrap();
        let mut client = Client(socket);
        client.send(r#"{"op":"subscribe","products":["*"],"want_snapshot":true}"#).await;
        sockets.push(client);
        streams.push(subscribes(&scene.gateway).await);
    }
    for next in (513..10_000).step_by(256) {
        busy.publish(next..next + 256).await;
        sleep(Duration::from_millis(20)).await;
    }
    let held = scene.memory_at_rest().await;
    println!("memory: {before} KiB, then {held} KiB");
    assert!(held < before + 2 * CLIENTS * 1024, "{before} KiB, then {held} KiB");
    drop((sockets, streams));
    scene.close().await;
}
