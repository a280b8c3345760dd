//! Bars equal what a recomputation over history gives, whatever arrives in which order; candles at the edges.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Bar, Candle, Instrument, Interval, MINUTE, Tick, TimeRange, UnixNanos};
use proptest::{prelude::*, test_runner::TestRunner};
use store::{CandleQuery, Store};
use tokio::runtime::Runtime;

use crate::{
    database::{Database, history, on_each_database, write},
    ticks::{DAY, at, backfilled, instrument, number, quote, trade, trade_of},
};

on_each_database!(
    candles_are_aligned_and_whole,
    candles_come_in_pages,
    a_minute_begins_and_ends_on_the_nanosecond
);

fn query(interval: Interval, from: UnixNanos, until: UnixNanos) -> CandleQuery {
    let range = TimeRange { from, until };
    CandleQuery {
        instrument: instrument("BTC-USD"),
        interval,
        range,
        limit: 10_000,
        after: None,
    }
}

fn starts(candles: &[Candle]) -> Vec<UnixNanos> {
    candles.iter().map(|candle| candle.bar.start).collect()
}

async fn candles_are_aligned_and_whole(db: Database) {
    // One trade in every 10 minutes for two days and a bit, each with its minute as the price.
    let ticks: Vec<Tick> = (1..=300)
        .map(|id| {
            trade(
                id,
                at(i64::try_from(id - 1).unwrap() * 600),
                &(id * 10).to_string(),
            )
        })
        .collect();
    write(&db.store, &ticks).await;
    for (interval, count) in [
        (Interval::OneMinute, 300),
        (Interval::FiveMinutes, 300),
        (Interval::FifteenMinutes, 200),
        (Interval::OneHour, 50),
        (Interval::SixHours, 9),
        (Interval::OneDay, 3),
    ] {
        let all = db
            .store
            .candles(&query(interval, UnixNanos::MIN, UnixNanos::MAX))
            .await
            .unwrap();
        assert_eq!(all.len(), count, "{interval:?}");
        assert!(
            all.iter()
                .all(|candle| candle.interval == interval && candle.state.is_none())
        );
        assert!(
            all.iter()
                .all(|candle| candle.bar.start == candle.bar.start.floor_to(interval.width()))
        );
        assert_eq!(all.iter().map(|candle| candle.bar.tick_count).sum::<u64>(), 300);
        for candle in &all {
            let end = candle.bar.start.saturating_add(interval.width());
            let inside = ticks
                .iter()
                .filter(|tick| candle.bar.start <= tick.event_time && tick.event_time < end);
            assert_eq!(candle.bar, fold(inside, interval).unwrap());
        }
    }
    // A range that begins and ends within a candle gives it whole; one that ends at its start does not give it.
    let hour = |n: i64| at(n * 3600);
    let inside = db
        .store
        .candles(&query(Interval::OneHour, at(3600 + 1), at(2 * 3600 + 1)))
        .await
        .unwrap();
    assert_eq!(starts(&inside), [hour(1), hour(2)]);
    assert!(inside.iter().all(|candle| candle.bar.tick_count == 6));
    let exact = db
        .store
        .candles(&query(Interval::OneHour, hour(1), hour(2)))
        .await
        .unwrap();
    assert_eq!(starts(&exact), [hour(1)]);
    for (from, until) in [(hour(2), hour(2)), (hour(3), hour(2)), (hour(-5), hour(0))] {
        assert_eq!(
            db.store
                .candles(&query(Interval::OneHour, from, until))
                .await
                .unwrap(),
            []
        );
    }
    let elsewhere = CandleQuery {
        instrument: instrument("ETH-USD"),
        ..query(Interval::OneDay, hour(0), hour(99))
    };
    assert_eq!(db.store.candles(&elsewhere).await.unwrap(), []);
}

