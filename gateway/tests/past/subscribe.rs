//! `Subscribe`: every kind of start, tokens, and what is told when the past is not there.

use proto::v1::{
    self, ConflateDelivery, DeliveryPolicy, LosslessDelivery, ProductPosition, StartPositions, StreamEvent,
    StreamEventKind, SubscribeRequest, SubscribeResponse, delivery_policy::Policy, subscribe_request::Start,
    subscribe_response::Message,
};
use tokio::time::timeout;
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

use crate::world::{Gateway, PATIENCE, World, second};

fn request(start: Start) -> SubscribeRequest {
    let policy = Some(Policy::Lossless(LosslessDelivery {}));
    SubscribeRequest {
        products: vec!["BTC-USD".into()],
        start: Some(start),
        delivery: Some(DeliveryPolicy { policy }),
        ..SubscribeRequest::default()
    }
}

fn position(number: u64, run: Option<u32>) -> Start {
    let positions = vec![ProductPosition { product: "BTC-USD".into(), run, sequence: number * 3 }];
    Start::Positions(StartPositions { positions })
}

async fn subscribe(gateway: &Gateway, request: SubscribeRequest) -> Streaming<SubscribeResponse> {
    gateway.client().await.subscribe(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Message {
    let message = timeout(PATIENCE, stream.message()).await.expect("a message arrives").unwrap();
    message.expect("the stream goes on").message.unwrap()
}

async fn tick(stream: &mut Streaming<SubscribeResponse>) -> v1::TickUpdate {
    loop {
        if let Message::Tick(update) = next(stream).await {
            return update;
        }
    }
}

/// The numbers of the ticks up to an event of this kind, and the event.
async fn until(stream: &mut Streaming<SubscribeResponse>, kind: StreamEventKind) -> (Vec<u64>, StreamEvent) {
    let mut numbers = Vec::new();
    loop {
        match next(stream).await {
            Message::Tick(update) => {
                assert_eq!(update.skipped, 0);
                numbers.push(update.tick.unwrap().sequence() / 3);
            }
            Message::Event(event) if event.kind() == kind => return (numbers, event),
            Message::Event(_) | Message::Snapshot(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_start_in_the_past_gives_everything_and_goes_on_without_a_seam() {
    let world = World::start().await;
    world.keep(1..=3_000).await;
    world.publish(2_995..=3_000).await;
    let gateway = world.gateway().await;
    let time = prost_types::Timestamp { seconds: second(2_000), nanos: 0 };
    for (start, first) in [
        (position(1_999, Some(0)), 2_000),
        (position(1_999, None), 2_000),
        (Start::StartTime(time), 2_000),
        (position(2_997, Some(0)), 2_998),
        (position(3_000, Some(0)), 3_001),
    ] {
        let mut stream = subscribe(&gateway, request(start.clone())).await;
        let (numbers, _) = until(&mut stream, StreamEventKind::Live).await;
        assert_eq!(numbers, (first..=3_000).collect::<Vec<_>>(), "{start:?}");
    }
    // A tick's token, and that of the whole subscription.
    let mut stream = subscribe(&gateway, request(position(2_900, None))).await;
    let update = tick(&mut stream).await;
    assert!(!update.resume_token.is_empty());
    until(&mut stream, StreamEventKind::Live).await;
    let (_, checkpoint) = until(&mut stream, StreamEventKind::Checkpoint).await;
    world.publish(3_001..=3_010).await;
    world.keep(3_001..=3_010).await;
    let mut resumed = subscribe(&gateway, request(Start::ResumeToken(update.resume_token))).await;
    let (numbers, _) = until(&mut resumed, StreamEventKind::Live).await;
    assert_eq!(numbers, (2_902..=3_010).collect::<Vec<_>>());
    for number in 3_001..=3_010 {
        assert_eq!(tick(&mut stream).await.tick.unwrap().sequence(), number * 3);
    }
    gateway.shutdown.request();
    let (numbers, closing) = until(&mut stream, StreamEventKind::Closing).await;
    assert!(numbers.is_empty());
    gateway.stop().await;
    // Another gateway, which has the last message in memory.
    world.publish(3_011..=3_012).await;
    let gateway = world.gateway().await;
    world.keep(3_011..=3_012).await;
    for (token, first) in [(checkpoint.resume_token, 3_001), (closing.resume_token, 3_011)] {
        let start = SubscribeRequest { products: Vec::new(), ..request(Start::ResumeToken(token)) };
        let mut stream = subscribe(&gateway, start).await;
        let (numbers, _) = until(&mut stream, StreamEventKind::Live).await;
        assert_eq!(numbers, (first..=3_012).collect::<Vec<_>>());
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recovered_is_told_and_what_is_wrong_is_refused() {
    let world = World::start().await;
    world.keep(100..=200).await;
    world.publish([200]).await;
    let gateway = world.gateway().await;
    let mut stream = subscribe(&gateway, request(position(50, Some(0)))).await;
    let (numbers, told) = until(&mut stream, StreamEventKind::NotRecovered).await;
    assert!(numbers.is_empty() && told.product == "BTC-USD" && told.detail.contains("not in history"));
    let Message::Snapshot(update) = next(&mut stream).await else { panic!("a snapshot") };
    assert_eq!(update.snapshot.unwrap().sequence, Some(600));
    until(&mut stream, StreamEventKind::Live).await;

    let interval = |seconds| {
        let interval = Some(prost_types::Duration { seconds, nanos: 0 });
        let policy = Some(Policy::Conflate(ConflateDelivery { interval }));
        SubscribeRequest { delivery: Some(DeliveryPolicy { policy }), ..request(Start::Now(v1::StartNow {})) }
    };
    let of_other = request(Start::Positions(StartPositions {
        positions: vec![ProductPosition { product: "ETH-USD".into(), run: None, sequence: 1 }],
    }));
    for (request, field) in [
        (request(Start::ResumeToken("garbage".into())), "resume_token"),
        (of_other, "positions"),
        (interval(0), "delivery.conflate.interval"),
        (interval(-1), "delivery.conflate.interval"),
        (interval(3_601), "delivery.conflate.interval"),
    ] {
        let status = gateway.client().await.subscribe(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations[0].field, field);
    }
    // At an interval, the newest is given and the rest is counted.
    let mut stream = subscribe(&gateway, interval(1)).await;
    until(&mut stream, StreamEventKind::Live).await;
    world.publish(201..=210).await;
    let first = tick(&mut stream).await;
    world.publish(211..=220).await;
    let second = tick(&mut stream).await;
    assert_eq!((first.skipped, second.skipped), (9, 9));
    assert_eq!(second.tick.unwrap().sequence, Some(660));
    gateway.stop().await;
}
