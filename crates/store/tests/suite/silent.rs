//! Connections that fall silent in the middle of a write, and writes that look as if theirs had.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, TransactionTrait as _};
use store::{Config, Store, TickRow, WriteBatch, Written};
use testkit::{Proxy, eventually};

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

/// Repeats a write as its callers do, and counts how often it fails.
async fn write_persistently(store: &Store, number: u64, failures: &AtomicUsize) -> Written {
    let tick = trade(number, at(1), "5");
    let ticks = [TickRow { tick: &tick, tick_seq: None }];
    let batch = WriteBatch { ticks: &ticks, snapshots: &[], written_at: NOW };
    loop {
        match store.write(&batch).await {
            Ok(written) => return written,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        failures.fetch_add(1, Ordering::Relaxed);
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
    // Not the wait for a connection is to decide what takes too long.
    let acquire_timeout = Duration::from_secs(60);
    let store = Store::connect(&Config { url, acquire_timeout, ..Config::default() }).await.unwrap();
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
    let readers = (0..8).map(|_| {
        tokio::spawn({
            let (store, btc) = (store.clone(), btc.clone());
            async move { history(&store, &btc).await.len() }
        })
    });
    let readers: Vec<_> = readers.collect();
    while waiting(&db).await != "8" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lock.rollback().await.unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 1);
    }
    proxy.strand();
    let stranded = Instant::now();
    store.ping().await.unwrap();
    // 2 s for the first one and a quarter for each of the others; one for each would be 16 s.
    assert!(stranded.elapsed() < Duration::from_secs(12), "it took {:?}", stranded.elapsed());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_connection_fell_silent_is_repeated_within_seconds() {
    let db = Database::postgres().await;
    let (proxy, store) = proxied(&db).await;
    write(&store, &[trade(1, at(1), "5")]).await;
    let lock = locked(&db).await;
    let failures = Arc::new(AtomicUsize::new(0));
    let writing = tokio::spawn({
        let (store, failures) = (store.clone(), Arc::clone(&failures));
        async move { write_persistently(&store, 2, &failures).await }
    });
    while waiting(&db).await == "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.strand();
    let stranded = Instant::now();
    lock.rollback().await.unwrap();
    let written = writing.await.unwrap();
    // One after 4 s; on a machine that pauses before the connection is stranded, the lock may cost another one.
    let failures = failures.load(Ordering::Relaxed);
    assert!((1..=2).contains(&failures), "{failures}");
    assert_eq!(written.inserted, 1);
    // Without a time of its own the write would have more than a minute.
    assert!(stranded.elapsed() < Duration::from_secs(20), "it took {:?}", stranded.elapsed());
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
    let (failures, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let writing = tokio::spawn({
        let (store, failures) = (store.clone(), Arc::clone(&failures));
        async move { write_persistently(&store, 2, &failures).await }
    });
    eventually(Duration::from_secs(30), || async { failures.load(Ordering::Relaxed) >= 4 }).await;
    // 0.2, 0.4, 0.8 and 1.6 s. A slow machine takes longer; less are only attempts that do not get longer.
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    // What was given up ends; else it would wait for the lock, or for the turn of the one that does.
    let waiting = "SELECT count(*)::text FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(Duration::from_secs(15), || async {
        let waiting = db.select(waiting).await[0].clone().unwrap();
        if ["0", "1"].contains(&waiting.as_str()) { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
    lock.rollback().await.unwrap();
    assert_eq!(writing.await.unwrap().inserted, 1);
    store.close().await;
}
