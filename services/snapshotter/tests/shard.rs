//! A shard written to a real database: writers die, rows are refused, the database goes away, and each tick ends stored
//! exactly once or filed with its reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bus::{Bus, FollowFrom, StreamKind, TickPublisher, Work};
use domain::{
    Decimal, FeedSession, Instrument, Position, RejectReason, Shard, ShardCount, Snapshot, Tick, TickBatch,
    TickFlags, TimeRange, Trade, UnixNanos,
};
use runtime::{Readiness, RoleContext, Shutdown};
use store::{CandleQuery, Order, Store, TickQuery, TickRange, TickRow, WriteBatch};
use testkit::{NatsServer, Postgres, Scratch, eventually};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(30);

fn instrument() -> Instrument {
    Instrument::new("coinbase", "BTC-USD").unwrap()
}

fn tick(number: u64) -> Tick {
    let time = UnixNanos::from_seconds(1_618_677_840 + i64::try_from(number % 100_000).unwrap()).unwrap();
    Tick {
        instrument: instrument(),
        run: 0,
        sequence: Some(number),
        event_time: time,
        receive_time: time,
        last_trade: Some(Trade {
            price: Decimal::new(5_000_000 + i64::try_from(number % 1000).unwrap(), 2),
            size: Decimal::ONE,
            side: None,
            trade_id: Some(number % 1_000_000),
        }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

struct Fixture {
    bus: Bus,
    store: Store,
    shard: Shard,
    publisher: TickPublisher,
    _scratch: Scratch,
}

struct Running {
    task: JoinHandle<Result<(), snapshotter::Error>>,
    readiness: Readiness,
    shutdown: Shutdown,
}

impl Fixture {
    async fn sqlite() -> Self {
        let scratch = Scratch::new();
        let url = format!("sqlite://{}?mode=rwc", scratch.join("test.db").display());
        Self::on(url, scratch).await
    }

    async fn on(url: String, scratch: Scratch) -> Self {
        let config = bus::Config { shards: ShardCount::new(1).unwrap(), ..bus::Config::default() };
        Self::on_bus(url, scratch, Bus::embedded(&config)).await
    }

    async fn on_bus(url: String, scratch: Scratch, bus: Bus) -> Self {
        migrations::migrate(&url, false).await.unwrap();
        let store = Store::connect(&store::Config { url, ..store::Config::default() }).await.unwrap();
        bus.ensure_streams().await.unwrap();
        let shard = bus.shards().shard_of(&instrument());
        let mut publisher = bus.tick_publisher(shard);
        publisher.recover().await.unwrap();
        Self { bus, store, shard, publisher, _scratch: scratch }
    }

    async fn publish(&mut self, ticks: Vec<Tick>) {
        let batch = TickBatch {
            instrument: instrument(),
            ticks,
            session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
            raw_sequence: None,
            normalised_at: Some(UnixNanos::now()),
            heartbeat: None,
        };
        self.publisher.publish(&batch).await.unwrap();
    }

    fn start(&self, config: snapshotter::Config) -> Running {
        self.start_on(&self.bus, config)
    }

    /// As the participant that `bus` is.
    fn start_on(&self, bus: &Bus, config: snapshotter::Config) -> Running {
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let context = RoleContext::new(readiness.clone(), shutdown.clone());
        let role = snapshotter::run(config, self.shard, bus.clone(), self.store.clone(), context);
        assert!(!readiness.is_ready(), "the latch is there before the first poll");
        Running { task: tokio::spawn(role), readiness, shutdown }
    }

    async fn stored(&self) -> Vec<u64> {
        let query = TickQuery {
            instrument: instrument(),
            range: TickRange::Time(TimeRange::ALL),
            order: Order::Ascending,
            after: None,
            limit: 10_000,
        };
        self.store.ticks(&query).await.unwrap().iter().map(|(_, tick)| tick.sequence.unwrap()).collect()
    }

    async fn stores(&self, count: usize) {
        eventually(SOON, || async {
            let stored = self.stored().await.len();
            if stored >= count { Ok(()) } else { Err(format!("{stored} of {count} stored")) }
        })
        .await;
    }

    /// Whether the snapshotter is heard of.
    async fn has_word(&self) -> bool {
        let statuses = self.bus.statuses().await.unwrap_or_default();
        statuses.iter().any(|status| status.role == "snapshotter")
    }

    /// What the bars count must be what history holds.
    async fn counted(&self) -> u64 {
        let query = CandleQuery {
            instrument: instrument(),
            interval: domain::Interval::OneDay,
            range: TimeRange::ALL,
            order: Order::Ascending,
            limit: 100,
            after: None,
        };
        self.store.candles(&query).await.unwrap().iter().map(|candle| candle.bar.tick_count).sum()
    }

    async fn rejects(&self) -> Vec<(RejectReason, String)> {
        let count = self.bus.stream_state(StreamKind::Rejects).await.unwrap().messages;
        let mut follower = self.bus.follow_rejects(FollowFrom::AfterSequence(0));
        let mut rejects = Vec::new();
        for _ in 0..count {
            let reject = follower.next().await.unwrap().content;
            rejects.push((reject.reason, reject.detail));
        }
        rejects
    }
}

impl Running {
    async fn stop(self) {
        self.shutdown.request();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_dies_again_and_again() {
    let mut fixture = Fixture::sqlite().await;
    let mut next = 1;
    for death in 0..6 {
        let running = fixture.start(snapshotter::Config::default());
        for _ in 0..20 {
            fixture.publish((next..next + 10).map(tick).collect()).await;
            next += 10;
        }
        tokio::time::sleep(Duration::from_millis(3 * death)).await;
        running.task.abort();
        let _ = running.task.await;
    }
    let running = fixture.start(snapshotter::Config::default());
    fixture.stores(1200).await;
    assert_eq!(fixture.stored().await, (1..next).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(fixture.counted().await, 1200, "bars counted nothing twice");
    assert_eq!(fixture.rejects().await, []);
    running.stop().await;
    let lag = fixture.bus.lag(Work::Ticks, fixture.shard).await.unwrap();
    assert_eq!((lag.pending_messages, lag.unacknowledged), (0, 0), "everything stored was acknowledged");
    let snapshot = fixture.store.snapshot(&instrument()).await.unwrap().unwrap();
    assert_eq!(snapshot.position.sequence, 1200, "the drain writes the newest state");
}

/// Of two writers of a shard, the one that started earlier says so and gives way, until the other one is gone.
#[tokio::test(flavor = "multi_thread")]
async fn who_started_earlier_gives_way() {
    let mut fixture = Fixture::sqlite().await;
    let config =
        snapshotter::Config { fenced_wait: Duration::from_millis(200), ..snapshotter::Config::default() };
    let first = fixture.start(config.clone());
    first.readiness.ready().await;
    fixture.publish(vec![tick(1)]).await;
    fixture.stores(1).await;
    let shards = bus::Config { shards: ShardCount::new(1).unwrap(), ..bus::Config::default() };
    let second = fixture.start_on(&fixture.bus.join(&shards), config);
    second.readiness.ready().await;
    eventually(SOON, || async {
        let told = format!("{:?}", first.readiness.report());
        if told.contains("started later") && !first.readiness.is_ready() { Ok(()) } else { Err(told) }
    })
    .await;
    assert!(second.readiness.is_ready());
    fixture.publish(vec![tick(2)]).await;
    fixture.stores(2).await;
    second.stop().await;
    eventually(SOON, || async {
        if first.readiness.is_ready() { Ok(()) } else { Err("it has not gone on yet") }
    })
    .await;
    fixture.publish(vec![tick(3)]).await;
    fixture.stores(3).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_row_blocks_no_batch() {
    let mut fixture = Fixture::sqlite().await;
    let mut ticks: Vec<Tick> = (1..=100).map(tick).collect();
    // More than the database's integers hold: no attempt can ever store it.
    ticks[60].sequence = Some(u64::MAX);
    fixture.publish(ticks).await;
    let running = fixture.start(snapshotter::Config::default());
    fixture.stores(99).await;
    running.stop().await;
    assert_eq!(fixture.stored().await, (1..=100).filter(|number| *number != 61).collect::<Vec<_>>());
    let rejects = fixture.rejects().await;
    assert_eq!(rejects.len(), 1);
    assert_eq!(rejects[0].0, RejectReason::Unstorable);
    assert!(rejects[0].1.contains("18446744073709551615"), "{rejects:?}");
    assert_eq!(fixture.bus.lag(Work::Ticks, fixture.shard).await.unwrap().unacknowledged, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_horizon_is_filed() {
    let mut fixture = Fixture::sqlite().await;
    let horizon = tick(70).event_time;
    fixture
        .store
        .retain(Duration::from_secs(60), horizon.saturating_add(Duration::from_secs(60)))
        .await
        .unwrap();
    fixture.publish((1..=100).map(tick).collect()).await;
    let running = fixture.start(snapshotter::Config::default());
    eventually(SOON, || async {
        let filed = fixture.rejects().await.len();
        let stored = fixture.stored().await.len();
        if filed + stored == 100 { Ok(()) } else { Err(format!("{stored} stored, {filed} filed")) }
    })
    .await;
    running.stop().await;
    let rejects = fixture.rejects().await;
    assert!(
        !rejects.is_empty() && rejects.iter().all(|(reason, _)| *reason == RejectReason::TooOld),
        "{rejects:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_value_never_goes_back_over_a_crash() {
    let fixture = Fixture::sqlite().await;
    // A crash within the second after a snapshot: ticks are stored that no snapshot tells of.
    let ticks: Vec<Tick> = (1..=20).map(tick).collect();
    let rows: Vec<_> = ticks.iter().map(|tick| TickRow { tick, tick_seq: Some(1) }).collect();
    let old = Snapshot::first(&ticks[4]).unwrap();
    let batch = WriteBatch { ticks: &rows, snapshots: &[old], written_at: UnixNanos::now() };
    fixture.store.write(&batch).await.unwrap();

    let running = fixture.start(snapshotter::Config::default());
    eventually(SOON, || async { running.readiness.is_ready() }).await;
    let published = fixture.bus.last_snapshots().await.unwrap();
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].position, Position { run: 0, sequence: 20 });
    let (trade, _) = published[0].state.last_trade.clone().unwrap();
    assert_eq!(trade.trade_id, Some(20));
    let speaks = eventually(SOON, || async {
        let statuses = fixture.bus.statuses().await.unwrap();
        statuses.into_iter().find(|status| status.role == "snapshotter")
    })
    .await;
    assert_eq!(speaks.progress[0].position.sequence, 20);
    running.stop().await;
}

/// The normalizer takes the word of a snapshotter for it that what is stored is published. On a broker that came back empty
/// that is so only when it was published there, however long the database keeps the snapshotter waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshotter_is_silent_on_an_empty_broker_until_what_is_stored_is_published() {
    let postgres = Postgres::start().await;
    let url = postgres.create_database().await;
    let mut server = NatsServer::start().await;
    let nats = Some(bus::ServerUrl::new(&server.url()).unwrap());
    let config = bus::Config { nats, shards: ShardCount::new(1).unwrap(), ..bus::Config::default() };
    let bus = Bus::connect(&config).await.unwrap();
    let mut fixture = Fixture::on_bus(url.clone(), Scratch::new(), bus).await;
    let running = fixture.start(snapshotter::Config::default());
    // The sequence of the exchange has started anew once.
    fixture.publish((1..=10).map(|number| Tick { run: 1, ..tick(number) }).collect()).await;
    fixture.stores(10).await;
    eventually(SOON, || async { fixture.has_word().await }).await;

    postgres.psql(&url, "ALTER TABLE latest_prices RENAME TO elsewhere").await;
    server.wipe().await;
    // Whoever recovers first makes the streams, and the snapshotter is not it.
    eventually(SOON, || async { fixture.bus.ensure_streams().await }).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(4);
    while tokio::time::Instant::now() < until {
        assert!(!fixture.has_word().await, "it speaks, and nothing of what is stored is published");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    postgres.psql(&url, "ALTER TABLE elsewhere RENAME TO latest_prices").await;
    eventually(SOON, || async { fixture.has_word().await }).await;
    let published = fixture.bus.last_snapshots().await.unwrap();
    let positions: Vec<Position> = published.iter().map(|snapshot| snapshot.position).collect();
    assert_eq!(positions, [Position { run: 1, sequence: 10 }]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_is_waited_for() {
    let postgres = Postgres::start().await;
    let url = postgres.create_database().await;
    let mut fixture = Fixture::on(url, Scratch::new()).await;
    let running = fixture.start(snapshotter::Config::default());
    fixture.publish((1..=10).map(tick).collect()).await;
    fixture.stores(10).await;

    postgres.kill().await;
    fixture.publish((11..=20).map(tick).collect()).await;
    eventually(SOON, || async {
        let report = running.readiness.report();
        report.waiting.iter().any(|latch| latch.reason.contains("does not take writes"))
    })
    .await;
    // The worker goes on saying how it is doing.
    eventually(SOON, || async {
        let statuses = fixture.bus.statuses().await.unwrap();
        statuses.iter().any(|status| status.role == "snapshotter" && !status.ready)
    })
    .await;
    postgres.restart().await;
    fixture.stores(20).await;
    eventually(SOON, || async { running.readiness.is_ready() }).await;
    assert_eq!(fixture.counted().await, 20);
    running.stop().await;
}

/// A table or a right that is missing says nothing about the rows: good ticks never end among the rejects for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_schema_is_waited_for_and_blames_no_row() {
    let postgres = Postgres::start().await;
    let url = postgres.create_database().await;
    let mut fixture = Fixture::on(url.clone(), Scratch::new()).await;
    let running = fixture.start(snapshotter::Config::default());
    eventually(SOON, || async { running.readiness.is_ready() }).await;
    postgres.psql(&url, "ALTER TABLE latest_prices RENAME TO elsewhere").await;
    fixture.publish((1..=20).map(tick).collect()).await;
    eventually(SOON, || async {
        let report = running.readiness.report();
        report.waiting.iter().any(|latch| latch.reason.contains("does not take writes"))
    })
    .await;
    postgres.psql(&url, "ALTER TABLE elsewhere RENAME TO latest_prices").await;
    fixture.stores(20).await;
    assert_eq!(fixture.rejects().await, []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_behind_in_memory_is_told() {
    let postgres = Postgres::start().await;
    let url = postgres.create_database().await;
    let mut fixture = Fixture::on(url, Scratch::new()).await;
    let running = fixture.start(snapshotter::Config::default());
    eventually(SOON, || async { running.readiness.is_ready() }).await;
    postgres.kill().await;
    fixture.publish((1..=10).map(tick).collect()).await;
    eventually(SOON, || async { !running.readiness.is_ready() }).await;
    running.shutdown.request();
    let error = running.task.await.unwrap().unwrap_err();
    assert!(matches!(error, snapshotter::Error::Stopped { in_hand: 10, .. }), "{error}");
}
