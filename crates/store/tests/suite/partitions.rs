//! Ticks of any day find their place.

use std::time::Duration;

use domain::{Interval, Tick, TimeRange, UnixNanos};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use store::{CandleQuery, Config, Order, Store, StoreError, TickRange};
use testkit::eventually;

use crate::{
    database::{Database, connect, history, on_each_database, read, write},
    ticks::{DAY, at, instrument, trade},
};

on_each_database!(a_batch_may_cross_days_and_years, many_days_in_one_batch, history_is_measured);

const SOON: Duration = Duration::from_secs(20);
const PARTITIONS: &str = "SELECT relname::text FROM pg_inherits JOIN pg_class ON oid = inhrelid \
                          WHERE inhparent = 'tick_history'::regclass ORDER BY relname";

async fn a_batch_may_cross_days_and_years(db: Database) {
    let time = |text: &str| UnixNanos::parse_rfc3339(text).unwrap();
    let ticks = [
        trade(1, time("2010-01-01T00:00:00Z"), "0.06"),
        trade(2, time("2021-04-17T16:44:06.123456Z"), "61000.01"),
        trade(3, time("2021-04-17T23:59:59.999999999Z"), "61000.02"),
        trade(4, time("2021-04-18T00:00:00Z"), "61000.03"),
        trade(5, UnixNanos::new(DAY.nanos() - 1), "5"),
        trade(6, DAY, "6"),
    ];
    assert_eq!(write(&db.store, &ticks).await.inserted, 6);
    assert_eq!(write(&db.store, &ticks).await.duplicates, 6);
    let all: Vec<Tick> =
        history(&db.store, &instrument("BTC-USD")).await.into_iter().map(|(_, tick)| tick).collect();
    assert_eq!(all, ticks);
    let days = CandleQuery {
        instrument: instrument("BTC-USD"),
        interval: Interval::OneDay,
        range: TimeRange::ALL,
        order: Order::Ascending,
        limit: 10,
        after: None,
    };
    let counts: Vec<u64> =
        db.store.candles(&days).await.unwrap().iter().map(|candle| candle.bar.tick_count).collect();
    assert_eq!(counts, [1, 2, 1, 1, 1]);
    let range = TickRange::Time(TimeRange { from: ticks[1].event_time, until: ticks[4].event_time });
    assert_eq!(read(&db.store, &instrument("BTC-USD"), range, Order::Descending, 2).await.len(), 3);
    if db.is_postgres() {
        let names = ["20100101", "20210417", "20210418", "20261121", "20261122", "default"];
        let names = names.map(|name| Some(format!("tick_history_{name}")));
        assert_eq!(db.select(PARTITIONS).await, names);
        assert_eq!(db.select("SELECT product FROM tick_history_default").await, []);
        // Another process finds the partitions there.
        let other = connect(&db.url).await.unwrap();
        assert_eq!(write(&other, &[trade(7, at(1), "7")]).await.inserted, 1);
        assert_eq!(db.select(PARTITIONS).await.len(), 6);
    }
}

async fn many_days_in_one_batch(db: Database) {
    let ticks: Vec<Tick> =
        (1..=130).map(|id| trade(id, at(i64::try_from(id).unwrap() * 86_400), "5")).collect();
    assert_eq!(write(&db.store, &ticks).await.inserted, 130);
    assert_eq!(write(&db.store, &ticks).await.duplicates, 130);
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await.len(), 130);
    if db.is_postgres() {
        // A batch makes at most 100; the second writing found no way to give the others one.
        assert_eq!(db.select(PARTITIONS).await.len(), 101);
        assert_eq!(db.select("SELECT product FROM tick_history_default").await.len(), 30);
    }
    // The ends of time have no partition of their own.
    let ends = [trade(900, UnixNanos::MIN, "5"), trade(901, UnixNanos::new(i64::MAX - 1), "5")];
    assert_eq!(write(&db.store, &ends).await.inserted, 2);
    assert_eq!(write(&db.store, &ends).await.duplicates, 2);
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await.len(), 132);
}

