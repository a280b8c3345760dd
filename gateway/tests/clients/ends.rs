//! Credentials where nobody asks for them, what a restricted caller is refused by name, and what a client is told when its
//! time is over: from where to go on.

use futures::SinkExt as _;
use gateway::access::keys::Quotas;
use prost::Message as _;
use proto::v1::{
    DeliveryPolicy, LosslessDelivery, ProductPosition, StartPositions, StreamEventKind, SubscribeRequest,
    SubscribeResponse, delivery_policy::Policy, streaming_service_client::StreamingServiceClient,
    subscribe_request::Start, subscribe_response::Message as Sent,
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tonic::{Code, Request, Status, Streaming};

use crate::{
    access::{Keys, reason, token, websocket},
    harness::{Gateway, PATIENCE, Publisher, config},
    resume::{know_epoch, message},
};

async fn subscribe(
    gateway: &Gateway,
    header: (&'static str, &str),
    request: SubscribeRequest,
) -> Result<Streaming<SubscribeResponse>, Status> {
    let mut client = StreamingServiceClient::connect(format!("http://{}", gateway.address)).await.unwrap();
    let mut request = Request::new(request);
    request.metadata_mut().insert(header.0, header.1.parse().unwrap());
    client.subscribe(request).await.map(tonic::Response::into_inner)
}

fn everything(start: Option<Start>) -> SubscribeRequest {
    let policy = Some(Policy::Lossless(LosslessDelivery {}));
    let delivery = Some(DeliveryPolicy { policy });
    SubscribeRequest { products: vec!["*".into()], start, delivery, ..SubscribeRequest::default() }
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Result<Sent, Status> {
    let next = timeout(PATIENCE, stream.message()).await.expect("something comes")?;
    Ok(next.expect("a stream ends with a status").message.unwrap())
}

/// The sequence of the next tick.
async fn tick(stream: &mut Streaming<SubscribeResponse>) -> u64 {
    loop {
        if let Sent::Tick(update) = next(stream).await.unwrap() {
            return update.tick.unwrap().sequence.unwrap();
        }
    }
}

fn is_live(message: &Sent) -> bool {
    matches!(message, Sent::Event(event) if event.kind() == StreamEventKind::Live)
}

/// The token and the words of the last event, and the status that ends the stream.
async fn closing(stream: &mut Streaming<SubscribeResponse>) -> (String, String, Status) {
    let event = loop {
        match next(stream).await.unwrap() {
            Sent::Event(event) if event.kind() == StreamEventKind::Closing => break event,
            _ => {}
        }
    };
    assert!(event.retry_delay.is_none(), "nobody gets in again with these credentials");
    (event.resume_token, event.detail, next(stream).await.unwrap_err())
}

/// A gateway that knows its epoch, with one tick.
async fn known(keys: &Keys, full: &str) -> (Gateway, Publisher) {
    let gateway = keys.gateway().await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([1]).await;
    gateway.tell_epoch(&publisher.instrument).await;
    know_epoch(websocket(&gateway, "x-api-key", full).await.unwrap(), 1).await;
    (gateway, publisher)
}

#[tokio::test]
async fn who_has_a_key_is_served_where_nobody_asks_for_one() {
    let gateway = Gateway::start(config()).await;
    gateway.publisher("BTC-USD").await.publish([1]).await;
    let mut client = gateway.websocket("/ws").await;
    for request in [r#"{"op":"auth","token":"lf_3fa9c2d1_x"}"#, r#"{"operation":"auth"}"#] {
        client.send(request).await;
        assert_eq!(client.json().await, serde_json::json!({"op": "auth", "name": "anonymous"}));
    }
    client.send(r#"{"op":"subscribe","products":["BTC-USD"],"want_snapshot":true}"#).await;
    assert_eq!(client.json().await["op"], "snapshot");
    // Also what is no key of ours: a proxy before the gateway may have its own.
    for header in [("authorization", "Bearer garbage"), ("authorization", "Basic YTpi"), ("x-api-key", "x")] {
        websocket(&gateway, header.0, header.1).await.unwrap().settle().await;
        let mut stream = subscribe(&gateway, header, everything(None)).await.unwrap();
        assert!(matches!(next(&mut stream).await, Ok(Sent::Snapshot(_))), "{header:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn where_a_key_is_asked_for_it_is_shown_once() {
    let keys = Keys::new();
    let ((id, key), (_, other)) =
        (keys.create(&["*"], Quotas::default()), keys.create(&["*"], Quotas::default()));
    let gateway = keys.gateway().await;
    let mut client = websocket(&gateway, "x-api-key", &key).await.unwrap();
    for shown in [&key, &other] {
        let request = format!(r#"{{"op":"auth","token":"{shown}"}}"#);
        let refused = client.refused(&request, "INVALID_OPERATION").await;
        assert!(refused.contains(&id) && !refused.contains(shown.as_str()), "{refused}");
    }
    client.settle().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_position_in_a_product_that_the_key_may_not_see_is_refused_by_name() {
    let keys = Keys::new();
    let ((_, key), (_, full)) =
        (keys.create(&["BTC-USD"], Quotas::default()), keys.create(&["*"], Quotas::default()));
    let (gateway, mut publisher) = known(&keys, &full).await;
    publisher.publish([2, 3]).await;
    let at = |product: &str| ProductPosition { product: product.into(), run: Some(0), sequence: 1 };
    let positions = |positions| everything(Some(Start::Positions(StartPositions { positions })));
    let both = positions(vec![at("BTC-USD"), at("ETH-USD")]);
    let status = subscribe(&gateway, ("x-api-key", &key), both.clone()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "PRODUCT_NOT_ALLOWED".to_owned()));
    assert!(status.message().contains("ETH-USD"), "{status:?}");
    let offered = format!("ledgerflux.v1.proto, ledgerflux.bearer.{key}");
    let mut client = websocket(&gateway, "sec-websocket-protocol", &offered).await.unwrap();
    client.0.send(Message::binary(both.encode_to_vec())).await.unwrap();
    let refused = client.json().await;
    assert_eq!(refused["code"], "SUBSCRIBE_ERROR");
    assert!(refused["msg"].as_str().unwrap().contains("ETH-USD"), "{refused}");
    // What it may see starts where it says, and who may see everything may name both.
    for (key, request) in [(&key, positions(vec![at("BTC-USD")])), (&full, both)] {
        let mut stream = subscribe(&gateway, ("x-api-key", key), request).await.unwrap();
        assert_eq!((tick(&mut stream).await, tick(&mut stream).await), (2, 3));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_revocation_hands_out_tokens_that_another_key_resumes_with() {
    let keys = Keys::new();
    let ((id, key), (_, full)) =
        (keys.create(&["BTC-USD"], Quotas::default()), keys.create(&["*"], Quotas::default()));
    let (gateway, mut publisher) = known(&keys, &full).await;
    let mut stream = subscribe(&gateway, ("x-api-key", &key), everything(None)).await.unwrap();
    let mut json = websocket(&gateway, "x-api-key", &key).await.unwrap();
    json.send(r#"{"op":"subscribe","products":["*"],"want":"lossless"}"#).await;
    json.event("live").await;
    let offered = format!("ledgerflux.v1.proto, ledgerflux.bearer.{key}");
    let mut binary = websocket(&gateway, "sec-websocket-protocol", &offered).await.unwrap();
    binary.0.send(Message::binary(everything(None).encode_to_vec())).await.unwrap();
    while !is_live(&message(&mut binary).await) {}
    while !is_live(&next(&mut stream).await.unwrap()) {}
    publisher.publish([2]).await;
    assert_eq!(tick(&mut stream).await, 2);
    assert_eq!(json.sequences(1).await, [2]);
    while !matches!(message(&mut binary).await, Sent::Tick(_)) {}

    keys.revoke(&id);
    let (of_stream, detail, status) = closing(&mut stream).await;
    assert_eq!(reason(&status), (Code::Unauthenticated, "CREDENTIALS_REVOKED".to_owned()));
    assert!(detail.contains("revoked"), "{detail}");
    let told = json.event("closing").await;
    assert!(told["detail"].as_str().unwrap().contains("revoked"), "{told}");
    let of_json = told["token"].as_str().unwrap().to_owned();
    let of_binary = loop {
        match message(&mut binary).await {
            Sent::Event(event) if event.kind() == StreamEventKind::Closing => break event.resume_token,
            _ => {}
        }
    };
    for mut client in [json, binary] {
        assert_eq!(u16::from(client.closed().await.expect("a close").code), 1008);
    }
    publisher.publish([3, 4]).await;
    for token in [of_stream, of_json, of_binary] {
        let start = Some(Start::ResumeToken(token));
        let request = SubscribeRequest { products: Vec::new(), ..everything(start) };
        let mut resumed = subscribe(&gateway, ("x-api-key", &full), request).await.unwrap();
        assert_eq!((tick(&mut resumed).await, tick(&mut resumed).await), (3, 4));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_end_of_a_token_says_from_where_to_go_on() {
    let keys = Keys::new();
    let (_, full) = keys.create(&["*"], Quotas::default());
    let (gateway, _publisher) = known(&keys, &full).await;
    // Good for some seconds longer, for issuers whose clock is off.
    let header = format!("Bearer {}", token(-2));
    let mut stream = subscribe(&gateway, ("authorization", &header), everything(None)).await.unwrap();
    let mut json = websocket(&gateway, "authorization", &header).await.unwrap();
    json.send(r#"{"op":"subscribe","products":["*"],"want_events":true}"#).await;
    let told = json.event("closing").await;
    assert!(live::Token::parse(told["token"].as_str().unwrap()).is_ok(), "{told}");
    let (token, detail, status) = closing(&mut stream).await;
    assert!(live::Token::parse(&token).unwrap().is_of_subscription() && detail.contains("over"), "{detail}");
    assert_eq!(reason(&status), (Code::Unauthenticated, "CREDENTIALS_EXPIRED".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn more_ticks_than_the_quota_end_with_a_token_that_leaves_none_out() {
    let keys = Keys::new();
    let one = 1.try_into().ok();
    let (_, key) = keys.create(&["*"], Quotas { messages_per_second: one, ..Quotas::default() });
    let (_, full) = keys.create(&["*"], Quotas::default());
    let (gateway, mut publisher) = known(&keys, &full).await;
    let mut stream = subscribe(&gateway, ("x-api-key", &key), everything(None)).await.unwrap();
    let mut json = websocket(&gateway, "x-api-key", &key).await.unwrap();
    json.send(r#"{"op":"subscribe","products":["*"],"want":"lossless"}"#).await;
    json.event("live").await;
    while !is_live(&next(&mut stream).await.unwrap()) {}
    // More than it may be ahead, so that what was read from the feed cannot all be sent.
    let last = 3_000;
    for from in (2..=last).step_by(100) {
        publisher.publish(from..=last.min(from + 99)).await;
    }
    let (mut of_stream, mut of_json) = (1, 1);
    let token = loop {
        match next(&mut stream).await.unwrap() {
            Sent::Tick(update) => of_stream = update.tick.unwrap().sequence.unwrap(),
            Sent::Event(event) if event.kind() == StreamEventKind::Closing => break event.resume_token,
            _ => {}
        }
    };
    assert_eq!(
        reason(&next(&mut stream).await.unwrap_err()),
        (Code::ResourceExhausted, "MESSAGES_QUOTA".to_owned())
    );
    let told = loop {
        let told = json.json().await;
        match told["data"]["seq"].as_u64() {
            Some(sequence) if told["op"] == "incr" => of_json = sequence,
            _ if told["data"]["type"] == "closing" => break told,
            _ => {}
        }
    };
    assert!(told["data"]["detail"].as_str().unwrap().contains("conflate"), "{told}");
    assert_eq!(u16::from(json.closed().await.expect("a close").code), 1008);
    assert!((1_000..last).contains(&of_stream) && (1_000..last).contains(&of_json));
    for (seen, token) in [(of_stream, token.as_str()), (of_json, told["data"]["token"].as_str().unwrap())] {
        let start = Some(Start::ResumeToken(token.to_owned()));
        let request = SubscribeRequest { products: Vec::new(), ..everything(start) };
        let mut resumed = subscribe(&gateway, ("x-api-key", &full), request).await.unwrap();
        for sequence in seen + 1..=last {
            assert_eq!(tick(&mut resumed).await, sequence);
        }
    }
    gateway.stop().await;
}
