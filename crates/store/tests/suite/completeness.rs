//! How complete a range is, by the numbers of its trades.

use std::time::Duration;

use domain::{Completeness, Instrument, Tick, TimeRange, UnixNanos};
use proptest::{prelude::*, test_runner::TestRunner};
use store::{Order, Store, TICKS_LIMIT_MAX, TickQuery, TickRange};
use tokio::runtime::Runtime;

use crate::{
    database::{Database, on_each_database, write},
    gaps::gap,
    ticks::{at, backfilled, instrument, trade},
};

on_each_database!(
    what_is_expected_is_known_by_the_edges,
    what_is_not_kept_is_not_expected,
    a_new_numbering_is_not_counted_through,
    old_databases_are_counted
);

fn complete(expected: Option<u64>, stored: u64, open: u64) -> Completeness {
    Completeness { expected_trades: expected, stored_trades: stored, open_gaps: open, horizon: None }
}

async fn of(store: &Store, from: UnixNanos, until: UnixNanos) -> Completeness {
    both_ways(store, &instrument("BTC-USD"), TimeRange { from, until }).await
}

/// What is counted, which is the same for who has the ticks at hand.
async fn both_ways(store: &Store, instrument: &Instrument, range: TimeRange) -> Completeness {
    let (order, after, limit) = (Order::Descending, None, TICKS_LIMIT_MAX);
    let query =
        TickQuery { instrument: instrument.clone(), range: TickRange::Time(range), order, after, limit };
    let ticks = store.ticks(&query).await.unwrap();
    let counted = store.completeness(instrument, range).await.unwrap();
    assert_eq!(store.completeness_of(instrument, range, &ticks).await.unwrap(), counted, "{range:?}");
    counted
}

fn second(id: u64) -> UnixNanos {
    at(i64::try_from(id).unwrap())
}

async fn what_is_expected_is_known_by_the_edges(db: Database) {
    let (oldest, newest) = (UnixNanos::MIN, UnixNanos::MAX);
    assert_eq!(of(&db.store, oldest, newest).await, complete(None, 0, 0), "nothing is known of nothing");
    // A trade in each second for three days and a bit, with 10 missing.
    let ticks: Vec<Tick> = (100..2_000)
        .filter(|id| !(500..510).contains(id))
        .map(|id| trade(id, second(id * 150), "5"))
        .collect();
    write(&db.store, &ticks).await;
    assert_eq!(of(&db.store, oldest, newest).await, complete(Some(1_900), 1_890, 0));
    db.store
        .record_gap(&domain::Gap {
            after: Some(second(499 * 150)),
            before: Some(second(510 * 150)),
            ..gap(500, 509)
        })
        .await
        .unwrap();
    assert_eq!(of(&db.store, oldest, newest).await, complete(Some(1_900), 1_890, 1));
    // Edges in the middle of a minute, each between two trades.
    let middle = |id: u64| UnixNanos::new(second(id * 150).nanos() + 7);
    assert_eq!(of(&db.store, middle(150), middle(160)).await, complete(Some(10), 10, 0));
    assert_eq!(of(&db.store, second(150 * 150), second(160 * 150)).await, complete(Some(10), 10, 0));
    assert_eq!(of(&db.store, middle(200), middle(1_800)).await, complete(Some(1_600), 1_590, 1));
    assert_eq!(
        of(&db.store, middle(150), second(151 * 150)).await,
        complete(Some(0), 0, 0),
        "proven to be empty"
    );
    // The range ends among the missing ones: nobody knows how many of them are in it.
    assert_eq!(of(&db.store, middle(400), middle(499)).await, complete(None, 99, 1));
    assert_eq!(of(&db.store, middle(505), middle(600)).await, complete(None, 91, 1));
    // Before the first and after the last one there may be others.
    assert_eq!(of(&db.store, second(0), middle(200)).await, complete(None, 101, 0));
    assert_eq!(of(&db.store, oldest, middle(200)).await, complete(Some(101), 101, 0));
    assert_eq!(of(&db.store, middle(1_900), second(99_999_999)).await, complete(None, 99, 0));
    assert_eq!(of(&db.store, middle(1_900), newest).await, complete(Some(99), 99, 0));
    let fills: Vec<Tick> = (500..510).map(|id| backfilled(&trade(id, second(id * 150), "5"))).collect();
    write(&db.store, &fills).await;
    assert_eq!(of(&db.store, oldest, newest).await, complete(Some(1_900), 1_900, 0));
    assert_eq!(of(&db.store, middle(400), middle(499)).await, complete(Some(99), 99, 0));
}

