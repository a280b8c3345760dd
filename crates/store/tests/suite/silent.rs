//! Connections that fall silent in the middle of a write, and writes that look as if theirs had.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, TransactionTrait as _};
use store::{Config, Store, TickRow, WriteBatch, Written};
use testkit::Proxy;

use crate::{
    database::{Database, NOW, history, write},
    ticks::{at, instrument, trade},
};

/// Writers wait for it, on the server.
async fn locked(db: &Database) -> DatabaseTransaction {
    let lock = db.raw().await.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE tick_history IN ACCESS EXCLUSIVE MODE").await.unwrap();
    lock
}

/// Repeats a write as its callers do, and says how often it failed.
async fn write_persistently(store: &Store, number: u64) -> (usize, Written) {
    let tick = trade(number, at(1), "5");
    let ticks = [TickRow { tick: &tick, tick_seq: None }];
    let batch = WriteBatch { ticks: &ticks, snapshots: &[], written_at: NOW };
    let mut failures = 0;
    loop {
        match store.write(&batch).await {
            Ok(written) => return (failures, written),
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        failures += 1;
    }
}

async fn waiting(db: &Database) -> String {
    let waiting =
        "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'tick_history'::regclass";
    db.select(waiting).await[0].clone().unwrap()
}

/// The database behind a proxy.
async fn proxied(db: &Database) -> (Proxy, Store) {
    let (before, path) = db.url.rsplit_once('/').unwrap();
    let (user, server) = before.rsplit_once('@').unwrap();
    let proxy = Proxy::start(server).await;
    let url = format!("{user}@{}/{path}", proxy.address());
    let store = Store::connect(&Config { url, ..Config::default() }).await.unwrap();
    (proxy, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_silent_connections_costs_one_test_and_not_one_for_each() {
    let db = Database::postgres().await;
    let (proxy, store) = proxied(&db).await;
    write(&store, &[trade(1, at(1), "5")]).await;
    let lock = locked(&db).await;
    // Readers that wait for the table at the same time have a connection each.
    let btc = instrument("BTC-USD");
    let readers = (0..5).map(|_| {
        tokio::spawn({
            let (store, btc) = (store.clone(), btc.clone());
            async move { history(&store, &btc).await.len() }
        })
    });
    let readers: Vec<_> = readers.collect();
    while waiting(&db).await != "5" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lock.rollback().await.unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 1);
    }
    proxy.strand();
    let stranded = Instant::now();
    store.ping().await.unwrap();
    assert!(stranded.elapsed() < Duration::from_secs(5), "it took {:?}", stranded.elapsed());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_connection_fell_silent_is_repeated_within_seconds() {
    let db = Database::postgres().await;
    let (proxy, store) = proxied(&db).await;
    write(&store, &[trade(1, at(1), "5")]).await;
    let lock = locked(&db).await;
    let writing = tokio::spawn({
        let store = store.clone();
        async move { write_persistently(&store, 2).await }
    });
    while waiting(&db).await == "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.strand();
    let stranded = Instant::now();
    lock.rollback().await.unwrap();
    let (failures, written) = writing.await.unwrap();
    assert_eq!((failures, written.inserted), (1, 1));
    assert!(stranded.elapsed() < Duration::from_secs(7), "it took {:?}", stranded.elapsed());
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await.len(), 2);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_takes_longer_gets_longer_and_leaves_nobody_behind() {
    let db = Database::postgres().await;
    let config =
        Config { url: db.url.clone(), write_timeout: Duration::from_millis(200), ..Config::default() };
    let store = Store::connect(&config).await.unwrap();
    // With the usual patience: a slow machine makes the first partition.
    write(&db.store, &[trade(1, at(1), "5")]).await;
    let lock = locked(&db).await;
    let writing = tokio::spawn({
        let store = store.clone();
        async move { write_persistently(&store, 2).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(["0", "1"].contains(&waiting(&db).await.as_str()), "what was given up has ended");
    lock.rollback().await.unwrap();
    let (failures, written) = writing.await.unwrap();
    // 0.2, 0.4, 0.8, 1.6 s, and the next one lasts until the lock is gone; one more where the machine is slow.
    assert!((3..=5).contains(&failures), "{failures}");
    assert_eq!(written.inserted, 1);
    store.close().await;
}
