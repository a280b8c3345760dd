//! Starts in the past, tokens, policies and events over WebSocket, in JSON and in protobuf.

use std::time::Duration;

use domain::{Instrument, Snapshot};
use futures::{SinkExt, StreamExt};
use prost::Message as _;
use proto::v1::{
    DeliveryPolicy, LosslessDelivery, StartSnapshot, StreamEventKind, SubscribeRequest, SubscribeResponse,
    delivery_policy::Policy, subscribe_request::Start, subscribe_response,
};
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::harness::{Client, Gateway, PATIENCE, config, tick};

impl Client {
    /// The next frame that is a tick; it must be of BTC-USD.
    pub(crate) async fn tick(&mut self) -> Value {
        loop {
            let frame = self.json().await;
            if frame["op"] == "incr" {
                assert_eq!(frame["data"]["product"], "BTC-USD");
                return frame["data"].clone();
            }
            assert_eq!(frame["op"], "event", "{frame}");
        }
    }

    pub(crate) async fn sequences(&mut self, count: usize) -> Vec<u64> {
        let mut sequences = Vec::new();
        while sequences.len() < count {
            sequences.push(self.tick().await["seq"].as_u64().unwrap());
        }
        sequences
    }

    /// The data of the next event of this type.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.json().await;
            if frame["data"]["type"] == kind {
                return frame["data"].clone();
            }
        }
    }
}

/// A gateway that knows which history it serves, and has seen BTC-USD up to sequence 30.
async fn gateway() -> (Gateway, crate::harness::Publisher) {
    let gateway = Gateway::start(config()).await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([10, 20, 30]).await;
    gateway.tell_epoch(&publisher.instrument).await;
    know_epoch(gateway.websocket("/ws").await, 30).await;
    (gateway, publisher)
}

