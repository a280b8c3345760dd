//! Several writers at once.

use domain::{Bar, Interval, Tick, TimeRange};
use store::{CandleQuery, Order, Store, StoreError};

use crate::{
    database::{Database, connect, history, on_each_database, write_all},
    ticks::{at, instrument, trade_of},
};

on_each_database!(writers_of_different_products, writers_of_the_same_batch);

const PRODUCTS: [&str; 4] = ["BTC-USD", "ETH-USD", "ADA-USD", "SOL-USD"];

fn ticks(product: &str, ids: std::ops::Range<u64>) -> Vec<Tick> {
    ids.map(|id| trade_of(product, id, at(i64::try_from(id).unwrap() * 1700), "5.25")).collect()
}

async fn bars(store: &Store, product: &str) -> Vec<Bar> {
    let query = CandleQuery {
        instrument: instrument(product),
        interval: Interval::OneDay,
        range: TimeRange::ALL,
        order: Order::Ascending,
        limit: 1000,
        after: None,
    };
    store.candles(&query).await.unwrap().into_iter().map(|candle| candle.bar).collect()
}

/// What a role does: try again while that helps.
async fn write_persistently(store: &Store, ticks: &[Tick]) -> usize {
    for _ in 0..20 {
        match write_all(store, ticks, &[]).await {
            Ok(written) => return written.inserted,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    }
    panic!("no success in 20 attempts");
}

/// Every writer is a process of its own: it has its own connections, and makes the partitions it needs.
async fn writers_of_different_products(db: Database) {
    let mut tasks = Vec::new();
    for product in PRODUCTS {
        let store = connect(&db.url).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let mut inserted = 0;
            for batch in 0..20 {
                inserted += write_persistently(&store, &ticks(product, batch * 25..batch * 25 + 30)).await;
            }
            store.close().await;
            inserted
        }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), 505);
    }
    for product in PRODUCTS {
        assert_eq!(history(&db.store, &instrument(product)).await.len(), 505);
        assert_eq!(bars(&db.store, product).await.iter().map(|bar| bar.tick_count).sum::<u64>(), 505);
    }
}

/// A worker that lost its shard without noticing writes what its successor writes too; products in opposite order.
async fn writers_of_the_same_batch(db: Database) {
    let mut tasks = Vec::new();
    for turn in 0..4 {
        let store = connect(&db.url).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let mut inserted = 0;
            for batch in 0..10 {
                let mut all: Vec<Tick> =
                    PRODUCTS.iter().flat_map(|product| ticks(product, batch * 20..batch * 20 + 20)).collect();
                if turn % 2 == 1 {
                    all.reverse();
                }
                inserted += write_persistently(&store, &all).await;
            }
            store.close().await;
            inserted
        }));
    }
    let mut inserted = 0;
    for task in tasks {
        inserted += task.await.unwrap();
    }
    assert_eq!(inserted, 800);
    for product in PRODUCTS {
        assert_eq!(history(&db.store, &instrument(product)).await.len(), 200);
        assert_eq!(bars(&db.store, product).await.iter().map(|bar| bar.tick_count).sum::<u64>(), 200);
        let latest = db.store.latest(&instrument(product)).await.unwrap().unwrap();
        assert_eq!(latest.position.sequence, 1990);
    }
}

/// A writer that gives up in the middle leaves nothing behind and blocks nobody.
#[tokio::test]
async fn a_writer_that_gives_up_leaves_nothing() {
    for db in [Database::sqlite().await, Database::postgres().await] {
        let all = ticks("BTC-USD", 0..2000);
        for budget_ms in [0, 1, 2, 5, 10, 20, 40] {
            let budget = std::time::Duration::from_millis(budget_ms);
            let outcome: Result<Result<_, StoreError>, _> =
                tokio::time::timeout(budget, write_all(&db.store, &all, &[])).await;
            let stored = history(&db.store, &instrument("BTC-USD")).await.len();
            assert!(stored == 0 || stored == 2000, "{stored} after {budget_ms} ms, {outcome:?}");
            assert_eq!(
                bars(&db.store, "BTC-USD").await.iter().map(|bar| bar.tick_count).sum::<u64>(),
                stored as u64
            );
        }
        write_persistently(&db.store, &all).await;
        assert_eq!(history(&db.store, &instrument("BTC-USD")).await.len(), 2000);
    }
}
