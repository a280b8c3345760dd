//! A message at which its worker fails again and again: it is found among the others, filed, and blocks nobody.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use bus::{Bus, FollowFrom, ServerUrl, StreamKind};
use domain::{
    Decimal, FeedSession, Instrument, RejectReason, RoleStatus, Tick, TickBatch, TickFlags, Trade, UnixNanos,
};
use runtime::{Readiness, RoleContext, Shutdown};
use testkit::{NatsServer, eventually};

const SOON: Duration = Duration::from_secs(60);

fn tick(sequence: u64) -> Tick {
    let time = UnixNanos::from_seconds(1_600_000_000).unwrap();
    let trade = Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id: Some(sequence) };
    Tick {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
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

fn session(id: &str) -> FeedSession {
    FeedSession { id: id.into(), started: UnixNanos::now() }
}

async fn send(bus: &Bus, id: &str, sequences: std::ops::RangeInclusive<u64>) {
    let publisher = bus.raw_publisher(session(id));
    for sequence in sequences {
        publisher.send(tick(sequence)).await.unwrap();
    }
    publisher.close().await;
}

/// What a normalizer makes of the message is larger than what the tick stream takes: no attempt can ever succeed.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_its_worker_never_gets_through_is_filed_and_the_rest_flows() {
    let server = NatsServer::start().await;
    let nats = Some(ServerUrl::new(&server.url()).unwrap());
    let shards = domain::ShardCount::new(1).unwrap();
    let bus = Bus::connect(&bus::Config { nats, shards, ..bus::Config::default() }).await.unwrap();
    bus.ensure_streams().await.unwrap();
    let foreign = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let ticks = foreign.get_stream("LF_TICKS").await.unwrap();
    let limited = stream::Config { max_message_size: 8192, ..ticks.cached_info().config.clone() };
    foreign.update_stream(limited).await.unwrap();

    send(&bus, "feed-1", 1..=20).await;
    let huge = TickBatch {
        instrument: tick(1).instrument,
        ticks: (1001..=1512).map(tick).collect(),
        session: session("fill-1"),
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    };
    bus.publish_raw_fill(&huge, "huge").await.unwrap();
    send(&bus, "feed-2", 21..=40).await;

    let status = RoleStatus {
        role: "snapshotter".into(),
        instance: RoleStatus::worker_instance("test", shards.shard_of(&tick(1).instrument)),
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
    let shutdown = Shutdown::new();
    let config = normalizer::Config {
        deliveries_max: 3,
        retry_delay_max: Duration::from_millis(200),
        ..normalizer::Config::default()
    };
    let context = RoleContext::new(Readiness::new(), shutdown.clone());
    let shard = shards.shard_of(&tick(1).instrument);
    let running = tokio::spawn(normalizer::run(config, shard, bus.clone(), context));

    let mut follower = bus.follow_ticks(FollowFrom::AfterSequence(0));
    let mut sequences = Vec::new();
    while sequences.last() != Some(&40) {
        let followed = tokio::time::timeout(SOON, follower.next()).await.expect("the rest flows").unwrap();
        sequences.extend(followed.content.ticks.iter().map(|tick| tick.sequence.unwrap()));
    }
    assert_eq!(sequences, (1..=40).collect::<Vec<_>>());
    eventually(SOON, || async { bus.stream_state(StreamKind::Raw).await.unwrap().messages == 0 }).await;
    let rejects = bus.stream_state(StreamKind::Rejects).await.unwrap().messages;
    assert_eq!(rejects, 512, "each of its ticks, once, and no other");
    let mut rejects = bus.follow_rejects(FollowFrom::AfterSequence(0));
    for expected in &huge.ticks {
        let reject = rejects.next().await.unwrap().content;
        assert_eq!((reject.reason, reject.tick.as_ref()), (RejectReason::Unprocessable, Some(expected)));
        assert!(reject.detail.contains("3 attempts") && reject.detail.contains("too large"), "{reject:?}");
    }
    shutdown.request();
    running.await.unwrap().unwrap();
}
