//! How fast the writer is on PostgreSQL, beside what the server itself can do with the same ticks; and what each index of
//! `tick_history` costs. `make bench-store` runs it on a server of its own with every safety on.
//!
//! Read ratios: the contenders take turns within one run, so that whatever else the machine does hits all of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "write/contenders.rs"]
mod contenders;
#[path = "write/indexes.rs"]
mod indexes;
#[path = "write/load.rs"]
mod load;

use std::time::Instant;

use contenders::{Bare, Contender, Staged, Writer};
use load::Load;
use testkit::Postgres;

/// Everything that a production server has switched on; room for the log, so that no checkpoint falls into a round.
const SETTINGS: [&str; 6] = [
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=30min",
];
/// How many ticks one contender writes in one round.
const ROUND_TICKS: usize = 40_000;
/// The first round, which fills caches, is not counted.
const ROUNDS: usize = 8;

/// What was measured, sorted.
struct Rates(Vec<f64>);

impl Rates {
    fn of(mut rates: Vec<f64>) -> Self {
        rates.sort_by(f64::total_cmp);
        Self(rates)
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    fn row(&self) -> String {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        format!("{:>9.0} (min {least:.0}, max {most:.0}, {} rounds)", self.median(), self.0.len())
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Postgres::start_with(&SETTINGS).await;
        let database = server.create_database().await;
        for setting in ["server_version", "fsync", "synchronous_commit", "full_page_writes"] {
            println!("{setting}: {}", server.psql(&database, &format!("SHOW {setting}")).await);
        }
        for batch_ticks in [1000, 4000] {
            compare(&server, batch_ticks).await;
        }
        indexes::measure(&server).await;
        server.stop().await;
    });
}

async fn compare(server: &Postgres, batch_ticks: usize) {
    println!("\nrows/s, batches of {batch_ticks} ticks of {} products", load::PRODUCTS);
    let mut load = Load::default();
    let mut contenders: [Box<dyn Contender>; 3] = [
        Box::new(Writer::new(&server.create_database().await).await),
        Box::new(Bare::new(&server.create_database().await).await),
        Box::new(Staged::new(&server.create_database().await).await),
    ];
    let mut rates: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        let ticks = load.trades(ROUND_TICKS);
        // Each goes first in turn.
        for place in 0..contenders.len() {
            let index = (round + place) % contenders.len();
            let rate = rate(contenders[index].as_mut(), &ticks, batch_ticks).await;
            if round > 0 {
                rates[index].push(rate);
            }
        }
    }
    let [writer, bare, staged] = rates.map(Rates::of);
    println!("  (a) Store::write, bars, prices, 50 snapshots a batch  {}", writer.row());
    println!("  (b) bare INSERT … SELECT FROM unnest ON CONFLICT      {}", bare.row());
    println!("  (c) COPY into a temporary table, INSERT … SELECT      {}", staged.row());
    println!(
        "  (a)/(b) {:.2}   (c)/(b) {:.2}",
        writer.median() / bare.median(),
        staged.median() / bare.median()
    );
}

async fn rate(contender: &mut dyn Contender, ticks: &[domain::Tick], batch_ticks: usize) -> f64 {
    // What the ticks look like to a contender is not what is measured, its statements are.
    let batches: Vec<_> = ticks.chunks(batch_ticks).map(|ticks| contender.prepare(ticks)).collect();
    let started = Instant::now();
    for batch in batches {
        contender.write(batch).await;
    }
    ticks.len() as f64 / started.elapsed().as_secs_f64()
}
