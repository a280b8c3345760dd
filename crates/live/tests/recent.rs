//! A feed that starts anew has the last minute of the stream in memory: who comes back is served without the history.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bus::{Bus, ServerUrl};
use domain::{
    Decimal, FeedSession, Instrument, Position, Quote, Snapshot, Tick, TickBatch, TickFlags, UnixNanos,
};
use futures::future::BoxFuture;
use live::{
    Config, Delivery, Event, History, HistoryError, LiveFeed, Policy, Products, Since, Start, Subscription,
    Token,
};
use testkit::NatsServer;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
/// The time of tick 0, in seconds; each is a second later than the one before.
const START: u64 = 1_600_000_000;

/// A history that has nothing, and counts who asks.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<AtomicU64>);

impl Asked {
    fn refuse<T: Send>(&self) -> BoxFuture<'_, Result<T, HistoryError>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Err(HistoryError::Refused("history was asked".into())) })
    }
}

impl History for Asked {
    fn ticks<'a>(
        &'a self,
        _: &'a Instrument,
        _: Position,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Tick>, HistoryError>> {
        self.refuse()
    }

    fn newest<'a>(
        &'a self,
        _: &'a Instrument,
        _: Position,
    ) -> BoxFuture<'a, Result<Option<Position>, HistoryError>> {
        self.refuse()
    }

    fn since<'a>(&'a self, _: &'a Instrument, _: UnixNanos) -> BoxFuture<'a, Result<Since, HistoryError>> {
        self.refuse()
    }
}

fn instrument(product: &str) -> Instrument {
    Instrument::new("coinbase", product).unwrap()
}

fn tick(product: &str, sequence: u64) -> Tick {
    let quote = || Some(Quote { price: Decimal::from(sequence), size: None });
    Tick {
        instrument: instrument(product),
        run: 0,
        sequence: Some(sequence),
        event_time: UnixNanos::from_seconds(i64::try_from(START + sequence).unwrap()).unwrap(),
        receive_time: UnixNanos::now(),
        last_trade: None,
        best_bid: quote(),
        best_ask: quote(),
        day: None,
        flags: TickFlags::default(),
    }
}

/// Publishes each of the ticks as the normalizer does, five in a message.
async fn publish(bus: &Bus, product: &str, sequences: std::ops::RangeInclusive<u64>) {
    let mut publisher = bus.tick_publisher(bus.shards().shard_of(&instrument(product)));
    publisher.recover().await.unwrap();
    for five in sequences.collect::<Vec<_>>().chunks(5) {
        let batch = TickBatch {
            instrument: instrument(product),
            ticks: five.iter().map(|sequence| tick(product, *sequence)).collect(),
            session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
            raw_sequence: None,
            normalised_at: None,
            heartbeat: None,
        };
        publisher.publish(&batch).await.unwrap();
    }
}

async fn started(bus: &Bus, asked: &Asked, config: Config) -> LiveFeed {
    let feed = LiveFeed::start(bus.clone(), config).with_history(Arc::new(asked.clone()), 2);
    timeout(PATIENCE, feed.caught_up()).await.expect("the feed catches up");
    timeout(PATIENCE, feed.epoch_after(None)).await.expect("the epoch is known");
    feed
}

fn subscribe(feed: &LiveFeed, start: &Start) -> Subscription {
    Subscription::new(feed, Products::These(vec![instrument("BTC-USD")]), start, Policy::Lossless)
}

