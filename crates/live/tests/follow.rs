//! The live feed on a bus: a right start, every tick in order, and slow subscribers that delay nobody.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bus::Bus;
use domain::{
    Decimal, EventKind, FeedEvent, FeedSession, FeedState, Instrument, MarketState, Position, ProductDetails,
    Quote, Snapshot, Tick, TickBatch, TickFlags, UnixNanos,
};
use live::{Config, Delivery, Event, LiveFeed, Policy, Products, Start, Subscription};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn instrument(product: &str) -> Instrument {
    Instrument::new("coinbase", product).unwrap()
}

fn tick(product: &str, sequence: u64) -> Tick {
    let quote = || Some(Quote { price: Decimal::from(sequence), size: None });
    Tick {
        instrument: instrument(product),
        run: 0,
        sequence: Some(sequence),
        event_time: UnixNanos::new(1_600_000_000_000_000_000),
        receive_time: UnixNanos::new(1_600_000_000_000_000_000),
        last_trade: None,
        best_bid: quote(),
        best_ask: quote(),
        day: None,
        flags: TickFlags::default(),
    }
}

fn batch(product: &str, sequences: impl IntoIterator<Item = u64>) -> TickBatch {
    TickBatch {
        instrument: instrument(product),
        ticks: sequences.into_iter().map(|sequence| tick(product, sequence)).collect(),
        session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    }
}

/// A bus with streams, and a way to publish to it as the normalizer does.
async fn embedded() -> Bus {
    let bus = Bus::embedded(&bus::Config::default());
    bus.ensure_streams().await.unwrap();
    bus
}

async fn publish(bus: &Bus, batch: &TickBatch) {
    let mut publisher = bus.tick_publisher(bus.shards().shard_of(&batch.instrument));
    publisher.recover().await.unwrap();
    publisher.publish(batch).await.unwrap();
}

/// Publishes what the snapshotter does when everything up to `sequence` is stored.
async fn publish_snapshot(bus: &Bus, product: &str, sequence: u64) {
    let snapshot = Snapshot {
        instrument: instrument(product),
        position: Position { run: 0, sequence },
        snapshot_time: UnixNanos::new(1_600_000_000_000_000_000),
        state: MarketState::default(),
    };
    bus.publish_snapshot(&snapshot).await.unwrap();
}

/// Waits until a product is at `sequence`.
async fn reaches(feed: &LiveFeed, product: &str, sequence: u64) {
    let there = async {
        while feed.snapshot(&instrument(product)).is_none_or(|known| known.position.sequence < sequence) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, there).await.expect("the product moves on");
}

async fn started(bus: &Bus) -> LiveFeed {
    let feed = LiveFeed::start(bus.clone(), Config::default());
    timeout(PATIENCE, feed.caught_up()).await.expect("the feed catches up");
    feed
}

fn lossless(feed: &LiveFeed, start: &Start) -> Subscription {
    Subscription::new(feed, Products::All, start, Policy::Lossless)
}

async fn next(subscription: &mut Subscription) -> Vec<Delivery> {
    loop {
        let next = timeout(PATIENCE, subscription.next_batch(100)).await.expect("something arrives");
        let mut given = next.unwrap();
        given.retain(|delivery| !matches!(delivery, Delivery::Event(Event::Live)));
        if !given.is_empty() {
            return given;
        }
    }
}

fn sequences(deliveries: &[Delivery]) -> Vec<u64> {
    let of = |delivery: &Delivery| match delivery {
        Delivery::Tick { tick, .. } => tick.position().sequence,
        Delivery::Snapshot { snapshot, .. } => snapshot.position.sequence,
        Delivery::Event(event) => panic!("unexpected {event:?}"),
    };
    deliveries.iter().map(of).collect()
}

#[tokio::test]
async fn an_empty_bus_is_caught_up_with_at_once() {
    let feed = started(&embedded().await).await;
    assert!(feed.is_caught_up() && feed.snapshots().is_empty());
}

#[tokio::test]
async fn starts_with_the_newest_of_snapshots_and_batches() {
    let bus = embedded().await;
    for product in ["BTC-USD", "ETH-USD"] {
        publish_snapshot(&bus, product, 7).await;
    }
    publish(&bus, &batch("BTC-USD", [8, 9])).await;
    let feed = started(&bus).await;
    let position = |product| feed.snapshot(&instrument(product)).unwrap().position.sequence;
    assert_eq!((position("BTC-USD"), position("ETH-USD")), (9, 7));
}

