//! Keys over WebSocket: what a client sees of them in frames, in JSON and in protobuf.

use futures::SinkExt;
use gateway::access::keys::Quotas;
use prost::Message as _;
use proto::v1::{
    StartSnapshot, SubscribeRequest, subscribe_request::Start, subscribe_response::Message as Sent,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::{
    access::{Keys, websocket},
    harness::{Client, Gateway},
    resume::{know_epoch, message},
};

/// A client that offers these subprotocols, and the one that it is answered.
async fn offering(gateway: &Gateway, protocols: &str) -> (Client, String) {
    let mut request = format!("ws://{}/ws", gateway.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
    let (socket, response) = connect_async(request).await.unwrap();
    let answer = response.headers()["sec-websocket-protocol"].to_str().unwrap().to_owned();
    (Client(socket), answer)
}

async fn ask(client: &mut Client, products: &[&str], start: Start) {
    let products = products.iter().map(|name| (*name).to_owned()).collect();
    let request = SubscribeRequest { products, start: Some(start), ..SubscribeRequest::default() };
    client.0.send(Message::binary(request.encode_to_vec())).await.unwrap();
}

/// The product and the sequence of the next tick.
async fn tick(client: &mut Client) -> (String, u64) {
    loop {
        if let Sent::Tick(tick) = message(client).await {
            let tick = tick.tick.unwrap();
            return (tick.product, tick.sequence.unwrap());
        }
    }
}

#[tokio::test]
async fn a_restricted_key_sees_its_products_whatever_is_asked_for() {
    let keys = Keys::new();
    let (_, key) = keys.create(&["BTC-USD"], Quotas::default());
    let (_, full) = keys.create(&["*"], Quotas::default());
    let gateway = keys.gateway().await;
    let (mut btc, mut eth) = (gateway.publisher("BTC-USD").await, gateway.publisher("ETH-USD").await);
    eth.publish([1]).await;
    btc.publish([1]).await;
    gateway.tell_epoch(&btc.instrument).await;
    gateway.tell_epoch(&eth.instrument).await;
    know_epoch(websocket(&gateway, "x-api-key", &full).await.unwrap(), 1).await;
    // Tokens of whole subscriptions, from somebody who may see everything.
    let mut tokens = Vec::new();
    for products in [r#"["*"]"#, r#"["BTC-USD","ETH-USD"]"#] {
        let mut client = websocket(&gateway, "x-api-key", &full).await.unwrap();
        client.send(&format!(r#"{{"op":"subscribe","products":{products},"want_events":true}}"#)).await;
        tokens.push(client.event("checkpoint").await["token"].as_str().unwrap().to_owned());
    }
    assert!(live::Token::parse(&tokens[0]).unwrap().is_of_all());
    eth.publish([2]).await;
    btc.publish([2]).await;

    let protocols = format!("ledgerflux.bearer.{key}, ledgerflux.v1.proto");
    let (mut client, answered) = offering(&gateway, &protocols).await;
    assert_eq!(answered, "ledgerflux.v1.proto");
    // Named, by itself or in a token.
    for (products, start) in [
        (&["BTC-USD", "ETH-USD"][..], Start::Snapshot(StartSnapshot {})),
        (&[][..], Start::ResumeToken(tokens[1].clone())),
        (&["ETH-USD"][..], Start::ResumeToken(tokens[0].clone())),
    ] {
        ask(&mut client, products, start).await;
        let refused = client.json().await;
        assert_eq!(refused["code"], "SUBSCRIBE_ERROR", "{refused}");
        assert!(refused["msg"].as_str().unwrap().contains("ETH-USD"), "{refused}");
    }
    // Everything.
    ask(&mut client, &[], Start::ResumeToken(tokens[0].clone())).await;
    let (mut other, _) = offering(&gateway, &protocols).await;
    ask(&mut other, &["*"], Start::Snapshot(StartSnapshot {})).await;
    let Sent::Snapshot(snapshot) = message(&mut other).await else { panic!("no snapshot") };
    assert_eq!(snapshot.snapshot.unwrap().product, "BTC-USD");
    assert_eq!(tick(&mut client).await, ("BTC-USD".to_owned(), 2));
    let mut json = websocket(&gateway, "x-api-key", &key).await.unwrap();
    let by_token = |token| format!(r#"{{"op":"subscribe","token":"{token}"}}"#);
    let refused = json.refused(&by_token(&tokens[1]), "SUBSCRIBE_ERROR").await;
    assert!(refused.contains("ETH-USD"), "{refused}");
    json.send(&by_token(&tokens[0])).await;
    assert_eq!(json.sequences(1).await, [2]);
    json.event("live").await;
    // And what comes later.
    eth.publish([3]).await;
    btc.publish([3]).await;
    for client in [&mut client, &mut other] {
        assert_eq!(tick(client).await, ("BTC-USD".to_owned(), 3));
    }
    assert_eq!(json.sequences(1).await, [3]);
    gateway.stop().await;
}

#[tokio::test]
async fn who_says_so_in_the_first_message_is_let_in_for_protobuf_too() {
    let keys = Keys::new();
    let (id, key) = keys.create(&["BTC-USD"], Quotas::default());
    let gateway = keys.gateway().await;
    let (mut client, answered) = offering(&gateway, "ledgerflux.v1.proto, chat").await;
    assert_eq!(answered, "ledgerflux.v1.proto");
    // Without waiting for the answer, and with a request that nobody else may send.
    client.send(&format!(r#"{{"op":"auth","token":"{key}"}}"#)).await;
    let long = format!(r#"{{"op":"ping","t":1,"more":"{}"}}"#, "x".repeat(200_000));
    client.send(&long).await;
    ask(&mut client, &["*"], Start::Snapshot(StartSnapshot {})).await;
    assert_eq!(client.json().await, serde_json::json!({"op": "auth", "name": id}));
    assert_eq!(client.json().await["op"], "pong");
    let Sent::Snapshot(snapshot) = message(&mut client).await else { panic!("no snapshot") };
    assert_eq!(snapshot.snapshot.unwrap().product, "BTC-USD");

    // Bytes instead of text, and more than a token.
    for (first, why) in [
        (Message::binary(SubscribeRequest::default().encode_to_vec()), "not text"),
        (Message::text(long), "too long"),
    ] {
        let (mut stranger, _) = offering(&gateway, "ledgerflux.v1.proto").await;
        stranger.0.send(first).await.unwrap();
        assert_eq!(u16::from(stranger.closed().await.expect("a close").code), 1008, "{why}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn who_takes_every_tick_takes_no_more_than_its_quota() {
    let keys = Keys::new();
    let one = 1.try_into().ok();
    let (_, key) = keys.create(&["*"], Quotas { messages_per_second: one, ..Quotas::default() });
    let gateway = keys.gateway().await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    let mut slow = websocket(&gateway, "x-api-key", &key).await.unwrap();
    slow.send(r#"{"op":"subscribe","products":["*"]}"#).await;
    let mut client = websocket(&gateway, "x-api-key", &key).await.unwrap();
    client.send(r#"{"op":"subscribe","products":["*"],"want":"lossless"}"#).await;
    client.event("live").await;
    slow.settle().await;
    for hundred in 0..30 {
        publisher.publish(hundred * 100 + 1..=hundred * 100 + 100).await;
    }
    let close = client.closed().await.expect("a close");
    assert_eq!((u16::from(close.code), close.reason.contains("conflate")), (1008, true), "{close:?}");
    // Whoever conflates is slowed down, and stays.
    assert_eq!(slow.tick().await["product"], "BTC-USD");
    gateway.stop().await;
}