/// The ticks up to this one.
async fn until(subscription: &mut Subscription, last: u64) -> Vec<u64> {
    let mut given = Vec::new();
    while given.last() != Some(&last) {
        let next = timeout(PATIENCE, subscription.next_batch(100)).await.expect("something arrives").unwrap();
        for delivery in next {
            match delivery {
                Delivery::Tick { tick, .. } => given.push(tick.position().sequence),
                Delivery::Event(Event::Live | Event::Checkpoint { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    given
}

async fn who_comes_back_goes_on_from_memory(bus: Bus) {
    bus.ensure_streams().await.unwrap();
    publish(&bus, "ETH-USD", 1..=2).await;
    publish(&bus, "BTC-USD", 1..=300).await;
    let stored = Snapshot::first(&tick("BTC-USD", 200)).unwrap();
    bus.publish_snapshot_of(Some("one"), &stored).await.unwrap();
    let asked = Asked::default();
    let before = started(&bus, &asked, Config::default()).await;
    let mut subscription = subscribe(&before, &Start::Sequence(151));
    let token = loop {
        let next = timeout(PATIENCE, subscription.next_batch(1)).await.unwrap().unwrap();
        if let Some(Delivery::Tick { tick, .. }) = next.first() {
            assert_eq!(tick.position().sequence, 151);
            break tick.token();
        }
    };
    drop((subscription, before));
    publish(&bus, "BTC-USD", 301..=400).await;

    let feed = started(&bus, &asked, Config::default()).await;
    assert_eq!(feed.snapshot(&instrument("BTC-USD")).unwrap().position.sequence, 400);
    assert_eq!(feed.snapshot(&instrument("ETH-USD")).unwrap().position.sequence, 2);
    let at = UnixNanos::from_seconds(i64::try_from(START + 370).unwrap()).unwrap();
    let mut subscriptions = Vec::new();
    for (start, first) in [
        (Start::Token(Token::parse(&token).unwrap()), 152),
        (Start::Sequence(152), 152),
        (Start::After(Position { run: 0, sequence: 369 }), 370),
        (Start::Time(at), 370),
    ] {
        let mut subscription = subscribe(&feed, &start);
        let given = until(&mut subscription, 400).await;
        assert_eq!(given, (first..=400).collect::<Vec<_>>(), "{start:?}");
        subscriptions.push(subscription);
    }
    // And on into the present, without a seam.
    publish(&bus, "BTC-USD", 401..=410).await;
    for subscription in &mut subscriptions {
        assert_eq!(until(subscription, 410).await, (401..=410).collect::<Vec<_>>());
    }
    assert_eq!(asked.0.load(Ordering::Relaxed), 0, "history was asked");

    // Bounded like every ring: what does not fit is history's.
    let config = Config { ring_ticks_max: 64.try_into().unwrap(), ..Config::default() };
    let feed = started(&bus, &asked, config).await;
    assert_eq!(until(&mut subscribe(&feed, &Start::Sequence(350)), 410).await[0], 350);
    assert_eq!(asked.0.load(Ordering::Relaxed), 0);
    let mut beyond = subscribe(&feed, &Start::Sequence(340));
    let told = timeout(PATIENCE, beyond.next_batch(1)).await.unwrap().unwrap();
    assert!(matches!(told.first(), Some(Delivery::Event(Event::NotRecovered { .. }))), "{told:?}");
    assert!(asked.0.load(Ordering::Relaxed) > 0);
}

async fn with_no_time_to_look_back_it_starts_with_the_newest(bus: Bus) {
    bus.ensure_streams().await.unwrap();
    publish(&bus, "BTC-USD", 1..=300).await;
    let stored = Snapshot::first(&tick("BTC-USD", 200)).unwrap();
    bus.publish_snapshot_of(Some("one"), &stored).await.unwrap();
    let asked = Asked::default();
    let feed = started(&bus, &asked, Config { ring_age: Duration::ZERO, ..Config::default() }).await;
    assert_eq!(feed.ticks(), 5, "the last message");
    assert_eq!(until(&mut subscribe(&feed, &Start::Sequence(296)), 300).await, [296, 297, 298, 299, 300]);
    assert_eq!(asked.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn on_the_embedded_bus() {
    who_comes_back_goes_on_from_memory(Bus::embedded(&bus::Config::default())).await;
    with_no_time_to_look_back_it_starts_with_the_newest(Bus::embedded(&bus::Config::default())).await;
}

#[tokio::test]
async fn on_a_real_broker() {
    let mut server = NatsServer::start().await;
    let config = bus::Config { nats: Some(ServerUrl::new(&server.url()).unwrap()), ..bus::Config::default() };
    who_comes_back_goes_on_from_memory(Bus::connect(&config).await.unwrap()).await;
    server.wipe().await;
    with_no_time_to_look_back_it_starts_with_the_newest(Bus::connect(&config).await.unwrap()).await;
}
