//! The state of a market at a time in the past.

use std::time::Duration;

use domain::{MarketState, Position, Tick, UnixNanos};
use proptest::{prelude::*, test_runner::TestRunner};
use store::{AsOf, Store};
use tokio::runtime::Runtime;

use crate::{
    database::{Database, history, on_each_database, write},
    ticks::{at, backfilled, instrument, quote, trade},
};

on_each_database!(each_group_has_its_own_time, what_is_not_kept_is_told, a_long_backfill_hides_no_quote);

/// All of history up to and including `time`, taken over in its order.
async fn recompute(store: &Store, product: &str, time: UnixNanos) -> AsOf {
    let (mut state, mut position, mut any) = (MarketState::default(), None, false);
    for (_, tick) in history(store, &instrument(product)).await {
        if tick.event_time <= time {
            state.apply(&tick);
            position = tick.position().or(position);
            any = true;
        }
    }
    if any { AsOf::Known { state: Box::new(state), position } } else { AsOf::Nothing }
}

async fn each_group_has_its_own_time(db: Database) {
    let btc = instrument("BTC-USD");
    assert_eq!(db.store.as_of(&btc, at(5)).await.unwrap(), AsOf::Nothing);
    let first = trade(1, at(10), "50000.01");
    let book = quote(15, at(20), "49999.5");
    let late = backfilled(&trade(3, at(30), "50003"));
    write(&db.store, &[first.clone(), book.clone(), late.clone()]).await;
    assert_eq!(db.store.as_of(&btc, UnixNanos::new(at(10).nanos() - 1)).await.unwrap(), AsOf::Nothing);
    let expected = |trade: &Tick, bid: &Tick, sequence| AsOf::Known {
        state: Box::new(MarketState {
            last_trade: trade.last_trade.clone().map(|known| (known, trade.event_time)),
            best_bid: bid.best_bid.clone().map(|known| (known, bid.event_time)),
            best_ask: first.best_ask.clone().map(|known| (known, first.event_time)),
            day: None,
        }),
        position: Some(Position { run: 0, sequence }),
    };
    // The time itself belongs to it.
    assert_eq!(db.store.as_of(&btc, at(10)).await.unwrap(), expected(&first, &first, 10));
    assert_eq!(db.store.as_of(&btc, at(20)).await.unwrap(), expected(&first, &book, 15));
    // A backfilled trade tells of a trade, and moves no position. Years later nothing has changed.
    assert_eq!(db.store.as_of(&btc, at(30)).await.unwrap(), expected(&late, &book, 15));
    assert_eq!(db.store.as_of(&btc, UnixNanos::MAX).await.unwrap(), expected(&late, &book, 15));
    assert_eq!(db.store.as_of(&instrument("ETH-USD"), at(30)).await.unwrap(), AsOf::Nothing);
    // Only backfilled ticks: there is no position.
    let alone = Tick { instrument: instrument("ADA-USD"), ..backfilled(&trade(1, at(1), "2")) };
    write(&db.store, &[alone]).await;
    let AsOf::Known { state, position } = db.store.as_of(&instrument("ADA-USD"), at(9)).await.unwrap() else {
        panic!("a trade is known")
    };
    assert_eq!((state.last_trade.is_some(), state.best_bid, position), (true, None, None));
}

async fn what_is_not_kept_is_told(db: Database) {
    let btc = instrument("BTC-USD");
    let day = 86_400;
    write(&db.store, &[trade(1, at(0), "1"), trade(2, at(3 * day), "2")]).await;
    db.store.retain(Duration::from_secs(86_400), at(3 * day)).await.unwrap();
    let horizon = db.store.horizon().await.unwrap().unwrap();
    let before = UnixNanos::new(horizon.nanos() - 1);
    assert_eq!(db.store.as_of(&btc, before).await.unwrap(), AsOf::BeforeHorizon(horizon));
    assert_eq!(db.store.as_of(&btc, horizon).await.unwrap(), AsOf::Nothing);
    assert!(matches!(db.store.as_of(&btc, at(3 * day)).await.unwrap(), AsOf::Known { .. }));
}

async fn a_long_backfill_hides_no_quote(db: Database) {
    let mut ticks = vec![trade(1, at(0), "5")];
    ticks.extend((2..3_000).map(|id| backfilled(&trade(id, at(i64::try_from(id).unwrap() * 40), "6"))));
    for batch in ticks.chunks(1_000) {
        write(&db.store, batch).await;
    }
    let time = at(3_000 * 40);
    let known = db.store.as_of(&instrument("BTC-USD"), time).await.unwrap();
    assert_eq!(known, recompute(&db.store, "BTC-USD", time).await);
    let AsOf::Known { state, position } = known else { panic!("nothing is known") };
    assert_eq!(state.best_bid.unwrap().1, at(0));
    assert_eq!(position, Some(Position { run: 0, sequence: 10 }));
}

/// The answer at any time is what taking over all of history up to then gives.
fn is_exact(db: &Database, runtime: &Runtime) {
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let case = std::cell::Cell::new(0);
    let tick = (0i64..200_000, 0u8..4);
    let market = (proptest::collection::vec(tick, 1..60), proptest::collection::vec(-1i64..200_001, 6));
    TestRunner::new(config)
        .run(&market, |(ticks, times)| {
            case.set(case.get() + 1);
            let product = format!("CASE-{}", case.get());
            let ticks: Vec<Tick> = ticks
                .into_iter()
                .zip(1u64..)
                .map(|((time, kind), id)| {
                    let time = at(time / 10);
                    let tick = match kind {
                        0 => quote(id * 10, time, &id.to_string()),
                        1 => backfilled(&trade(id, time, "7")),
                        _ => trade(id, time, &id.to_string()),
                    };
                    Tick { instrument: instrument(&product), ..tick }
                })
                .collect();
            runtime.block_on(async {
                write(&db.store, &ticks).await;
                for time in times.into_iter().map(|time| at(time / 10)) {
                    let known = db.store.as_of(&instrument(&product), time).await.unwrap();
                    prop_assert_eq!(known, recompute(&db.store, &product, time).await);
                }
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn it_is_exact_on_sqlite() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::sqlite());
    is_exact(&db, &runtime);
}

#[test]
fn it_is_exact_on_postgres() {
    let runtime = Runtime::new().unwrap();
    let db = runtime.block_on(Database::postgres());
    is_exact(&db, &runtime);
}
