//! Bars and candles at the edges.

use domain::{Bar, Candle, Interval, MINUTE, Tick, TimeRange, UnixNanos};
use store::{CandleQuery, Order};

use crate::{
    database::{Database, history, on_each_database, write},
    ticks::{DAY, at, instrument, number, quote, trade, trade_of},
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
        order: Order::Ascending,
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
        .map(|id| trade(id, at(i64::try_from(id - 1).unwrap() * 600), &(id * 10).to_string()))
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
        let all = db.store.candles(&query(interval, UnixNanos::MIN, UnixNanos::MAX)).await.unwrap();
        assert_eq!(all.len(), count, "{interval:?}");
        assert!(all.iter().all(|candle| candle.interval == interval && candle.state.is_none()));
        assert!(all.iter().all(|candle| candle.bar.start == candle.bar.start.floor_to(interval.width())));
        assert_eq!(all.iter().map(|candle| candle.bar.tick_count).sum::<u64>(), 300);
        for candle in &all {
            let end = candle.bar.start.saturating_add(interval.width());
            let inside =
                ticks.iter().filter(|tick| candle.bar.start <= tick.event_time && tick.event_time < end);
            assert_eq!(candle.bar, fold(inside, interval).unwrap());
        }
    }
    // A range that begins and ends within a candle gives it whole; one that ends at its start does not give it.
    let hour = |n: i64| at(n * 3600);
    let inside = db.store.candles(&query(Interval::OneHour, at(3600 + 1), at(2 * 3600 + 1))).await.unwrap();
    assert_eq!(starts(&inside), [hour(1), hour(2)]);
    assert!(inside.iter().all(|candle| candle.bar.tick_count == 6));
    let exact = db.store.candles(&query(Interval::OneHour, hour(1), hour(2))).await.unwrap();
    assert_eq!(starts(&exact), [hour(1)]);
    for (from, until) in [(hour(2), hour(2)), (hour(3), hour(2)), (hour(-5), hour(0))] {
        assert_eq!(db.store.candles(&query(Interval::OneHour, from, until)).await.unwrap(), []);
    }
    let elsewhere =
        CandleQuery { instrument: instrument("ETH-USD"), ..query(Interval::OneDay, hour(0), hour(99)) };
    assert_eq!(db.store.candles(&elsewhere).await.unwrap(), []);
}

async fn candles_come_in_pages(db: Database) {
    // More minutes than are read from the database at once.
    let ticks: Vec<Tick> = (1..=7000).map(|id| trade(id, at(i64::try_from(id).unwrap() * 60), "5")).collect();
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
    assert_eq!(paged.iter().map(|candle| candle.bar.tick_count).sum::<u64>(), 7000);
    assert_eq!(db.store.candles(&CandleQuery { limit: 0, ..page }).await.unwrap(), []);
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
    let bars = db.store.candles(&query(Interval::OneMinute, UnixNanos::MIN, UnixNanos::MAX)).await.unwrap();
    assert_eq!(starts(&bars), [old.floor_to(MINUTE), DAY, at(60)]);
    let bar = &bars[1].bar;
    assert_eq!((bar.tick_count, bar.open, bar.close), (2, number("1"), number("2")));
    assert_eq!((bar.open_at, bar.close_at), ((at(0), Some(1), Some(10)), (last, Some(2), Some(20))));
    // A late tick between the two, and one before both.
    write(&db.store, &[trade(7, at(30), "0.5"), trade(0, at(0), "7.5")]).await;
    let bars = db.store.candles(&query(Interval::OneMinute, at(0), at(1))).await.unwrap();
    let bar = &bars[0].bar;
    assert_eq!((bar.tick_count, bar.open, bar.close), (4, number("7.5"), number("2")));
    assert_eq!((bar.low, bar.high, bar.sum_price), (number("0.5"), number("7.5"), number("11")));
}

/// A sum that needs more than 28 digits stops neither the writer nor the history.
#[tokio::test]
async fn a_sum_that_does_not_fit_stops_nothing() {
    let db = Database::sqlite().await;
    let huge = "79228162514264337593543950335";
    for id in 1..=3 {
        assert_eq!(write(&db.store, &[trade_of("BTC-USD", id, at(1), huge)]).await.inserted, 1);
    }
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await.len(), 3);
}

/// What the trades among `ticks` add up to.
pub(crate) fn fold<'a>(ticks: impl Iterator<Item = &'a Tick>, interval: Interval) -> Option<Bar> {
    let mut bars = ticks.filter_map(|tick| Bar::of(tick, interval.width()));
    let first = bars.next()?;
    Some(bars.fold(first, |mut bar, other| {
        assert!(bar.merge(&other));
        bar
    }))
}