async fn candles_come_in_pages(db: Database) {
    // More minutes than are read from the database at once.
    let ticks: Vec<Tick> = (1..=7000)
        .map(|id| trade(id, at(i64::try_from(id).unwrap() * 60), "5"))
        .collect();
    write(&db.store, &ticks).await;
    let all = query(Interval::FifteenMinutes, UnixNanos::MIN, UnixNanos::MAX);
    let whole = db.store.candles(&all).await.unwrap();
    let mut paged = Vec::new();
    let mut page = CandleQuery { limit: 200, ..all };
    loop {
        let candles = db.store.candles(&page).await.unwrap();
        let Some(last) = candles.last() else { break };
        page.after = Some(last.bar.start);
        paged.extend(candles);
    }
    assert_eq!(paged, whole);
    assert_eq!(
        paged.iter().map(|candle| candle.bar.tick_count).sum::<u64>(),
        7000
    );
    assert_eq!(
        db.store.candles(&CandleQuery { limit: 0, ..page }).await.unwrap(),
        []
    );
}

async fn a_minute_begins_and_ends_on_the_nanosecond(db: Database) {
    let last = UnixNanos::new(at(60).nanos() - 1);
    let old = UnixNanos::parse_rfc3339("2010-06-30T23:59:59.999999999Z").unwrap();
    let ticks = [
        trade(1, at(0), "1"),
        trade(2, last, "2"),
        trade(3, at(60), "3"),
        trade(4, old, "4"),
        quote(5, at(1), "9"),
    ];
    write(&db.store, &ticks).await;
    let bars = db
        .store
        .candles(&query(Interval::OneMinute, UnixNanos::MIN, UnixNanos::MAX))
        .await
        .unwrap();
    assert_eq!(starts(&bars), [old.floor_to(MINUTE), DAY, at(60)]);
    let bar = &bars[1].bar;
    assert_eq!(
        (bar.tick_count, bar.open, bar.close),
        (2, number("1"), number("2"))
    );
    assert_eq!(
        (bar.open_at, bar.close_at),
        ((at(0), Some(1), Some(10)), (last, Some(2), Some(20)))
    );
    // A late tick between the two, and one before both.
    write(&db.store, &[trade(7, at(30), "0.5"), trade(0, at(0), "7.5")]).await;
    let bars = db
        .store
        .candles(&query(Interval::OneMinute, at(0), at(1)))
        .await
        .unwrap();
    let bar = &bars[0].bar;
    assert_eq!(
        (bar.tick_count, bar.open, bar.close),
        (4, number("7.5"), number("2"))
    );
    assert_eq!(
        (bar.low, bar.high, bar.sum_price),
        (number("0.5"), number("7.5"), number("11"))
    );
}

fn fold<'a>(ticks: impl Iterator<Item = &'a Tick>, interval: Interval) -> Option<Bar> {
    let mut bars = ticks.filter_map(|tick| Bar::of(tick, interval.width()));
    let first = bars.next()?;
    Some(bars.fold(first, |mut bar, other| {
        assert!(bar.merge(&other));
        bar
    }))
}

/// Recomputes all bars from history.
async fn recompute(store: &Store, product: &Instrument) -> Vec<Bar> {
    let mut minutes: BTreeMap<UnixNanos, Vec<Tick>> = BTreeMap::new();
    for (_, tick) in history(store, product).await {
        minutes
            .entry(tick.event_time.floor_to(MINUTE))
            .or_default()
            .push(tick);
    }
    minutes
        .values()
        .filter_map(|ticks| fold(ticks.iter(), Interval::OneMinute))
        .collect()
}

#[derive(Clone, Debug)]
struct Market {
    /// Trades, changes of the book and backfills of the trades.
    ticks: Vec<Tick>,
    /// What is written when, by index: repetitions, late ticks, redelivered batches.
    batches: Vec<Vec<usize>>,
}

/// Few distinct times and many trades, so that minutes are shared and times collide.
fn market() -> impl Strategy<Value = Market> {
    let tick = (0i64..240_000, 1i64..100_000_000, 0u8..10);
    proptest::collection::vec(tick, 1..60)
        .prop_map(|rows| {
            rows.into_iter()
                .zip(1u64..)
                .map(|((time, price, kind), id)| one(id, time, price, kind))
                .collect()
        })
        .prop_flat_map(|ticks: Vec<Tick>| {
            let indexes = 0..ticks.len();
            let batch = proptest::collection::vec(indexes, 0..40);
            (
                Just(ticks),
                proptest::collection::vec(batch, 1..8),
                any::<prop::sample::Index>(),
            )
        })
        .prop_map(|(ticks, mut batches, again)| {
            let redelivered = batches[again.index(batches.len())].clone();
            batches.push(redelivered);
            Market { ticks, batches }
        })
}

