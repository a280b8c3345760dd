//! Bars equal what a recomputation over history gives, whatever arrives in which order and how often.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Bar, Instrument, Interval, MINUTE, Tick, TimeRange, UnixNanos};
use proptest::{prelude::*, test_runner::TestRunner};
use store::{CandleQuery, Store};
use tokio::runtime::Runtime;

use crate::{
    bars::fold,
    database::{Database, history, write},
    ticks::{DAY, backfilled, instrument, quote, trade},
};

/// Recomputes all bars from history.
async fn recompute(store: &Store, product: &Instrument) -> Vec<Bar> {
    let mut minutes: BTreeMap<UnixNanos, Vec<Tick>> = BTreeMap::new();
    for (_, tick) in history(store, product).await {
        minutes.entry(tick.event_time.floor_to(MINUTE)).or_default().push(tick);
    }
    minutes.values().filter_map(|ticks| fold(ticks.iter(), Interval::OneMinute)).collect()
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
            rows.into_iter().zip(1u64..).map(|((time, price, kind), id)| one(id, time, price, kind)).collect()
        })
        .prop_flat_map(|ticks: Vec<Tick>| {
            let indexes = 0..ticks.len();
            let batch = proptest::collection::vec(indexes, 0..40);
            (Just(ticks), proptest::collection::vec(batch, 1..8), any::<prop::sample::Index>())
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
            let sequence = if tick.trade_id().is_some() { None } else { tick.sequence };
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
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
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
            .map(|index| Tick { instrument: product.clone(), ..market.ticks[*index].clone() })
            .collect();
        let written = write(store, &ticks).await;
        prop_assert_eq!(written.inserted, model.write(&ticks));
        prop_assert_eq!(written.inserted + written.duplicates, ticks.len());
        let query = CandleQuery {
            instrument: product.clone(),
            interval: Interval::OneMinute,
            range: TimeRange::ALL,
            order: store::Order::Ascending,
            limit: 10_000,
            after: None,
        };
        let bars: Vec<Bar> =
            store.candles(&query).await.unwrap().into_iter().map(|candle| candle.bar).collect();
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
