//! The JSON protocol.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{CloseCode, Data, OpCode},
    },
};

use crate::harness::{EVENT_TIME, Gateway, config};

#[tokio::test]
async fn a_snapshot_before_the_first_tick_then_every_tick_with_its_own_digits() {
    let gateway = Gateway::start(config()).await;
    let mut client = gateway.websocket("/ws").await;
    client.send(r#"{"op":"subscribe","products":["btc-usd "],"want_snapshot":true}"#).await;
    let snapshot = client.json().await;
    assert_eq!((snapshot["op"].as_str(), snapshot["data"]["seq"].as_u64()), (Some("snapshot"), Some(0)));
    assert!(snapshot["data"]["ts_snapshot"].as_i64().unwrap() > EVENT_TIME);
    assert_eq!(
        snapshot["data"]["state"],
        json!({"last_trade":null,"best_bid":null,"best_ask":null,"last_seq":null,"last_update":null})
    );

    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([7]).await;
    let text = client.text().await;
    assert!(text.contains(r#""last_trade":{"px":61234.12345678901234567890,"qty":0.10"#), "{text}");
    assert!(text.contains(&format!(r#""ts_event":{EVENT_TIME},"#)), "{text}");

    let mut other = gateway.websocket("/ws?numbers=string").await;
    other.send(r#"{"operation":"subscribe","products":["BTC-USD"],"want_snapshot":true,"unknown":1}"#).await;
    let snapshot = other.json().await;
    assert_eq!(snapshot["data"]["state"]["last_trade"]["px"], "61234.12345678901234567890");
    assert_eq!(snapshot["data"]["state"]["last_update"], EVENT_TIME.to_string());
    assert_eq!(snapshot["data"]["seq"], 7);
    publisher.publish([9]).await;
    assert_eq!(other.json().await["data"]["fields"]["best_bid"]["px"], "9");
    gateway.stop().await;
}

#[tokio::test]
async fn products_come_and_go_in_mid_session() {
    let gateway = Gateway::start(config()).await;
    let (mut btc, mut eth) = (gateway.publisher("BTC-USD").await, gateway.publisher("ETH-USD").await);
    let mut client = gateway.websocket("/ws").await;
    client.send(r#"{"op":"subscribe","products":["BTC-USD"]}"#).await;
    client.settle().await;
    eth.publish([1]).await;
    btc.publish([2]).await;
    assert_eq!(client.json().await["data"]["seq"], 2);
    client.send(r#"{"op":"subscribe","products":["*"]}"#).await;
    client.send(r#"{"op":"unsubscribe","products":["BTC-USD"]}"#).await;
    client.settle().await;
    eth.publish([3]).await;
    let frame = client.json().await;
    assert_eq!(
        (frame["data"]["product"].as_str(), frame["data"]["seq"].as_u64()),
        (Some("ETH-USD"), Some(3))
    );
    client.send(r#"{"op":"unsubscribe","products":["*"]}"#).await;
    client.settle().await;
    btc.publish([4]).await;
    client.settle().await;
    gateway.stop().await;
}

#[tokio::test]
async fn faulty_requests_are_answered_precisely_and_the_session_goes_on() {
    let gateway = Gateway::start(gateway::Config { products_max: 2, ..config() }).await;
    let mut client = gateway.websocket("/ws").await;
    client.refused("{", "INVALID_JSON").await;
    client.refused(r#"{"op":"sell"}"#, "INVALID_OPERATION").await;
    let message =
        client.refused(r#"{"op":"subscribe","products":["BTC-USD","B T C"]}"#, "SUBSCRIBE_ERROR").await;
    assert!(message.contains("B T C"), "{message}");
    client.refused(r#"{"op":"unsubscribe"}"#, "UNSUBSCRIBE_ERROR").await;
    client.refused(r#"{"op":"ping","t":[]}"#, "PING_ERROR").await;
    let message = client.refused(r#"{"op":"subscribe","products":["A","B","C"]}"#, "SUBSCRIBE_ERROR").await;
    assert!(message.contains('2'), "{message}");
    client.send(r#"{"op":"ping","t":1234567890.12345678901}"#).await;
    assert_eq!(client.text().await, r#"{"op":"pong","t":1234567890.12345678901}"#);
    gateway.stop().await;
}

#[tokio::test]
async fn the_close_says_why() {
    let gateway = Gateway::start(gateway::Config { websockets_max: 1, ..config() }).await;
    let code = |close: Option<tokio_tungstenite::tungstenite::protocol::CloseFrame>| close.unwrap().code;

    let mut first = gateway.websocket("/ws").await;
    first.settle().await;
    assert_eq!(code(gateway.websocket("/ws").await.closed().await), CloseCode::Again);
    first.send(&"x".repeat(256 * 1024 + 1)).await;
    assert_eq!(code(first.closed().await), CloseCode::Size);

    let mut second = gateway.websocket("/ws").await;
    second.settle().await;
    futures::SinkExt::send(&mut second.0, Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(code(second.closed().await), CloseCode::Unsupported);

    let mut garbled = gateway.websocket("/ws").await;
    garbled.settle().await;
    let not_utf8 = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    futures::SinkExt::send(&mut garbled.0, Message::Frame(not_utf8)).await.unwrap();
    assert_eq!(code(garbled.closed().await), CloseCode::Invalid);

    let mut third = gateway.websocket("/ws").await;
    third.settle().await;
    let shutdown = gateway.shutdown.clone();
    shutdown.request();
    assert_eq!(code(third.closed().await), CloseCode::Restart);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_gives_no_sign_of_life_is_given_up() {
    let (ping_interval, idle_timeout) = (Duration::from_millis(50), Duration::from_millis(200));
    let gateway = Gateway::start(gateway::Config { ping_interval, idle_timeout, ..config() }).await;
    // One that reads answers pings, and stays.
    let mut alive = gateway.websocket("/ws").await;
    let listening = tokio::time::timeout(Duration::from_millis(600), alive.text()).await;
    assert!(listening.is_err(), "{listening:?}");
    alive.settle().await;
    // One that does not read does not answer, and is told so when it reads at last.
    let mut mute = gateway.websocket("/ws").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(mute.closed().await.unwrap().code, CloseCode::Policy);
    gateway.stop().await;
}

#[tokio::test]
async fn no_upgrade_no_service() {
    let gateway = Gateway::start(config()).await;
    assert!(gateway.get("/ws").await.starts_with("HTTP/1.1 426 "));
    gateway.stop().await;
}
