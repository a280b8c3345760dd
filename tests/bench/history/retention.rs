//! What dropping an hour of history costs those who write meanwhile.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use domain::UnixNanos;
use store::Store;
use testkit::Postgres;

use crate::{Latencies, load};

const BATCH_TICKS: u64 = 100;
const ROUNDS: u64 = 3;

/// Each round drops one full hour of a database of its own, while a writer goes on and a reader reads the hour.
pub(crate) async fn measure(server: &Postgres) {
    let hour = u64::try_from(load::HOUR_NS / load::STEP_NS).unwrap();
    let hour_ns = Duration::from_nanos(load::HOUR_NS.unsigned_abs());
    println!("\nretention of one hour ({hour} ticks) beside a writer");
    let (admin, url) = (server.url("postgres"), server.url("retention"));
    server.psql(&admin, "DROP DATABASE IF EXISTS retention WITH (FORCE)").await;
    server.psql(&admin, "CREATE DATABASE retention TEMPLATE template0").await;
    let store = load::prepare(&url, hour * (ROUNDS + 1)).await;
    load::copy(&url, 0, hour * ROUNDS).await;
    for round in 0..ROUNDS {
        let now = load::START_NS + i64::try_from(ROUNDS).unwrap() * load::HOUR_NS;
        let keep = hour_ns * u32::try_from(ROUNDS - round - 1).unwrap();
        let is_done = AtomicBool::new(false);
        let dropping = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let started = Instant::now();
            let report = store.retain(keep, UnixNanos::new(now)).await.unwrap();
            let took = started.elapsed();
            assert_eq!(report.partitions_dropped, 1);
            tokio::time::sleep(Duration::from_secs(1)).await;
            is_done.store(true, Ordering::Relaxed);
            (took, started)
        };
        let first = hour * ROUNDS + round * 100_000;
        let ((took, began), writes) = tokio::join!(dropping, write_on(&store, first, &is_done));
        let ended = began + took;
        let is_meanwhile = |(at, length): &(Instant, Duration)| *at < ended && *at + *length > began;
        let meanwhile = writes.iter().filter(|write| is_meanwhile(write)).map(|(_, length)| *length);
        let blocked = Latencies::of(meanwhile.collect());
        let usual = Latencies::of(
            writes.iter().filter(|write| !is_meanwhile(write)).map(|(_, length)| *length).collect(),
        );
        println!(
            "  dropped in {:.0} ms; batches of {BATCH_TICKS}: usual {}; meanwhile {}",
            took.as_secs_f64() * 1e3,
            usual.row(),
            blocked.row()
        );
    }
}

async fn write_on(store: &Store, first: u64, is_done: &AtomicBool) -> Vec<(Instant, Duration)> {
    let mut writes = Vec::new();
    let mut next = first;
    while !is_done.load(Ordering::Relaxed) {
        let ticks: Vec<_> = (next..next + BATCH_TICKS).map(load::tick).collect();
        next += BATCH_TICKS;
        let started = Instant::now();
        load::write(store, &ticks).await;
        writes.push((started, started.elapsed()));
    }
    writes
}
