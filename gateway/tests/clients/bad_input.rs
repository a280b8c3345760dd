//! Requests that no one should send, and what they do to everybody else: nothing.

use crate::{
    harness::{Gateway, config},
    raw::{BINARY, FINAL, PING, Raw, TEXT, frame},
};

#[tokio::test]
async fn every_fault_is_named_and_nobody_else_notices() {
    let gateway = Gateway::start(config()).await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    let mut other = gateway.websocket("/ws").await;
    other.send(r#"{"op":"subscribe","products":["*"]}"#).await;
    other.settle().await;

    let many: Vec<String> = (0..10_000).map(|number| format!("P{number}-USD")).collect();
    let names = serde_json::to_string(&many).unwrap();
    let deep = format!("{}1{}", "[".repeat(60_000), "]".repeat(60_000));
    let faults = [
        (format!(r#"{{"op":"subscribe","products":{names}}}"#), "SUBSCRIBE_ERROR", "10000"),
        (format!(r#"{{"op":"unsubscribe","products":{deep}}}"#), "", ""),
        (deep, "INVALID_JSON", ""),
        (r#"{"op":"subscribe","products":["*"],"token":"garbage"}"#.into(), "INVALID_TOKEN", "token"),
        (r#"{"op":"subscribe","token":"AQAAAAAAAAAAAAAAAAAAAA"}"#.into(), "INVALID_TOKEN", "token"),
        (r#"{"op":"subscribe","products":["*"],"want":1}"#.into(), "SUBSCRIBE_ERROR", "lossless"),
        (r#"{"op":"subscribe","products":["*"],"from_time":1.5}"#.into(), "SUBSCRIBE_ERROR", "from_time"),
        (r#"{"op":"ping","t":{}}"#.into(), "PING_ERROR", "t is"),
        ("\u{0}".into(), "INVALID_JSON", ""),
    ];
    let mut client = gateway.websocket("/ws").await;
    for (request, code, named) in &faults {
        client.send(request).await;
        let answer = client.json().await;
        assert_eq!(answer["op"], "error");
        if !code.is_empty() {
            assert_eq!(answer["code"], *code, "{:.80}", request);
        }
        let message = answer["msg"].as_str().unwrap();
        assert!(message.contains(named) && message.len() < 1_000, "{message}");
    }
    client.settle().await;
    publisher.publish([1]).await;
    assert_eq!(other.json().await["data"]["seq"], 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_storm_of_requests_is_refused_and_then_ended() {
    let gateway = Gateway::start(config()).await;
    let mut other = gateway.websocket("/ws").await;
    let mut storm = Raw::connect(&gateway).await;
    let request = frame(FINAL | TEXT, br#"{"op":"subscribe","products":["BTC-USD"]}"#);
    let requests = request.repeat(4_000);
    storm.send(&requests).await;
    let mut refused = 0;
    let code = loop {
        let Some(answer) = storm.frame().await else { panic!("no close") };
        match answer.opcode {
            TEXT => {
                let text = String::from_utf8(answer.payload).unwrap();
                assert!(text.contains("TOO_MANY_REQUESTS"), "{text}");
                refused += 1;
            }
            _ => break u16::from_be_bytes([answer.payload[0], answer.payload[1]]),
        }
    };
    assert_eq!((code, refused), (1008, 1_000));
    other.settle().await;
    // Pings are messages too.
    let mut pings = Raw::connect(&gateway).await;
    pings.send(&frame(FINAL | PING, b"x").repeat(4_000)).await;
    assert_eq!(pings.closed().await.0, 1008);
    other.settle().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_of_protobuf_is_told_in_json_what_is_wrong() {
    let gateway = Gateway::start(config()).await;
    let mut client = Raw::connect_with(&gateway, "Sec-WebSocket-Protocol: ledgerflux.v1.proto\r\n").await;
    for request in [&b"\xff\xff\xff"[..], b""] {
        client.send(&frame(FINAL | BINARY, request)).await;
        let answer = client.answer().await;
        assert!(answer.contains("SUBSCRIBE_ERROR"), "{answer}");
    }
    client.text(r#"{"op":"ping","t":1}"#).await;
    assert_eq!(client.answer().await, r#"{"op":"pong","t":1}"#);
    gateway.stop().await;
}