fn one(id: u64, time_ms: i64, price: i64, kind: u8) -> Tick {
    let time = UnixNanos::new(DAY.nanos() + time_ms / 500 * 500 * 1_000_000);
    let price = domain::Decimal::new(price, 8).to_string();
    let tick = trade(id, time, &price);
    match kind {
        0 => quote(id * 10, time, &price),
        1 => {
            let mut anonymous = tick;
            anonymous.last_trade.as_mut().unwrap().trade_id = None;
            anonymous
        }
        // The same trade as the one before, seen at another time.
        2 | 3 => backfilled(&trade(id.saturating_sub(1).max(1), time, &price)),
        _ => tick,
    }
}

/// What has to be stored: every live tick once; a backfill only where nothing had its trade before.
#[derive(Default)]
struct Model {
    live: BTreeSet<(i64, Option<u64>, Option<u64>)>,
    trades: BTreeSet<u64>,
    stored: usize,
}

impl Model {
    fn write(&mut self, batch: &[Tick]) -> usize {
        let before = self.stored;
        let (late, live): (Vec<&Tick>, Vec<&Tick>) = batch.iter().partition(|tick| tick.flags.backfilled);
        // Within a batch the live tick wins, wherever it stands.
        for tick in live {
            let sequence = if tick.trade_id().is_some() {
                None
            } else {
                tick.sequence
            };
            let key = (tick.event_time.nanos(), tick.trade_id(), sequence);
            let backfilled_before = self.live.contains(&key);
            if !backfilled_before && self.live.insert(key) {
                self.stored += 1;
            }
            self.trades.extend(tick.trade_id());
        }
        for tick in late {
            if self.trades.insert(tick.trade_id().unwrap()) {
                self.live.insert((tick.event_time.nanos(), tick.trade_id(), None));
                self.stored += 1;
            }
        }
        self.stored - before
    }
}

fn bars_are_exact(db: &Database, runtime: &Runtime) {
    let config = ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config);
    let case = std::cell::Cell::new(0);
    runner
        .run(&market(), |market| {
            // A product of its own stands for a database of its own.
            case.set(case.get() + 1);
            let product = instrument(&format!("CASE-{}", case.get()));
            runtime.block_on(check(&db.store, &product, &market))
        })
        .unwrap();
}

async fn check(store: &Store, product: &Instrument, market: &Market) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for batch in &market.batches {
        let ticks: Vec<Tick> = batch
            .iter()
            .map(|index| Tick {
                instrument: product.clone(),
                ..market.ticks[*index].clone()
            })
            .collect();
        let written = write(store, &ticks).await;
        prop_assert_eq!(written.inserted, model.write(&ticks));
        prop_assert_eq!(written.inserted + written.duplicates, ticks.len());
        let query = CandleQuery {
            instrument: product.clone(),
            ..query(Interval::OneMinute, UnixNanos::MIN, UnixNanos::MAX)
        };
        let bars: Vec<Bar> = store
            .candles(&query)
            .await
            .unwrap()
            .into_iter()
            .map(|candle| candle.bar)
            .collect();
        prop_assert_eq!(bars, recompute(store, product).await);
    }
    let stored = history(store, product).await;
    prop_assert_eq!(stored.len(), model.stored);
    prop_assert!(stored.is_sorted_by_key(|(key, _)| *key));
    let newest = stored.iter().filter_map(|(_, tick)| tick.position()).max();
    let latest = store.latest(product).await.unwrap();
    prop_assert_eq!(latest.map(|latest| latest.position), newest);
    Ok(())
}

#[test]
fn bars_are_exact_on_sqlite() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::sqlite());
    bars_are_exact(&db, &runtime);
}

#[test]
fn bars_are_exact_on_postgres() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::postgres());
    bars_are_exact(&db, &runtime);
}

/// A sum that needs more than 28 digits stops neither the writer nor the history.
#[tokio::test]
async fn a_sum_that_does_not_fit_stops_nothing() {
    let db = Database::sqlite().await;
    let huge = "79228162514264337593543950335";
    for id in 1..=3 {
        assert_eq!(
            write(&db.store, &[trade_of("BTC-USD", id, at(1), huge)])
                .await
                .inserted,
            1
        );
    }
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await.len(), 3);
}