async fn open(url: &str, width: Duration) -> Result<Store, StoreError> {
    Store::connect(&Config { url: url.into(), partition_width: Some(width), ..Config::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_have_the_configured_width() {
    let hour = Duration::from_secs(3600);
    let db = Database::postgres().await;
    let store = open(&db.url, hour).await.unwrap();
    let ticks: Vec<Tick> =
        (0..5).map(|id| trade(id + 1, at(i64::try_from(id).unwrap() * 1800), "5")).collect();
    assert_eq!(write(&store, &ticks).await.inserted, 5);
    let names = ["20261122_0000", "20261122_0100", "20261122_0200", "default"];
    assert_eq!(db.select(PARTITIONS).await, names.map(|name| Some(format!("tick_history_{name}"))));

    // Whole hours are dropped, and the first one that is kept is whole.
    let report = store.retain(hour, at(2 * 3600 + 1799)).await.unwrap();
    assert_eq!((report.horizon, report.partitions_dropped), (Some(at(3600)), 1));
    assert_eq!(history(&store, &instrument("BTC-USD")).await.len(), 3);

    // Who does not say takes what is there.
    let store = connect(&db.url).await.unwrap();
    assert_eq!(write(&store, &[trade(8, at(5 * 3600), "5")]).await.inserted, 1);
    assert!(db.select(PARTITIONS).await.contains(&Some("tick_history_20261122_0500".into())));

    // The width belongs to the database: another one is refused, at once and while it is being decided.
    let error = open(&db.url, 24 * hour).await.unwrap_err();
    let StoreError::PartitionWidth { stored, configured } = error else { panic!("{error:?}") };
    assert_eq!((stored, configured), (hour, 24 * hour));
    let late = db.store.write(&store::WriteBatch { ticks: &[], snapshots: &[], written_at: at(0) }).await;
    assert!(late.is_ok(), "{late:?}");
    let ticks = [trade(9, at(9 * 86_400), "5")];
    let error = crate::database::write_all(&db.store, &ticks, &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::PartitionWidth { .. }) && !error.is_retryable(), "{error:?}");
}

/// Somebody who reads the table for long keeps retention waiting, but nobody else: it gives way and comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_gives_way() {
    let db = Database::postgres().await;
    write(&db.store, &[trade(1, at(0), "5"), trade(2, at(86_400), "5")]).await;
    let reader = db.raw().await.begin().await.unwrap();
    reader.execute_unprepared("SELECT count(*) FROM tick_history").await.unwrap();
    let store = db.store.clone();
    let dropping =
        tokio::spawn(
            async move { store.retain(Duration::ZERO, at(86_400)).await.unwrap().partitions_dropped },
        );
    let waits = "SELECT count(*)::text FROM pg_locks JOIN pg_database d ON d.oid = database \
                 WHERE d.datname = current_database() AND NOT granted AND mode = 'AccessExclusiveLock'";
    for round in 0..2 {
        eventually(SOON, || async { (db.select(waits).await != [Some("0".into())]).then_some(()) }).await;
        assert_eq!(write(&db.store, &[trade(10 + round, at(86_401), "5")]).await.inserted, 1);
        eventually(SOON, || async { (db.select(waits).await == [Some("0".into())]).then_some(()) }).await;
    }
    assert!(!dropping.is_finished());
    reader.commit().await.unwrap();
    assert_eq!(dropping.await.unwrap(), 1);
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await.len(), 3);
}

/// A database that was made before the width could be chosen has daily partitions, and says so.
#[tokio::test]
async fn an_older_database_has_daily_partitions() {
    let db = Database::postgres().await;
    write(&db.store, &[trade(1, at(0), "5")]).await;
    db.execute("DELETE FROM seaql_migrations WHERE version = 'm0006_partitions'; DELETE FROM meta WHERE key = 'partition_width'; \
                DROP INDEX tick_history_timestamp; DROP FUNCTION ledgerflux_drop_partition; DROP FUNCTION ledgerflux_make_partition")
        .await;
    assert_eq!(migrations::migrate(&db.url, false).await.unwrap(), ["m0006_partitions"]);
    assert!(open(&db.url, Duration::from_secs(3600)).await.is_err());
    let store = open(&db.url, Duration::from_secs(86_400)).await.unwrap();
    assert_eq!(write(&store, &[trade(1, at(0), "5"), trade(2, at(86_400), "5")]).await.inserted, 1);
}

async fn history_is_measured(db: Database) {
    let empty = db.store.measure().await.unwrap();
    assert_eq!(empty.default_partition_rows, 0);
    let ticks: Vec<Tick> = (1..=2000).map(|id| trade(id, at(1), "5")).collect();
    write(&db.store, &ticks).await;
    let full = db.store.measure().await.unwrap();
    assert!(full.size_bytes > empty.size_bytes + 100_000, "{empty:?} {full:?}");
    // The ends of time have no partition of their own.
    write(&db.store, &[trade(3000, UnixNanos::MIN, "5")]).await;
    let strays = db.store.measure().await.unwrap().default_partition_rows;
    assert_eq!(strays, u64::from(db.is_postgres()));
}

/// The original's dashboards filter on the time of writing.
#[tokio::test]
async fn a_filter_on_the_time_of_writing_reads_little() {
    let db = Database::postgres().await;
    write(&db.store, &[trade(1, at(0), "5")]).await;
    db.execute(
        "INSERT INTO tick_history (product, \"timestamp\", price, volume, trade_id, ts_event, ts_ingest) \
         SELECT 'ETH-USD', timestamptz '2026-11-22 00:00Z' + n * interval '1 second', 5, 1, n, \
         1795305600000000000 + n * 1000000000, 0 FROM generate_series(1::bigint, 50000) AS n",
    )
    .await;
    db.execute("VACUUM ANALYZE tick_history_20261122").await;
    let plan = db
        .select(
            "EXPLAIN SELECT avg(price) FROM tick_history WHERE product = 'ETH-USD' AND \"timestamp\" >= \
             '2026-11-22 06:00Z' AND \"timestamp\" < '2026-11-22 06:05Z'",
        )
        .await;
    let plan = plan.into_iter().flatten().collect::<Vec<_>>().join("\n");
    assert!(plan.contains("Bitmap Index Scan on tick_history_20261122_timestamp_idx"), "{plan}");
}
