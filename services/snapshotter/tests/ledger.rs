//! The ledger of a shard: what is said to be missing is recorded, what is stored is counted, and the last trade of a gap is
//! told, also by who comes after a crash.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bus::{Bus, FollowFrom, Source, StreamKind, Work};
use domain::{
    Decimal, EventKind, FeedEvent, FeedSession, Gap, GapCause, GapState, Instrument, RejectReason, Shard,
    ShardCount, Tick, TickBatch, TickFlags, TimeRange, Trade, UnixNanos,
};
use runtime::{Readiness, RoleContext, Shutdown};
use store::{GapQuery, Store};
use testkit::{NatsServer, Postgres, Scratch, eventually};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(30);

fn instrument() -> Instrument {
    Instrument::new("coinbase", "BTC-USD").unwrap()
}

fn tick(number: u64, is_fill: bool) -> Tick {
    let time = UnixNanos::from_seconds(1_618_677_840 + i64::try_from(number).unwrap()).unwrap();
    Tick {
        instrument: instrument(),
        run: 0,
        sequence: (!is_fill).then_some(number * 10),
        event_time: time,
        receive_time: time,
        last_trade: Some(Trade {
            price: Decimal::ONE,
            size: Decimal::ONE,
            side: None,
            trade_id: Some(number),
        }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags { backfilled: is_fill, locked_book: false },
    }
}

fn gap(first: u64, last: u64) -> Gap {
    Gap {
        instrument: instrument(),
        run: 0,
        first_trade_id: first,
        last_trade_id: last,
        after: Some(tick(first - 1, false).event_time),
        before: Some(tick(last + 1, false).event_time),
        detected_at: tick(last + 1, false).event_time,
        cause: GapCause::Disconnect,
        state: GapState::Open,
        repaired_count: 0,
    }
}

struct Fixture {
    bus: Bus,
    store: Store,
    shard: Shard,
    server: Option<NatsServer>,
    _scratch: Scratch,
}

struct Running {
    task: JoinHandle<Result<(), snapshotter::Error>>,
    shutdown: Shutdown,
    readiness: Readiness,
}

impl Fixture {
    async fn on(bus: Bus, server: Option<NatsServer>) -> Self {
        let scratch = Scratch::new();
        let url = format!("sqlite://{}?mode=rwc", scratch.join("test.db").display());
        Self::on_database(url, scratch, bus, server).await
    }

    async fn on_database(url: String, scratch: Scratch, bus: Bus, server: Option<NatsServer>) -> Self {
        migrations::migrate(&url, false).await.unwrap();
        let store = Store::connect(&store::Config { url, ..store::Config::default() }).await.unwrap();
        bus.ensure_streams().await.unwrap();
        let shard = bus.shards().shard_of(&instrument());
        Self { bus, store, shard, server, _scratch: scratch }
    }

    async fn embedded() -> Self {
        Self::on(Bus::embedded(&config()), None).await
    }

    async fn jetstream() -> Self {
        Self::jetstream_with(config()).await
    }

    async fn jetstream_with(config: bus::Config) -> Self {
        let server = NatsServer::start().await;
        let nats = Some(bus::ServerUrl::new(&server.url()).unwrap());
        let bus = Bus::connect(&bus::Config { nats, ..config }).await.unwrap();
        Self::on(bus, Some(server)).await
    }

    fn start(&self) -> Running {
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let context = RoleContext::new(readiness.clone(), shutdown.clone());
        let (bus, store) = (self.bus.clone(), self.store.clone());
        let role = snapshotter::run(snapshotter::Config::default(), self.shard, bus, store, context);
        Running { task: tokio::spawn(role), shutdown, readiness }
    }

    async fn publish(&self, source: Source, numbers: impl IntoIterator<Item = u64>) {
        let is_fill = source == Source::Fill;
        let batch = TickBatch {
            instrument: instrument(),
            ticks: numbers.into_iter().map(|number| tick(number, is_fill)).collect(),
            session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
            raw_sequence: None,
            normalised_at: Some(UnixNanos::now()),
            heartbeat: None,
        };
        let mut publisher = self.bus.tick_publisher(self.shard);
        publisher.recover().await.unwrap();
        match is_fill {
            true => publisher.publish_fill(&batch).await.unwrap(),
            false => publisher.publish(&batch).await.unwrap(),
        };
    }

    async fn say(&self, kind: EventKind) {
        let event =
            FeedEvent { instrument: instrument(), time: UnixNanos::now(), source: "test".into(), kind };
        self.bus.publish_event(&event).await.unwrap();
    }

    async fn ledger(&self) -> Vec<(u64, u64, GapState, u64)> {
        let query = GapQuery {
            venue: instrument().venue,
            product: None,
            range: TimeRange::ALL,
            states: Vec::new(),
            after: None,
            limit: 100,
        };
        let gaps = self.store.gaps(&query).await.unwrap();
        gaps.iter()
            .map(|gap| (gap.first_trade_id, gap.last_trade_id, gap.state, gap.repaired_count))
            .collect()
    }

    async fn reaches(&self, expected: &[(u64, u64, GapState, u64)]) {
        eventually(SOON, || async {
            let found = self.ledger().await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}")) }
        })
        .await;
    }

    /// The gaps that were said to be repaired.
    async fn repaired(&self) -> Vec<(u64, u64)> {
        let last = self.bus.stream_state(StreamKind::Events).await.unwrap().last_sequence;
        let mut follower = self.bus.follow_events(FollowFrom::AfterSequence(0));
        let mut repaired = Vec::new();
        for _ in 0..last {
            if let EventKind::Repaired(gap) = follower.next().await.unwrap().content.kind
                && gap.state == GapState::Repaired
            {
                repaired.push((gap.first_trade_id, gap.last_trade_id));
            }
        }
        repaired
    }

    /// The gaps that were told, in stream order.
    async fn told(&self) -> Vec<(u64, u64)> {
        let mut follower = self.bus.follow_events(FollowFrom::AfterSequence(0));
        let mut pending = follower.attach().await.unwrap();
        let mut told = Vec::new();
        while pending > 0 {
            let event = follower.next().await.unwrap();
            pending = event.pending;
            if let EventKind::Gap(gap) = event.content.kind {
                told.push((gap.first_trade_id, gap.last_trade_id));
            }
        }
        told
    }

    async fn tells(&self, expected: &[(u64, u64)]) {
        eventually(SOON, || async {
            let found = self.repaired().await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}")) }
        })
        .await;
    }

    /// Everything in `LF_TICKS` ages out. What comes later is kept, however long its reader takes to start.
    async fn age_out(&self) {
        let nats = self.server.as_ref().map(|server| bus::ServerUrl::new(&server.url()).unwrap());
        let forgetful = bus::Config { nats, ticks_age_max: Duration::from_secs(1), ..config() };
        Bus::connect(&forgetful).await.unwrap().ensure_streams().await.unwrap();
        eventually(SOON, || async { self.bus.stream_state(StreamKind::Ticks).await.unwrap().messages == 0 })
            .await;
        self.bus.ensure_streams().await.unwrap();
    }

    async fn is_done(&self) {
        eventually(SOON, || async {
            let mut waiting = 0;
            for work in [Work::Ticks, Work::Gaps] {
                let lag = self.bus.lag(work, self.shard).await.unwrap();
                waiting += lag.pending_messages + lag.unacknowledged;
            }
            if waiting == 0 { Ok(()) } else { Err(format!("{waiting} messages wait")) }
        })
        .await;
    }
}

