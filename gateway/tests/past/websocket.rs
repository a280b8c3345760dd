//! The past over `/ws`: each kind of start beyond what is in memory, while the market goes on.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{net::TcpStream, sync::Notify, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use tokio_util::task::AbortOnDropHandle;

use crate::world::{Gateway, PATIENCE, World, second};

/// What is stored before the first client comes; the stream of ticks has the last of them only.
const STORED: u64 = 3_000;
/// How far each client reads beyond the first word that it is live.
const LIVE: u64 = 300;

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn subscribe(gateway: &Gateway, members: &str) -> Self {
        let (mut socket, _) = connect_async(format!("ws://{}/ws", gateway.address)).await.unwrap();
        let request = format!(r#"{{"op":"subscribe","products":["BTC-USD"],"want_events":true,{members}}}"#);
        socket.send(Message::text(request)).await.unwrap();
        Self(socket)
    }

    async fn json(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a frame arrives").expect("open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Reads from the tick `first` until it has been live for a while; each tick must be the next one, or say how many were
    /// skipped, which may only happen once it is live. Returns how many were skipped.
    async fn follow(&mut self, first: u64, what: &str) -> u64 {
        let (mut next, mut skipped, mut live_from) = (first, 0, None);
        while live_from.is_none_or(|from| next < from + LIVE) {
            let frame = self.json().await;
            let data = &frame["data"];
            match (frame["op"].as_str().unwrap(), data["type"].as_str()) {
                ("incr", _) => {
                    let left_out = data["skipped"].as_u64().unwrap_or(0);
                    assert!(left_out == 0 || live_from.is_some(), "{what}: a part of the past at {next}");
                    let number = data["seq"].as_u64().unwrap() / 3;
                    assert_eq!(number, next + left_out, "{what}: {data}");
                    (next, skipped) = (number + 1, skipped + left_out);
                }
                ("event", Some("live")) => live_from = Some(next),
                ("event", Some("checkpoint")) | ("rate_limit", _) => {}
                _ => panic!("{what}: {frame}"),
            }
        }
        assert!(live_from > Some(STORED - 10), "{what}: live at {live_from:?}");
        skipped
    }
}

/// A market that goes on: what is stored follows what is published at a distance.
fn market(world: &Arc<World>) -> (AbortOnDropHandle<()>, Arc<Notify>) {
    let (world, moved) = (Arc::clone(world), Arc::new(Notify::new()));
    let told = Arc::clone(&moved);
    let market = tokio::spawn(async move {
        for at in (STORED + 1..).step_by(5) {
            world.publish(at..at + 5).await;
            if at > STORED + 20 {
                world.keep(at - 20..at - 15).await;
            }
            told.notify_waiters();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    (AbortOnDropHandle::new(market), moved)
}

/// A world with a past and a gateway that has little of it in memory, and the token of tick 1,500.
async fn world(ring_ticks_max: usize) -> (Arc<World>, Gateway, String) {
    let world = Arc::new(World::start().await);
    world.keep(1..=STORED).await;
    world.publish(STORED - 4..=STORED).await;
    let gateway = world.gateway_with(ring_ticks_max).await;
    let mut client = Client::subscribe(&gateway, r#""from_seq":{"BTC-USD":4500}"#).await;
    let token = loop {
        let frame = client.json().await;
        if frame["op"] == "incr" {
            assert_eq!(frame["data"]["seq"], 4_500);
            break frame["data"]["token"].as_str().unwrap().to_owned();
        }
    };
    (world, gateway, token)
}

fn starts(token: &str, want: &str) -> [(String, u64); 3] {
    let time = second(1_200) * 1_000_000_000 - 1;
    [
        (format!(r#""want":"{want}","from_time":{time}"#), 1_200),
        (format!(r#""want":"{want}","from_seq":{{"BTC-USD":2999}}"#), 1_000),
        (format!(r#""want":"{want}","token":"{token}""#), 1_501),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tick_comes_once_and_in_order_while_the_market_is_busy() {
    let (world, gateway, token) = world(16_384).await;
    let (_market, moved) = market(&world);
    moved.notified().await;
    let mut clients = Vec::new();
    for (members, first) in starts(&token, "lossless") {
        clients.push((Client::subscribe(&gateway, &members).await, members, first));
    }
    // All at the same time: nobody waits for another.
    let following = clients.iter_mut().map(|(client, members, first)| client.follow(*first, members));
    let skipped: BTreeSet<u64> = futures::future::join_all(following).await.into_iter().collect();
    assert_eq!(skipped, BTreeSet::from([0]));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_memory_while_history_is_read_comes_all_the_same() {
    // A few batches of the market, which are gone before the past is read.
    let (world, gateway, token) = world(32).await;
    let (_market, moved) = market(&world);
    moved.notified().await;
    for (members, first) in starts(&token, "conflate") {
        Client::subscribe(&gateway, &members).await.follow(first, &members).await;
    }
    gateway.stop().await;
}
