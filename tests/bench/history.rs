//! How fast history is read and dropped on PostgreSQL with 20 million ticks of 50 products, through the query service as a
//! process of its own. `make bench-store` runs it.
//!
//! The ticks are loaded once, by COPY, and kept under `target/bench`; a second database holds the newest million of the same
//! kind, so that one run tells what depends on the length of history. Read the ratios: they come from one run on one
//! machine, and whatever else the machine does hits both sides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "history/calls.rs"]
mod calls;
#[path = "history/load.rs"]
mod load;
#[path = "history/retention.rs"]
mod retention;
#[path = "history/service.rs"]
mod service;
#[path = "history/streams.rs"]
mod streams;

use std::{fs::File, path::Path, time::Duration};

use load::History;
use service::Service;
use testkit::{NatsServer, Postgres, workspace_root};

/// Everything that a production server has switched on. Buffers have their default size, which neither database fits into: so
/// both are read from the memory of the system, and what is compared is the length of history.
const SETTINGS: [&str; 6] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_wal_size=4GB",
    "checkpoint_timeout=30min",
    "autovacuum=off",
];

/// What was measured, sorted.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    pub(crate) fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    pub(crate) fn row(&self) -> String {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let (p50, p99, most) = (ms(self.at(50)), ms(self.at(99)), ms(self.at(100)));
        format!("p50 {p50:.2} ms, p99 {p99:.2} ms, max {most:.2} ms ({} calls)", self.0.len())
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let home = workspace_root().join("target/bench");
    let server = Postgres::start_in(&home, &SETTINGS).await;
    let nats = NatsServer::start().await;
    for setting in ["server_version", "fsync", "synchronous_commit", "full_page_writes"] {
        println!("{setting}: {}", server.psql(&server.url("postgres"), &format!("SHOW {setting}")).await);
    }
    let small = History::load(&server, "history_1m", 1_000_000).await;
    let large = History::load(&server, "history_20m", 20_000_000).await;
    let mut paged = Vec::new();
    for history in [&small, &large] {
        warm(&home.join("data/base"));
        let service = Service::start(&nats, history).await;
        println!("\n{} ticks of {} products stored", history.ticks, load::PRODUCTS);
        paged.push(calls::history(&service, history).await);
        if history.ticks == large.ticks {
            calls::latest_price(&service).await;
            streams::measure(&service, &server, history).await;
        }
        service.stop().await;
    }
    println!("\np99 with 20 million ticks / with one million");
    for (name, (small, large)) in ["ListTicks", "GetSnapshot"].iter().zip(paged[0].iter().zip(&paged[1])) {
        println!("  {name:<12} {:.2}", large.at(99).as_secs_f64() / small.at(99).as_secs_f64());
    }
    Box::pin(retention::measure(&server)).await;
    server.stop().await;
}

/// Reads every file once, so that it lies in the memory of the system: whether it still did would else decide everything.
fn warm(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            warm(&entry.path());
        } else if let Ok(mut file) = File::open(entry.path()) {
            // A file may go away while it is read: the server works with them.
            let _ = std::io::copy(&mut file, &mut std::io::sink());
        }
    }
}