async fn what_is_not_kept_is_not_expected(db: Database) {
    let hour = |id: u64| second(id * 3_600);
    let ticks: Vec<Tick> = (10..110).map(|id| trade(id, hour(id), "5")).collect();
    write(&db.store, &ticks).await;
    db.store.retain(Duration::from_secs(50 * 3_600), hour(110)).await.unwrap();
    let horizon = db.store.horizon().await.unwrap().unwrap();
    let kept = ticks.iter().filter(|tick| tick.event_time >= horizon).count() as u64;
    let expected = Completeness { horizon: Some(horizon), ..complete(Some(kept), kept, 0) };
    assert!((50..80).contains(&kept), "{kept}");
    assert_eq!(of(&db.store, UnixNanos::MIN, UnixNanos::MAX).await, expected);
    assert_eq!(of(&db.store, hour(20), UnixNanos::MAX).await, expected, "as far as it is kept");
    let gone = Completeness { expected_trades: None, stored_trades: 0, ..expected };
    assert_eq!(of(&db.store, hour(11), hour(12)).await, gone);
}

async fn a_new_numbering_is_not_counted_through(db: Database) {
    let run = |run: u32, ids: std::ops::Range<u64>, from: u64| -> Vec<Tick> {
        let tick = |id| Tick { run, ..trade(id, second(from + id), "5") };
        ids.map(tick).collect()
    };
    write(&db.store, &run(0, 100..120, 0)).await;
    // The sequence begins anew, the trades are counted on.
    write(&db.store, &run(1, 120..140, 0)).await;
    assert_eq!(of(&db.store, UnixNanos::MIN, UnixNanos::MAX).await, complete(Some(40), 40, 0));
    // The trades are counted anew.
    write(&db.store, &run(2, 5..300, 1_000)).await;
    assert_eq!(of(&db.store, UnixNanos::MIN, UnixNanos::MAX).await, complete(None, 335, 0));
    assert_eq!(of(&db.store, second(110), second(130)).await, complete(Some(20), 20, 0));
    assert_eq!(of(&db.store, second(1_200), UnixNanos::MAX).await, complete(Some(100), 100, 0));
}

async fn old_databases_are_counted(db: Database) {
    let ticks: Vec<Tick> = (0..300).map(|id| trade(id, second(id * 1_000), "5")).collect();
    write(&db.store, &ticks).await;
    let rows = "SELECT ts_day || ' ' || trades FROM trade_counts_1day ORDER BY ts_day";
    let counted = db.select(rows).await;
    assert_eq!(counted.len(), 4);
    // As it was before there were counts.
    for step in [
        "DROP TABLE trade_counts_1day",
        "DROP INDEX gaps_open",
        "DROP INDEX gaps_trades",
        "CREATE INDEX gaps_detected_at ON gaps (venue, product, detected_at)",
        "DELETE FROM seaql_migrations WHERE version = 'm0007_ledger'",
    ] {
        db.execute(step).await;
    }
    migrations::migrate(&db.url, false).await.unwrap();
    assert_eq!(db.select(rows).await, counted);
}

fn counts_are_exact(db: &Database, runtime: &Runtime) {
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let case = std::cell::Cell::new(0);
    let trades = proptest::collection::vec(0i64..300_000, 1..60);
    let edges = proptest::collection::vec((0i64..300_000, 0i64..300_000), 1..8);
    TestRunner::new(config)
        .run(&(trades, edges), |(trades, edges)| {
            case.set(case.get() + 1);
            let product = instrument(&format!("CASE-{}", case.get()));
            let ticks: Vec<Tick> = trades
                .iter()
                .zip(1u64..)
                .map(|(time, id)| Tick { instrument: product.clone(), ..trade(id, at(time / 5 * 5), "5") })
                .collect();
            runtime.block_on(async {
                write(&db.store, &ticks).await;
                for (from, until) in &edges {
                    // Also edges that are those of a minute.
                    for unit in [1, 60] {
                        let range =
                            TimeRange { from: at(from / unit * unit), until: at(until / unit * unit) };
                        let inside = ticks.iter().filter(|tick| range.contains(tick.event_time)).count();
                        let counted = both_ways(&db.store, &product, range).await;
                        prop_assert_eq!(counted.stored_trades, inside as u64, "{:?}", range);
                    }
                }
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn counts_are_exact_on_sqlite() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::sqlite());
    counts_are_exact(&db, &runtime);
}

#[test]
fn counts_are_exact_on_postgres() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::postgres());
    counts_are_exact(&db, &runtime);
}
