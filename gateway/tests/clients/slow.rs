//! Load, and clients that do not keep up.

use std::time::{Duration, Instant};

use gateway::Config;
use live::Rate;
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio_tungstenite::{MaybeTlsStream, client_async};

use crate::harness::{Client, Gateway, PATIENCE, Publisher, config};

const PRODUCTS: [&str; 4] = ["BTC-USD", "ETH-USD", "ADA-USD", "SOL-USD"];
const BATCHES: u64 = 300;
const PER_BATCH: u64 = 10;

/// Publishes as fast as the bus takes it.
fn load(gateway: &Gateway) -> tokio::task::JoinHandle<()> {
    let bus = gateway.bus.clone();
    tokio::spawn(async move {
        let mut publishers = Vec::new();
        for product in PRODUCTS {
            publishers.push(Publisher::on(&bus, product).await);
        }
        for batch in 0..BATCHES {
            for publisher in &mut publishers {
                publisher.publish((batch * PER_BATCH + 1)..=((batch + 1) * PER_BATCH)).await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

/// Reads until the last tick of every product has come; checks the order and counts what came and what was skipped.
async fn follow(client: &mut Client) -> (u64, u64) {
    let mut last = [0u64; PRODUCTS.len()];
    let (mut given, mut skipped) = (0, 0);
    while last.iter().any(|last| *last < BATCHES * PER_BATCH) {
        let frame: Value = client.json().await;
        if frame["op"] != "incr" {
            assert_eq!(frame["op"], "rate_limit");
            continue;
        }
        let data = &frame["data"];
        let at = PRODUCTS.iter().position(|product| data["product"] == *product).unwrap();
        let sequence = data["seq"].as_u64().unwrap();
        let left_out = data["skipped"].as_u64().unwrap_or(0);
        assert_eq!(sequence, last[at] + left_out + 1, "{}", PRODUCTS[at]);
        last[at] = sequence;
        given += 1;
        skipped += left_out;
    }
    (given, skipped)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_strict_under_load_and_a_client_that_never_reads_delays_nobody() {
    // No limit that this load reaches, so that the fast client must get every tick.
    let rate = Rate { per_second: 1_000_000.try_into().unwrap(), burst: 1_000_000.try_into().unwrap() };
    let gateway =
        Gateway::start(Config { rate, behind_ticks_max: 2_000.try_into().unwrap(), ..config() }).await;
    let mut stuck = gateway.websocket("/ws").await;
    let mut reading = gateway.websocket("/ws").await;
    for client in [&mut stuck, &mut reading] {
        client.send(r#"{"op":"subscribe","products":["*"]}"#).await;
        client.settle().await;
    }
    let load = load(&gateway);
    let (given, skipped) = follow(&mut reading).await;
    load.await.unwrap();
    assert_eq!((given, skipped), (BATCHES * PER_BATCH * PRODUCTS.len() as u64, 0));
    // The stuck client still has a connection, and what it reads at last is in order too.
    let (given, skipped) = follow(&mut stuck).await;
    assert_eq!(given + skipped, BATCHES * PER_BATCH * PRODUCTS.len() as u64);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_rate_conflates_and_loses_no_newest_price() {
    let gateway = Gateway::start(config()).await;
    let mut client = gateway.websocket("/ws").await;
    client.send(r#"{"op":"subscribe","products":["*"]}"#).await;
    client.settle().await;
    let load = load(&gateway);
    let (given, skipped) = follow(&mut client).await;
    load.await.unwrap();
    assert_eq!(given + skipped, BATCHES * PER_BATCH * PRODUCTS.len() as u64);
    assert!(skipped > 0 && given >= 200, "{given} given, {skipped} skipped");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_socket_is_full_is_given_up() {
    let rate = Rate { per_second: 1_000_000.try_into().unwrap(), burst: 1_000_000.try_into().unwrap() };
    let write_timeout = Duration::from_millis(300);
    let gateway = Gateway::start(Config { rate, write_timeout, websockets_max: 1, ..config() }).await;
    // A small window, so that it takes megabytes and not tens of them until the server's writes block.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let socket = socket.connect(gateway.address).await.unwrap();
    let address = format!("ws://{}/ws", gateway.address);
    let (socket, _) = client_async(address, MaybeTlsStream::Plain(socket)).await.unwrap();
    let mut stuck = Client(socket);
    stuck.send(r#"{"op":"subscribe","products":["*"]}"#).await;
    stuck.settle().await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    let (started, mut next) = (Instant::now(), 0);
    // Its place is free again once it has been given up; until then others are sent away.
    loop {
        assert!(started.elapsed() < PATIENCE, "the stuck client keeps its place");
        publisher.publish(next..next + 400).await;
        next += 400;
        let mut other = gateway.websocket("/ws").await;
        other.send(r#"{"op":"ping","t":1}"#).await;
        if matches!(futures::StreamExt::next(&mut other.0).await, Some(Ok(message)) if message.is_text()) {
            break;
        }
    }
    drop(stuck);
    gateway.stop().await;
}