#[tokio::test]
async fn a_product_is_known_from_a_snapshot_that_comes_later() {
    let bus = embedded().await;
    let feed = started(&bus).await;
    let mut waiting = lossless(&feed, &Start::Now);
    publish_snapshot(&bus, "ADA-USD", 7).await;
    reaches(&feed, "ADA-USD", 7).await;
    // Whoever waits for the product is given its state, and then the ticks that follow.
    assert_eq!(sequences(&next(&mut waiting).await), [7]);
    publish(&bus, &batch("ADA-USD", [6, 7, 8])).await;
    assert_eq!(sequences(&next(&mut waiting).await), [8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_beside_the_ticks_are_never_a_loss() {
    let bus = embedded().await;
    let feed = started(&bus).await;
    let mut subscription = lossless(&feed, &Start::Now);
    let ours = bus.clone();
    let publishing = tokio::spawn(async move {
        for sequence in 0..1_000 {
            publish(&ours, &batch("BTC-USD", [sequence])).await;
            // At the newest position, which the followed ticks may not have reached yet.
            publish_snapshot(&ours, "BTC-USD", sequence).await;
        }
    });
    let mut given = Vec::new();
    while given.len() < 1_000 {
        given.extend(sequences(&next(&mut subscription).await));
    }
    assert_eq!(given, (0..1_000).collect::<Vec<_>>());
    publishing.await.unwrap();
    feed.read(|state| assert_eq!(state.ticks(), 1_000));
}

#[tokio::test]
async fn a_snapshot_whose_ticks_never_came_moves_the_product_on_and_is_told() {
    let bus = embedded().await;
    publish(&bus, &batch("BTC-USD", [5, 6])).await;
    let feed = started(&bus).await;
    let mut subscription = Subscription::new(&feed, Products::All, &Start::Snapshot, Policy::default());
    assert_eq!(sequences(&next(&mut subscription).await), [6]);
    publish_snapshot(&bus, "BTC-USD", 4).await;
    publish_snapshot(&bus, "BTC-USD", 20).await;
    reaches(&feed, "BTC-USD", 20).await;
    let given = next(&mut subscription).await;
    let [
        Delivery::Event(Event::NotRecovered { after: Some(after), .. }),
        Delivery::Snapshot { snapshot, .. },
    ] = given.as_slice()
    else {
        panic!("{given:?}")
    };
    assert_eq!((after.sequence, snapshot.position.sequence), (6, 20));
}

#[tokio::test]
async fn a_stream_that_cannot_be_followed_is_told_and_followed_when_it_can_be() {
    let bus = Bus::embedded(&bus::Config::default());
    let feed = LiveFeed::start(bus.clone(), Config::default());
    let mut health = feed.health();
    let broken = timeout(PATIENCE, health.wait_for(|health| !health.is_following())).await.unwrap().unwrap();
    let why = broken.waiting().unwrap();
    assert!(why.contains("cannot be followed") && why.contains("does not exist"), "{why}");
    drop(broken);
    assert!(!feed.is_following() && !feed.is_caught_up());
    bus.ensure_streams().await.unwrap();
    timeout(PATIENCE, health.wait_for(|health| health.waiting().is_none())).await.unwrap().unwrap();
    assert!(feed.is_following() && feed.is_caught_up());
}

#[tokio::test]
async fn two_feeds_each_see_every_tick_and_a_sleeping_subscriber_delays_nobody() {
    let bus = embedded().await;
    let (first, second) = (started(&bus).await, started(&bus).await);
    let mut awake = [lossless(&first, &Start::Now), lossless(&second, &Start::Snapshot)];
    let mut asleep = Subscription::new(&first, Products::All, &Start::Now, Policy::default());
    for round in 0..1_500u64 {
        publish(&bus, &batch("BTC-USD", [round * 2, round * 2 + 1])).await;
        for subscription in &mut awake {
            let mut given = sequences(&next(subscription).await);
            if given.len() == 1 {
                given.extend(sequences(&next(subscription).await));
            }
            assert_eq!(given, [round * 2, round * 2 + 1]);
        }
    }
    // Who slept gets the newest, and is told how much went by.
    let given = next(&mut asleep).await;
    let [Delivery::Tick { tick, skipped }] = given.as_slice() else { panic!("{given:?}") };
    assert_eq!((tick.position().sequence, *skipped), (2_999, 2_999));
}

#[tokio::test]
async fn products_change_in_mid_session() {
    let feed = LiveFeed::by_hand(Config::default());
    let mut subscription = Subscription::idle(&feed, Policy::default());
    assert!(timeout(Duration::from_millis(20), subscription.next_batch(10)).await.is_err());
    subscription.add(instrument("BTC-USD"), &Start::Snapshot);
    assert_eq!(sequences(&next(&mut subscription).await), [0]);
    feed.publish(1, batch("BTC-USD", [1]));
    feed.publish(2, batch("ETH-USD", [2]));
    assert_eq!(sequences(&next(&mut subscription).await), [1]);
    assert!(subscription.remove(&instrument("BTC-USD")));
    subscription.add(instrument("ETH-USD"), &Start::Snapshot);
    feed.publish(3, batch("BTC-USD", [3]));
    assert_eq!(sequences(&next(&mut subscription).await), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_limited_subscriber_wakes_when_a_token_is_there() {
    let feed = LiveFeed::by_hand(Config::default());
    let mut subscription = Subscription::new(&feed, Products::All, &Start::Now, Policy::default());
    feed.publish(1, batch("BTC-USD", 0..400));
    let mut given = 0;
    let mut skipped = 0;
    while given + skipped < 400 {
        for delivery in next(&mut subscription).await {
            if let Delivery::Tick { skipped: count, .. } = delivery {
                given += 1;
                skipped += count;
            }
        }
    }
    assert_eq!((given, skipped), (201, 199));
}

#[tokio::test]
async fn details_of_products_are_kept_and_told_to_nobody() {
    let bus = embedded().await;
    let details = |status: &str| FeedEvent {
        instrument: instrument("BTC-USD"),
        time: UnixNanos::now(),
        source: "test".into(),
        kind: EventKind::Product(ProductDetails {
            base_currency: "BTC".into(),
            quote_currency: "USD".into(),
            base_increment: Decimal::new(1, 8),
            quote_increment: Decimal::new(1, 2),
            status: status.into(),
        }),
    };
    for status in ["online", "halted"] {
        bus.publish_event(&details(status)).await.unwrap();
    }
    let feed = started(&bus).await;
    let says = async |status: &str| {
        let there = async {
            while feed.details(&instrument("BTC-USD")).is_none_or(|known| known.status != status) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, there).await.expect("the details are taken over");
    };
    says("halted").await;
    bus.publish_event(&details("delisted")).await.unwrap();
    says("delisted").await;
    assert_eq!(feed.read(|state| state.next_event()), 0, "no subscriber hears of it");
    let mut changes = feed.event_changes();
    let stale = FeedEvent { kind: EventKind::FeedState(FeedState::Stale), ..details("") };
    bus.publish_event(&stale).await.unwrap();
    timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    assert_eq!(
        feed.read(|state| state.events_since(0).map(|event| (**event).clone()).collect::<Vec<_>>()),
        [stale]
    );
    assert_eq!(feed.details(&instrument("ETH-USD")), None);
}

#[tokio::test]
async fn the_epoch_is_that_of_the_history_and_of_the_stream() {
    let bus = embedded().await;
    let feed = started(&bus).await;
    assert_eq!(feed.epoch(), None, "nobody has said which history it is");
    let snapshot = |sequence| Snapshot::first(&tick("BTC-USD", sequence)).unwrap();
    bus.publish_snapshot_of(Some("one"), &snapshot(1)).await.unwrap();
    let first = timeout(PATIENCE, feed.epoch_after(None)).await.unwrap();
    let created = bus.stream_state(bus::StreamKind::Ticks).await.unwrap().created;
    assert_eq!((first.history.as_str(), first.ticks), ("one", created));
    // The same said again changes nothing; another database is another history.
    bus.publish_snapshot_of(Some("one"), &snapshot(2)).await.unwrap();
    bus.publish_snapshot_of(Some("two"), &snapshot(3)).await.unwrap();
    let second = timeout(PATIENCE, feed.epoch_after(Some(&first))).await.unwrap();
    assert_eq!((second.history.as_str(), second.ticks), ("two", created));
}
