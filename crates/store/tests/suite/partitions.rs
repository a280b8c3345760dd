//! Ticks of any day find their place.

use domain::{Interval, Tick, TimeRange, UnixNanos};
use store::{CandleQuery, Order, TickRange};

use crate::{
    database::{Database, connect, history, on_each_database, read, write},
    ticks::{DAY, at, instrument, trade},
};

on_each_database!(a_batch_may_cross_days_and_years, many_days_in_one_batch);

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