impl Running {
    async fn stop(self) {
        self.shutdown.request();
        self.task.await.unwrap().unwrap();
    }

    async fn die(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn config() -> bus::Config {
    bus::Config { shards: ShardCount::new(1).unwrap(), ..bus::Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_recorded_filled_and_told() {
    for fixture in [Fixture::embedded().await, Fixture::jetstream().await] {
        let running = fixture.start();
        fixture.publish(Source::Live, [1, 2, 6]).await;
        fixture.say(EventKind::Gap(gap(3, 5))).await;
        fixture.reaches(&[(3, 5, GapState::Open, 0)]).await;
        fixture.publish(Source::Fill, [3, 4]).await;
        fixture.reaches(&[(3, 5, GapState::Open, 2)]).await;
        assert_eq!(fixture.repaired().await, []);
        fixture.publish(Source::Fill, [4, 5]).await;
        fixture.tells(&[(3, 5)]).await;
        assert_eq!(fixture.ledger().await, [(3, 5, GapState::Repaired, 3)]);
        // What nobody has any more.
        fixture.say(EventKind::Gap(gap(7, 9))).await;
        let lost = Gap { state: GapState::Unrepairable, ..gap(7, 9) };
        fixture.say(EventKind::Repaired(lost)).await;
        fixture.reaches(&[(3, 5, GapState::Repaired, 3), (7, 9, GapState::Unrepairable, 0)]).await;
        fixture.is_done().await;
        running.stop().await;
        assert_eq!(fixture.repaired().await, [(3, 5)], "told once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_while_nobody_wrote_comes_before_the_ticks() {
    for fixture in [Fixture::embedded().await, Fixture::jetstream().await] {
        fixture.publish(Source::Live, [1, 2, 6]).await;
        // The run is that of the gap: whoever fetched the trades may not know it.
        fixture.say(EventKind::Gap(Gap { run: 4, ..gap(3, 5) })).await;
        fixture.publish(Source::Fill, 3..=5).await;
        fixture.say(EventKind::Gap(gap(100, 101))).await;
        let running = fixture.start();
        fixture.tells(&[(3, 5)]).await;
        fixture.is_done().await;
        running.stop().await;
        assert_eq!(fixture.ledger().await, [(100, 101, GapState::Open, 0), (3, 5, GapState::Repaired, 3)]);
    }
}

/// A feed may tell of gaps without an end: what was said before is all that anybody waits for.
#[tokio::test(flavor = "multi_thread")]
async fn gaps_that_are_told_all_the_time_hold_up_neither_a_start_nor_a_fill() {
    let fixture = Fixture::embedded().await;
    let bus = fixture.bus.clone();
    let telling = tokio::spawn(async move {
        for first in (1_000..).step_by(2) {
            let gap = EventKind::Gap(gap(first, first));
            let time = UnixNanos::now();
            let event = FeedEvent { instrument: instrument(), time, source: "test".into(), kind: gap };
            bus.publish_event(&event).await.unwrap();
            if first % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    fixture.publish(Source::Live, [1, 2, 6]).await;
    fixture.say(EventKind::Gap(gap(3, 5))).await;
    let running = fixture.start();
    eventually(SOON, || async { running.readiness.is_ready() }).await;
    fixture.publish(Source::Fill, 3..=5).await;
    eventually(SOON, || async {
        let recorded = fixture.ledger().await;
        recorded.contains(&(3, 5, GapState::Repaired, 3))
    })
    .await;
    assert!(!telling.is_finished(), "gaps were told all the time");
    telling.abort();
    running.die().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_is_told_by_who_comes_after_a_crash() {
    let fixture = Fixture::embedded().await;
    fixture.store.record_gap(&gap(3, 4)).await.unwrap();
    let fills: Vec<Tick> = (3..=4).map(|number| tick(number, true)).collect();
    fixture.publish(Source::Fill, 3..=4).await;
    // It died between the commit and what follows it.
    let rows: Vec<_> = fills.iter().map(|tick| store::TickRow { tick, tick_seq: Some(1) }).collect();
    let batch = store::WriteBatch { ticks: &rows, snapshots: &[], written_at: UnixNanos::now() };
    fixture.store.write(&batch).await.unwrap();
    assert_eq!(fixture.ledger().await, [(3, 4, GapState::Repaired, 2)]);
    assert_eq!(fixture.repaired().await, []);
    let running = fixture.start();
    fixture.tells(&[(3, 4)]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_who_dies_again_and_again() {
    let fixture = Fixture::jetstream().await;
    let mut expected = Vec::new();
    for death in 0..5u64 {
        let running = fixture.start();
        for number in 0..6 {
            let first = 10 + death * 100 + number * 10;
            fixture.say(EventKind::Gap(gap(first, first + 2))).await;
            fixture.publish(Source::Fill, first..first + 3).await;
            expected.push((first, first + 2, GapState::Repaired, 3));
        }
        tokio::time::sleep(Duration::from_millis(7 * death)).await;
        running.die().await;
    }
    let running = fixture.start();
    fixture.reaches(&expected).await;
    fixture.is_done().await;
    running.stop().await;
    let told: std::collections::BTreeSet<(u64, u64)> = fixture.repaired().await.into_iter().collect();
    assert_eq!(told, expected.iter().map(|(first, last, ..)| (*first, *last)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_filed_and_holds_nothing_up() {
    let fixture = Fixture::embedded().await;
    // More than the database's integers hold.
    fixture
        .say(EventKind::Gap(Gap { first_trade_id: u64::MAX - 1, last_trade_id: u64::MAX, ..gap(3, 4) }))
        .await;
    fixture.say(EventKind::Gap(gap(3, 4))).await;
    let running = fixture.start();
    fixture.reaches(&[(3, 4, GapState::Open, 0)]).await;
    fixture.is_done().await;
    running.stop().await;
    let mut follower = fixture.bus.follow_rejects(FollowFrom::AfterSequence(0));
    let reject = follower.next().await.unwrap().content;
    assert_eq!((reject.reason, reject.instrument), (RejectReason::Unstorable, Some(instrument())));
    assert!(reject.detail.contains("18446744073709551614"), "{}", reject.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aged_out_of_the_stream_unread_is_a_gap() {
    let fixture = Fixture::jetstream().await;
    let running = fixture.start();
    fixture.publish(Source::Live, [1, 2]).await;
    fixture.is_done().await;
    running.stop().await;
    fixture.publish(Source::Live, [3, 4]).await;
    fixture.publish(Source::Live, [5]).await;
    fixture.age_out().await;
    fixture.publish(Source::Live, [6, 7]).await;
    fixture.publish(Source::Live, [8]).await;
    let running = fixture.start();
    fixture.reaches(&[(3, 5, GapState::Open, 0)]).await;
    fixture.publish(Source::Fill, 3..=5).await;
    fixture.reaches(&[(3, 5, GapState::Repaired, 3)]).await;
    fixture.is_done().await;
    running.stop().await;
}

/// Who fetches what is missing reads it from the stream, and the stream may be younger than the gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_only_the_database_knows_is_told_once_more() {
    // No repetition is recognised by the broker.
    let forgetful = bus::Config { duplicate_window: Duration::from_millis(100), ..config() };
    for fixture in
        [Fixture::on(Bus::embedded(&forgetful), None).await, Fixture::jetstream_with(forgetful.clone()).await]
    {
        // One was told since the stream was made, one is closed, one was noticed after the stream was made.
        let later = Gap { detected_at: UnixNanos::now(), ..gap(200, 201) };
        for gap in [&gap(3, 5), &gap(10, 12), &gap(20, 20), &later] {
            fixture.store.record_gap(gap).await.unwrap();
        }
        fixture.store.give_up_gap(&gap(20, 20)).await.unwrap();
        fixture.say(EventKind::Gap(gap(9, 12))).await;
        for start in 0..3 {
            let running = fixture.start();
            eventually(SOON, || async { running.readiness.is_ready() }).await;
            fixture.is_done().await;
            running.stop().await;
            // Longer than the window in which the broker itself recognises a repetition.
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(fixture.told().await, [(9, 12), (3, 5)], "at start {start}");
        }
        let open =
            [(3, 5), (9, 9), (10, 12), (200, 201)].map(|(first, last)| (first, last, GapState::Open, 0));
        let mut ledger = fixture.ledger().await;
        ledger.retain(|(.., state, _)| *state == GapState::Open);
        assert_eq!(ledger, open);
    }
}

/// A table or a right that is missing says nothing about a gap: none ends among the rejects for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_schema_is_waited_for_and_blames_no_gap() {
    let postgres = Postgres::start().await;
    let url = postgres.create_database().await;
    let fixture = Fixture::on_database(url.clone(), Scratch::new(), Bus::embedded(&config()), None).await;
    let running = fixture.start();
    eventually(SOON, || async { running.readiness.is_ready() }).await;
    let in_hand = |count| {
        let fixture = &fixture;
        eventually(SOON, move || async move {
            fixture.bus.lag(Work::Gaps, fixture.shard).await.unwrap().unacknowledged == count
        })
    };
    let none_is_refused = || async {
        // It is tried several times meanwhile.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(fixture.bus.stream_state(StreamKind::Rejects).await.unwrap().messages, 0);
    };
    // One alone: the table is missing.
    postgres.psql(&url, "ALTER TABLE gaps RENAME TO elsewhere").await;
    fixture.say(EventKind::Gap(gap(10, 10))).await;
    in_hand(1).await;
    none_is_refused().await;
    // Several that wait behind it, so that they come together and are one transaction: a right is missing.
    for number in [20, 30, 40] {
        fixture.say(EventKind::Gap(gap(number, number))).await;
    }
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN RAISE EXCEPTION 'no right' USING ERRCODE = '42501'; END$$; \
         CREATE TRIGGER refuse BEFORE INSERT ON elsewhere FOR EACH ROW WHEN (NEW.first_trade_id >= 20) \
         EXECUTE FUNCTION refuse(); \
         ALTER TABLE elsewhere RENAME TO gaps";
    postgres.psql(&url, refuse).await;
    fixture.reaches(&[(10, 10, GapState::Open, 0)]).await;
    in_hand(3).await;
    none_is_refused().await;
    postgres.psql(&url, "DROP TRIGGER refuse ON gaps").await;
    fixture.reaches(&[10, 20, 30, 40].map(|number| (number, number, GapState::Open, 0))).await;
    fixture.is_done().await;
    running.stop().await;
    assert_eq!(fixture.bus.stream_state(StreamKind::Rejects).await.unwrap().messages, 0);
}