/// Waits for the snapshot with this sequence and a token: then the gateway knows the epoch.
pub(crate) async fn know_epoch(mut client: Client, sequence: u64) {
    client.send(r#"{"op":"subscribe","products":["*"],"want":"lossless"}"#).await;
    timeout(PATIENCE, async {
        loop {
            client.send(r#"{"op":"subscribe","products":["*"],"want_snapshot":true}"#).await;
            let snapshot = client.event("snapshot").await;
            if snapshot["seq"] == sequence && snapshot["token"].is_string() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the epoch is known");
}

#[tokio::test]
async fn a_start_at_a_sequence_goes_on_from_there() {
    let (gateway, mut publisher) = gateway().await;
    let mut client = gateway.websocket("/ws").await;
    client.send(r#"{"op":"subscribe","products":["BTC-USD"],"from_seq":{"BTC-USD":20}}"#).await;
    assert_eq!(client.sequences(2).await, [20, 30]);
    client.event("live").await;
    publisher.publish([40]).await;
    assert_eq!(client.sequences(1).await, [40]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_token_of_a_tick_resumes_its_product_and_one_of_a_checkpoint_all_of_them() {
    let (gateway, mut publisher) = gateway().await;
    let mut first = gateway.websocket("/ws").await;
    first.send(r#"{"op":"subscribe","products":["*"],"want":"lossless"}"#).await;
    first.event("live").await;
    publisher.publish([40, 50]).await;
    let token = first.tick().await["token"].as_str().unwrap().to_owned();
    assert_eq!(first.sequences(1).await, [50]);

    let mut second = gateway.websocket("/ws").await;
    second.send(&format!(r#"{{"op":"subscribe","products":["BTC-USD"],"token":"{token}"}}"#)).await;
    assert_eq!(second.sequences(1).await, [50]);
    second.event("live").await;

    let token = first.event("checkpoint").await["token"].as_str().unwrap().to_owned();
    drop(first);
    publisher.publish([60, 70]).await;
    let mut third = gateway.websocket("/ws").await;
    // The token says by itself what was subscribed to.
    third.send(&format!(r#"{{"op":"subscribe","token":"{token}"}}"#)).await;
    assert_eq!(third.sequences(2).await, [60, 70]);
    third.event("live").await;
    publisher.publish([80]).await;
    assert_eq!(third.sequences(1).await, [80]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_drain_hands_out_a_token_before_the_close() {
    let (gateway, _publisher) = gateway().await;
    let mut client = gateway.websocket("/ws").await;
    client.send(r#"{"op":"subscribe","products":["*"],"want":"lossless"}"#).await;
    client.event("live").await;
    gateway.shutdown.request();
    let closing = client.event("closing").await;
    assert!(live::Token::parse(closing["token"].as_str().unwrap()).unwrap().is_of_all());
    assert_eq!(u16::from(client.closed().await.unwrap().code), 1012);
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_has_one_policy() {
    let gateway = Gateway::start(config()).await;
    let mut client = gateway.websocket("/ws").await;
    client.send(r#"{"op":"subscribe","products":["BTC-USD"],"want":"interval","interval_ms":200}"#).await;
    client.event("live").await;
    let message = client
        .refused(r#"{"op":"subscribe","products":["ETH-USD"],"want":"lossless"}"#, "SUBSCRIBE_ERROR")
        .await;
    assert!(message.contains("one policy"), "{message}");
    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([1]).await;
    assert_eq!(client.sequences(1).await, [1]);
    // What comes within the interval waits for its end, and only the newest of it is given.
    publisher.publish([2, 3, 4]).await;
    let tick = client.tick().await;
    assert_eq!((tick["seq"].as_u64(), tick["skipped"].as_u64()), (Some(4), Some(2)));
    client.send(r#"{"op":"unsubscribe","products":["*"]}"#).await;
    client.send(r#"{"op":"subscribe","products":["BTC-USD"],"want":"lossless"}"#).await;
    client.event("live").await;
    publisher.publish([5, 6, 7]).await;
    assert_eq!(client.sequences(3).await, [5, 6, 7]);
    gateway.stop().await;
}

/// The next message of a client that speaks protobuf.
pub(crate) async fn message(client: &mut Client) -> subscribe_response::Message {
    loop {
        match timeout(PATIENCE, client.0.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(bytes) => return SubscribeResponse::decode(bytes).unwrap().message.unwrap(),
            Message::Ping(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn protobuf_frames_are_those_of_grpc() {
    let (gateway, mut publisher) = gateway().await;
    let mut request = format!("ws://{}/ws", gateway.address).into_client_request().unwrap();
    let protocol = "ledgerflux.v1.proto".parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let (socket, _) = connect_async(request).await.unwrap();
    let mut client = Client(socket);
    let subscribe = SubscribeRequest {
        products: vec!["BTC-USD".into()],
        start: Some(Start::Snapshot(StartSnapshot {})),
        delivery: Some(DeliveryPolicy { policy: Some(Policy::Lossless(LosslessDelivery {})) }),
        ..SubscribeRequest::default()
    };
    client.0.send(Message::binary(subscribe.encode_to_vec())).await.unwrap();
    let subscribe_response::Message::Snapshot(snapshot) = message(&mut client).await else {
        panic!("no snapshot")
    };
    assert_eq!(snapshot.snapshot.unwrap().sequence, Some(30));
    let subscribe_response::Message::Event(event) = message(&mut client).await else { panic!("no event") };
    assert_eq!(event.kind(), StreamEventKind::Live);
    publisher.publish([40]).await;
    let subscribe_response::Message::Tick(tick) = message(&mut client).await else { panic!("no tick") };
    assert!(!tick.resume_token.is_empty());
    let tick = tick.tick.unwrap();
    assert_eq!((tick.product.as_str(), tick.sequence), ("BTC-USD", Some(40)));
    // The other requests, and their answers, are text.
    client.0.send(Message::text(r#"{"op":"unsubscribe","products":["*"]}"#)).await.unwrap();
    client.settle().await;
    gateway.stop().await;
}

impl Gateway {
    /// Publishes a snapshot, as a snapshotter does: it tells which history this is.
    pub(crate) async fn tell_epoch(&self, instrument: &Instrument) {
        let snapshot = Snapshot::first(&tick(instrument, 1)).unwrap();
        self.bus.publish_snapshot_of(Some("test"), &snapshot).await.unwrap();
    }
}
