//! `StreamCandles` beside `ListCandles`.

use domain::{UnixNanos, parse_number};
use proto::v1::{
    Candle, CandleInterval, CandleState, ListCandlesRequest, StreamCandlesRequest, StreamCandlesResponse,
    StreamEventKind, stream_candles_response::Message,
};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::world::{Database, Gateway, PATIENCE, START, World, second, tick};

fn request(interval: CandleInterval) -> StreamCandlesRequest {
    StreamCandlesRequest {
        products: vec!["BTC-USD".into()],
        interval: interval.into(),
        start_time: Some(at(START)),
        ..StreamCandlesRequest::default()
    }
}

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

async fn stream(gateway: &Gateway, request: StreamCandlesRequest) -> Streaming<StreamCandlesResponse> {
    gateway.client().await.stream_candles(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<StreamCandlesResponse>) -> Message {
    let message = timeout(PATIENCE, stream.message()).await.expect("a message arrives").unwrap();
    message.expect("the stream goes on").message.unwrap()
}

async fn candle(stream: &mut Streaming<StreamCandlesResponse>) -> Candle {
    loop {
        if let Message::Candle(candle) = next(stream).await {
            return candle;
        }
    }
}

/// The candles up to the word that the past is over.
async fn past(stream: &mut Streaming<StreamCandlesResponse>) -> Vec<Candle> {
    let mut candles = Vec::new();
    loop {
        match next(stream).await {
            Message::Candle(candle) => candles.push(candle),
            Message::Event(event) if event.kind() == StreamEventKind::Live => return candles,
            Message::Event(event) => panic!("{event:?}"),
        }
    }
}

async fn listed(world: &World, interval: CandleInterval) -> Vec<Candle> {
    let request = ListCandlesRequest {
        product: "BTC-USD".into(),
        interval: interval.into(),
        ..ListCandlesRequest::default()
    };
    world.market().await.list_candles(request).await.unwrap().into_inner().candles
}

/// The numbers alone, without trailing zeros: what is open is judged differently while it is told.
fn numbers(candle: &Candle) -> Candle {
    let plain = |text: &String| parse_number(text).unwrap().normalize().to_string();
    Candle {
        state: 0,
        completeness: None,
        open: candle.open.as_ref().map(plain),
        high: candle.high.as_ref().map(plain),
        low: candle.low.as_ref().map(plain),
        close: candle.close.as_ref().map(plain),
        volume: plain(&candle.volume),
        price_sum: plain(&candle.price_sum),
        ..candle.clone()
    }
}

/// Reads until the candle of the running interval has these numbers.
async fn until_open(stream: &mut Streaming<StreamCandlesResponse>, expected: &Candle) {
    loop {
        let open = candle(stream).await;
        assert_eq!(open.state(), CandleState::Open);
        if numbers(&open) == numbers(expected) {
            return;
        }
        assert!(open.trade_count < expected.trade_count, "{open:?} is beyond {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candles_form_from_ticks_and_equal_the_listed_ones_after_the_close() {
    candles_equal_the_listed_ones(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candles_equal_the_listed_ones_on_postgresql_too() {
    candles_equal_the_listed_ones(World::start_on(Database::postgres().await).await).await;
}

async fn candles_equal_the_listed_ones(world: World) {
    // Four minutes and a half; memory has the last ticks only.
    let last = 38;
    world.keep(0..=last).await;
    world.publish(last - 2..=last).await;
    let gateway = world.gateway().await;
    let intervals = [CandleInterval::OneMinute, CandleInterval::FiveMinutes];
    let mut streams = Vec::new();
    for interval in intervals {
        let mut stream = stream(&gateway, request(interval)).await;
        let mut listed = listed(&world, interval).await;
        let running = listed.pop().unwrap();
        assert_eq!(past(&mut stream).await, listed, "{interval:?}");
        // Right from the start, whatever happened before in the interval.
        until_open(&mut stream, &running).await;
        streams.push(stream);
    }
    let mut closed_only =
        stream(&gateway, StreamCandlesRequest { closed_only: true, ..request(intervals[0]) }).await;
    assert_eq!(past(&mut closed_only).await.len(), 4);

    // Up to the end of the fifth minute, stored a little later than it is live.
    let (end, after) = (42, 43);
    assert!(second(end) < START + 300 && second(after) >= START + 300);
    world.publish(last + 1..=end).await;
    world.keep(last + 1..=end).await;
    for (stream, interval) in streams.iter_mut().zip(intervals) {
        until_open(stream, listed(&world, interval).await.last().unwrap()).await;
    }
    world.publish([after]).await;
    // A candle that has ended is told once, when history has it.
    world.keep([after]).await;
    for (stream, interval) in streams.iter_mut().zip(intervals) {
        let mut told = Vec::new();
        while told.len() < 2 {
            told.push(candle(stream).await);
        }
        told.sort_by_key(|candle| candle.start_time.unwrap().seconds);
        let listed = listed(&world, interval).await;
        let [ended, open] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(ended, &listed[listed.len() - 2], "{interval:?}");
        assert_eq!((open.state(), numbers(open)), (CandleState::Open, numbers(listed.last().unwrap())));
    }
    let ended = candle(&mut closed_only).await;
    assert_eq!(ended, listed(&world, intervals[0]).await[4]);
    assert_eq!(ended.state(), CandleState::Complete);

    // Minutes without a trade are told when they are proven to be empty, as in the list.
    let mut later = tick(44);
    later.event_time = UnixNanos::from_seconds(START + 483).unwrap();
    world.publish_ticks(vec![later.clone()]).await;
    world.keep_ticks(&[later]).await;
    let minutes = listed(&world, intervals[0]).await;
    assert_eq!(minutes[6].state(), CandleState::Empty);
    for minute in &minutes[5..8] {
        assert_eq!(&candle(&mut closed_only).await, minute);
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_that_is_new_and_a_request_that_is_wrong() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let refused = async |request: StreamCandlesRequest| {
        gateway.client().await.stream_candles(request).await.unwrap_err().code()
    };
    assert_eq!(refused(StreamCandlesRequest::default()).await, Code::InvalidArgument);
    assert_eq!(refused(request(CandleInterval::Unspecified)).await, Code::InvalidArgument);
    let mut stream = stream(&gateway, request(CandleInterval::OneHour)).await;
    assert!(past(&mut stream).await.is_empty());
    world.publish([1, 2]).await;
    let open = candle(&mut stream).await;
    assert_eq!((open.state(), open.trade_count), (CandleState::Open, 2));
    assert!(open.start_time.unwrap().seconds < second(1));
    gateway.shutdown.request();
    let Message::Event(event) = next(&mut stream).await else { panic!("an event") };
    assert_eq!(event.kind(), StreamEventKind::Closing);
    gateway.stop().await;
}
