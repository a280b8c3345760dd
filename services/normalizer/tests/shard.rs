//! A shard on a real broker and on the embedded one: owners die, lose and take over, and nothing is lost, repeated or
//! rejected by mistake.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bus::{Bus, FollowFrom};
use domain::{Decimal, FeedSession, Instrument, RoleStatus, Shard, Tick, TickFlags, Trade, UnixNanos};
use runtime::{Readiness, RoleContext, Shutdown};
use testkit::{NatsServer, eventually};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(30);

fn instrument() -> Instrument {
    Instrument::new("coinbase", "BTC-USD").unwrap()
}

fn tick(sequence: u64) -> Tick {
    let time = UnixNanos::from_seconds(1_600_000_000).unwrap();
    let trade = Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id: Some(sequence) };
    Tick {
        instrument: instrument(),
        run: 0,
        sequence: Some(sequence),
        event_time: time,
        receive_time: time,
        last_trade: Some(trade),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

fn shard(bus: &Bus) -> Shard {
    bus.shards().shard_of(&instrument())
}

async fn announce_snapshotter(bus: &Bus) {
    let status = RoleStatus {
        role: "snapshotter".into(),
        instance: RoleStatus::worker_instance("test", shard(bus)),
        time: UnixNanos::now(),
        ready: true,
        feed_state: None,
        heartbeat_age: None,
        product_states: Vec::new(),
        progress: Vec::new(),
        backlog_messages: None,
        ticks: 0,
        rejected: 0,
        duplicates: 0,
    };
    bus.publish_status(&status).await.unwrap();
}

struct Running {
    task: JoinHandle<Result<(), normalizer::Error>>,
    readiness: Readiness,
    shutdown: Shutdown,
}

fn start(bus: &Bus) -> Running {
    start_with(
        bus,
        normalizer::Config { fenced_wait: Duration::from_secs(1), ..normalizer::Config::default() },
    )
}

fn start_with(bus: &Bus, config: normalizer::Config) -> Running {
    let shutdown = Shutdown::new();
    let readiness = Readiness::new();
    let context = RoleContext::new(readiness.clone(), shutdown.clone());
    let task = tokio::spawn(normalizer::run(config, shard(bus), bus.clone(), context));
    Running { task, readiness, shutdown }
}

async fn send(bus: &Bus, session: &str, sequences: impl Iterator<Item = u64>) {
    let session = FeedSession { id: session.into(), started: UnixNanos::now() };
    let publisher = bus.raw_publisher(session);
    for sequence in sequences {
        publisher.send(tick(sequence)).await.unwrap();
    }
    publisher.close().await;
}

/// The positions on `LF_TICKS`, in stream order, until `last` has come.
async fn published(bus: &Bus, last: u64) -> Vec<u64> {
    let mut follower = bus.follow_ticks(FollowFrom::AfterSequence(0));
    let mut sequences = Vec::new();
    while sequences.last() != Some(&last) {
        let followed = tokio::time::timeout(SOON, follower.next()).await.expect("ticks come").unwrap();
        sequences.extend(followed.content.ticks.iter().map(|tick| tick.sequence.unwrap()));
    }
    sequences
}

async fn an_owner_dies_again_and_again(bus: Bus, rejoin: impl AsyncFn() -> Bus) {
    announce_snapshotter(&bus).await;
    let mut from = 1;
    for death in 0..4 {
        let running = start(&rejoin().await);
        let (sender, session) = (bus.clone(), format!("feed-{death}"));
        let range = from..from + 400;
        from += 400;
        let sending = tokio::spawn(async move { send(&sender, &session, range).await });
        tokio::time::sleep(Duration::from_millis(20 * (death + 1))).await;
        running.task.abort();
        sending.await.unwrap();
    }
    let running = start(&rejoin().await);
    let sequences = published(&bus, from - 1).await;
    assert_eq!(sequences, (1..from).collect::<Vec<_>>(), "each once, in order");
    // What a dead owner had in hand is recognised, never refused.
    let rejects = bus.stream_state(bus::StreamKind::Rejects).await.unwrap().messages;
    assert_eq!(rejects, 0);
    running.shutdown.request();
    running.task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_dies_again_and_again_embedded() {
    let config = bus::Config::default();
    let bus = Bus::embedded(&config);
    bus.ensure_streams().await.unwrap();
    let broker = bus.clone();
    an_owner_dies_again_and_again(bus, async || broker.join(&config)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_dies_again_and_again_jetstream() {
    let server = NatsServer::start().await;
    let nats = Some(bus::ServerUrl::new(&server.url()).unwrap());
    let config = bus::Config { nats, ..bus::Config::default() };
    let bus = Bus::connect(&config).await.unwrap();
    bus.ensure_streams().await.unwrap();
    an_owner_dies_again_and_again(bus, async || Bus::connect(&config).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_started_earlier_is_fenced_and_comes_back_after_a_while() {
    let config = bus::Config::default();
    let bus = Bus::embedded(&config);
    bus.ensure_streams().await.unwrap();
    announce_snapshotter(&bus).await;
    let earlier = start(&bus);
    send(&bus, "feed-1", 1..=10).await;
    assert_eq!(published(&bus, 10).await.len(), 10);

    // Somebody who started later publishes as the owner of the shard.
    let later = bus.join(&config);
    let mut publisher = later.tick_publisher(shard(&bus));
    let recovered = publisher.recover().await.unwrap();
    let mut batch = recovered.batches[0].batch.clone();
    batch.ticks = vec![tick(20)];
    publisher.publish(&batch).await.unwrap();

    send(&bus, "feed-2", 15..=30).await;
    let reason = eventually(SOON, || async {
        let report = earlier.readiness.report();
        let told = format!("{report:?}");
        report.waiting.into_iter().find(|latch| latch.reason.contains("started later")).ok_or(told)
    })
    .await
    .reason;
    assert!(reason.contains(&later.owner().to_string()), "it says who: {reason}");

    // The later one publishes no more: the earlier one takes up where the shard stands, repeating nothing.
    let sequences = published(&bus, 30).await;
    assert_eq!(sequences, (1..=10).chain(20..=30).collect::<Vec<_>>());
    earlier.shutdown.request();
    earlier.task.await.unwrap().unwrap();
}

/// With the snapshotter away, a normalizer stops before the tick stream would drop what was not read; the raw stream
/// keeps the rest, and everything comes in order when the snapshotter is back.
#[tokio::test(flavor = "multi_thread")]
async fn it_pauses_while_the_snapshotter_is_too_far_behind() {
    const TICKS: u64 = 120_000;
    let shards = domain::ShardCount::new(1).unwrap();
    let config =
        bus::Config { shards, ticks_size_max_bytes: Some(3 * 1024 * 1024), ..bus::Config::default() };
    let bus = Bus::embedded(&config);
    bus.ensure_streams().await.unwrap();
    let mut snapshotter = bus.work(bus::Work::Ticks, shard(&bus));
    assert!(snapshotter.fetch(1, Duration::ZERO).await.unwrap().is_empty());
    announce_snapshotter(&bus).await;
    let normalizer_config = normalizer::Config { fetch_messages_max: 2, ..normalizer::Config::default() };
    let running = start_with(&bus, normalizer_config);
    send(&bus, "feed-1", 1..=TICKS).await;
    eventually(SOON, || async {
        let report = running.readiness.report();
        report.waiting.iter().any(|latch| latch.reason.contains("paused"))
    })
    .await;

    let mut sequences = Vec::new();
    while sequences.last() != Some(&TICKS) {
        let deliveries = snapshotter.fetch(64, SOON).await.unwrap();
        assert!(!deliveries.is_empty(), "{} of {TICKS} ticks came", sequences.len());
        for delivery in &deliveries {
            let batch = delivery.content.as_ref().unwrap();
            sequences.extend(batch.ticks.iter().map(|tick| tick.sequence.unwrap()));
        }
        snapshotter.ack(&deliveries).await.unwrap();
    }
    assert!(sequences.iter().copied().eq(1..=TICKS), "nothing was dropped unread");
    running.shutdown.request();
    running.task.await.unwrap().unwrap();
}
