//! Candles of all intervals add up from those of a minute, in both orders and in pages of any size.

use std::collections::BTreeMap;

use domain::{Bar, Candle, Interval, Tick, TimeRange, UnixNanos};
use proptest::{prelude::*, test_runner::TestRunner};
use store::{CandleQuery, Order, Store};
use tokio::runtime::Runtime;

use crate::{
    database::{Database, on_each_database, write},
    ticks::{at, instrument, trade},
};

on_each_database!(pages_stay_valid_while_trades_arrive);

const INTERVALS: [Interval; 6] = [
    Interval::OneMinute,
    Interval::FiveMinutes,
    Interval::FifteenMinutes,
    Interval::OneHour,
    Interval::SixHours,
    Interval::OneDay,
];

fn query(product: &str, interval: Interval, range: TimeRange, limit: usize) -> CandleQuery {
    CandleQuery {
        instrument: instrument(product),
        interval,
        range,
        order: Order::Ascending,
        limit,
        after: None,
    }
}

/// Every page, put together.
async fn pages(store: &Store, mut query: CandleQuery) -> Vec<Candle> {
    let mut all = Vec::new();
    loop {
        let page = store.candles(&query).await.unwrap();
        assert!(page.len() <= query.limit);
        let Some(last) = page.last() else { return all };
        query.after = Some(last.bar.start);
        all.extend(page);
    }
}

/// What the candles of a minute add up to.
fn aggregate(minutes: &[Candle], interval: Interval) -> Vec<Candle> {
    let mut bars: BTreeMap<UnixNanos, Bar> = BTreeMap::new();
    for minute in minutes {
        let start = minute.bar.start.floor_to(interval.width());
        match bars.get_mut(&start) {
            Some(bar) => assert!(bar.merge(&minute.bar)),
            None => _ = bars.insert(start, Bar { start, ..minute.bar.clone() }),
        }
    }
    bars.into_values().map(|bar| Candle { interval, bar, state: None, completeness: None }).collect()
}

fn intervals_add_up(db: &Database, runtime: &Runtime) {
    let config = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
    let case = std::cell::Cell::new(0);
    // Three days with clusters of trades, and a range with edges anywhere in them.
    let trades = proptest::collection::vec((0i64..260_000, 1i64..1_000_000), 1..80);
    let market = (trades, 0i64..260_000, 0i64..260_000, 1usize..9);
    TestRunner::new(config)
        .run(&market, |(trades, one, other, limit)| {
            case.set(case.get() + 1);
            let product = format!("CASE-{}", case.get());
            let ticks: Vec<Tick> = trades
                .iter()
                .zip(1u64..)
                .map(|((time, price), id)| Tick {
                    instrument: instrument(&product),
                    ..trade(id, at(time / 7 * 7), &domain::Decimal::new(*price, 4).to_string())
                })
                .collect();
            let edges = TimeRange { from: at(one.min(other)), until: at(one.max(other) + 1) };
            runtime.block_on(check(&db.store, &product, &ticks, edges, limit))
        })
        .unwrap();
}

async fn check(
    store: &Store,
    product: &str,
    ticks: &[Tick],
    edges: TimeRange,
    limit: usize,
) -> Result<(), TestCaseError> {
    write(store, ticks).await;
    let minutes = pages(store, query(product, Interval::OneMinute, TimeRange::ALL, 10_000)).await;
    for interval in INTERVALS {
        let whole = aggregate(&minutes, interval);
        let trades = |candles: &[Candle]| candles.iter().map(|candle| candle.bar.tick_count).sum::<u64>();
        prop_assert_eq!(trades(&whole), u64::try_from(ticks.len()).unwrap());
        for range in [TimeRange::ALL, edges] {
            // Those that overlap the range, each whole.
            let mut expected = whole.clone();
            expected.retain(|candle| {
                let end = candle.bar.start.saturating_add(interval.width());
                candle.bar.start < range.until && range.from < end
            });
            let ascending = pages(store, query(product, interval, range, limit)).await;
            prop_assert_eq!(&ascending, &expected, "{:?} {:?}", interval, range);
            let newest_first =
                CandleQuery { order: Order::Descending, ..query(product, interval, range, limit) };
            let mut descending = pages(store, newest_first).await;
            descending.reverse();
            prop_assert_eq!(&descending, &expected, "{:?} {:?}, the newest first", interval, range);
        }
    }
    Ok(())
}

#[test]
fn intervals_add_up_on_sqlite() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::sqlite());
    intervals_add_up(&db, &runtime);
}

#[test]
fn intervals_add_up_on_postgres() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::postgres());
    intervals_add_up(&db, &runtime);
}

async fn pages_stay_valid_while_trades_arrive(db: Database) {
    let minute = |n: u64| at(i64::try_from(n).unwrap() * 60);
    // More minutes than are read at once.
    let ticks: Vec<Tick> = (1..=4_000).map(|n| trade(n, minute(n), "5")).collect();
    write(&db.store, &ticks).await;
    let mut newest_first = CandleQuery {
        order: Order::Descending,
        ..query("BTC-USD", Interval::FifteenMinutes, TimeRange::ALL, 100)
    };
    let first = db.store.candles(&newest_first).await.unwrap();
    // A trade in the candle that was last on the page, one before all, and ones that start new candles.
    let last = first.last().unwrap().bar.start;
    let more = [
        trade(5_000, last, "6"),
        trade(5_001, at(-9_999), "6"),
        trade(5_002, minute(4_100), "6"),
        trade(5_003, minute(4_200), "6"),
    ];
    write(&db.store, &more).await;
    newest_first.after = Some(last);
    let rest = pages(&db.store, newest_first.clone()).await;
    let starts: Vec<UnixNanos> = first.iter().chain(&rest).map(|candle| candle.bar.start).collect();
    assert!(starts.is_sorted_by(|newer, older| newer > older), "nothing twice, and in order");
    assert_eq!(starts.len(), 4_000 / 15 + 1 + 1, "nothing skipped");
    assert_eq!(db.store.candles(&CandleQuery { limit: 0, ..newest_first }).await.unwrap(), []);
}
