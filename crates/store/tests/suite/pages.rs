//! Reading history page by page.

use domain::{Tick, TimeRange, UnixNanos};
use store::{HistoryKey, Order, TickQuery, TickRange};

use crate::{
    database::{Database, on_each_database, read, write},
    ticks::{at, backfilled, instrument, quote, trade, trade_of},
};

on_each_database!(
    pages_of_any_size_give_the_same_order,
    ranges_are_half_open,
    sequences_are_read_by_position,
    pages_stay_stable_while_rows_arrive,
);

/// Trades, quotes and backfills, many at the same time.
fn crowd() -> Vec<Tick> {
    (1..=120u64)
        .map(|id| {
            let time = at(i64::try_from(id / 8).unwrap());
            match id % 6 {
                0 => quote(id * 10, time, "1"),
                1 => backfilled(&trade(id, time, "5")),
                2 => {
                    let mut anonymous = trade(id, time, "5");
                    anonymous.last_trade.as_mut().unwrap().trade_id = None;
                    anonymous
                }
                _ => trade(id, time, "5"),
            }
        })
        .collect()
}

async fn pages_of_any_size_give_the_same_order(db: Database) {
    let mut ticks = crowd();
    // Stored in another order than that of time.
    ticks.reverse();
    write(&db.store, &ticks[..50]).await;
    write(&db.store, &ticks[50..]).await;
    write(&db.store, &[trade_of("ETH-USD", 1, at(3), "5")]).await;
    ticks.sort_by_key(|tick| (tick.event_time, tick.trade_id(), tick.sequence));
    let btc = instrument("BTC-USD");
    for page in [1, 2, 3, 7, 50, 120, 121, 5000] {
        let range = TickRange::Time(TimeRange::ALL);
        let ascending = read(&db.store, &btc, range, Order::Ascending, page).await;
        let read_ticks: Vec<Tick> = ascending.iter().map(|(_, tick)| tick.clone()).collect();
        assert_eq!(read_ticks, ticks, "pages of {page}");
        let mut descending = read(&db.store, &btc, range, Order::Descending, page).await;
        descending.reverse();
        assert_eq!(descending, ascending, "pages of {page}");
    }
}

async fn ranges_are_half_open(db: Database) {
    write(&db.store, &crowd()).await;
    let times = |from, until| {
        let store = &db.store;
        async move {
            let range = TickRange::Time(TimeRange { from, until });
            let ticks = read(store, &instrument("BTC-USD"), range, Order::Ascending, 3).await;
            let times: Vec<UnixNanos> = ticks.iter().map(|(_, tick)| tick.event_time).collect();
            (times.len(), times.first().copied(), times.last().copied())
        }
    };
    assert_eq!(times(at(2), at(4)).await, (16, Some(at(2)), Some(at(3))));
    assert_eq!(times(at(2), at(2)).await, (0, None, None));
    assert_eq!(times(at(4), at(2)).await, (0, None, None));
    assert_eq!(times(UnixNanos::new(at(2).nanos() + 1), at(3)).await, (0, None, None));
    let query = TickQuery {
        instrument: instrument("BTC-USD"),
        range: TickRange::Time(TimeRange::ALL),
        order: Order::Ascending,
        after: None,
        limit: 0,
    };
    assert_eq!(db.store.ticks(&query).await.unwrap(), []);
    assert_eq!(db.store.ticks(&TickQuery { limit: usize::MAX, ..query }).await.unwrap().len(), 120);
}

async fn sequences_are_read_by_position(db: Database) {
    let mut ticks = crowd();
    // Event times need not follow the sequence.
    ticks[40].event_time = at(-5);
    let mut restarted = trade(500, at(900), "6");
    restarted.run = 1;
    restarted.sequence = Some(200);
    ticks.push(restarted.clone());
    write(&db.store, &ticks).await;
    let mut live: Vec<Tick> =
        ticks.iter().filter(|tick| tick.run == 0 && tick.sequence.is_some()).cloned().collect();
    live.sort_by_key(|tick| tick.sequence);
    let wanted: Vec<Tick> =
        live.into_iter().filter(|tick| (300..900).contains(&tick.sequence.unwrap())).collect();
    let btc = instrument("BTC-USD");
    let range = TickRange::Sequence { run: 0, from: 300, until: 900 };
    for page in [1, 4, 1000] {
        let ascending = read(&db.store, &btc, range, Order::Ascending, page).await;
        assert_eq!(ascending.iter().map(|(_, tick)| tick.clone()).collect::<Vec<_>>(), wanted);
        let mut descending = read(&db.store, &btc, range, Order::Descending, page).await;
        descending.reverse();
        assert_eq!(descending, ascending);
    }
    let range = TickRange::Sequence { run: 1, from: 0, until: u64::MAX };
    let second = read(&db.store, &btc, range, Order::Ascending, 10).await;
    assert_eq!(second.into_iter().map(|(_, tick)| tick).collect::<Vec<_>>(), [restarted]);
}

async fn pages_stay_stable_while_rows_arrive(db: Database) {
    let btc = instrument("BTC-USD");
    let first: Vec<Tick> = (1..=100).map(|id| trade(id * 10, at(i64::try_from(id).unwrap()), "5")).collect();
    write(&db.store, &first).await;
    for order in [Order::Ascending, Order::Descending] {
        let mut query = TickQuery {
            instrument: btc.clone(),
            range: TickRange::Time(TimeRange { from: at(0), until: at(101) }),
            order,
            after: None,
            limit: 7,
        };
        let mut seen: Vec<HistoryKey> = Vec::new();
        let mut late = 0;
        loop {
            let page = db.store.ticks(&query).await.unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(|(key, _)| *key));
            query.after = seen.last().copied();
            if seen.len() > 150 {
                continue;
            }
            // Ticks arrive before, at and after the cursor, and outside the range.
            let cursor = seen.last().unwrap().event_time;
            let id = 10_000
                + u64::try_from(seen.len()).unwrap() * 10
                + if order == Order::Ascending { 0 } else { 5_000 };
            let times = [cursor.saturating_sub(std::time::Duration::from_secs(5)), cursor, at(200)];
            late += write(
                &db.store,
                &times.iter().zip(id..).map(|(time, id)| trade(id, *time, "6")).collect::<Vec<_>>(),
            )
            .await
            .inserted;
        }
        assert!(late > 0);
        let mut sorted = seen.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), seen.len(), "nothing twice");
        if order == Order::Descending {
            sorted.reverse();
        }
        assert_eq!(sorted, seen, "in order");
        let before: Vec<u64> = seen.iter().filter_map(|key| key.trade_id).filter(|id| *id <= 1000).collect();
        assert_eq!(before.len(), 100, "what was there from the start is never skipped");
    }
}
