//! Ending under load with a peer that never answers: each step of the shutdown has its time, the exit code and the log say
//! what was left, and a second signal ends the process at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use support::{SOON, START, http_get, ledgerflux};
use testkit::{NatsServer, Postgres, Process, Scratch, eventually};

/// The deadlines of all steps together, and a little for a busy machine.
const DRAIN_MAX: Duration = Duration::from_secs(40);
/// What a process exits with that left something undone.
const UNFINISHED: i32 = 3;

async fn up(nats: &NatsServer, data: &Scratch, arguments: &[&str]) -> Process {
    let mut up = ledgerflux()
        .args(["up", "--feed", "simulated", "--nats", &nats.url(), "--print-addresses", "--data-dir"])
        .arg(data.path())
        .args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .args(arguments)
        .spawn();
    let ops = up.address("ops", START).await;
    support::ready(&ops).await;
    eventually(SOON, || async {
        let (_, metrics) = http_get(&ops, "/metrics").await;
        support::counted(&metrics, "ledgerflux_snapshotter_ticks_total") > 20
    })
    .await;
    up
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_does_not_keep_a_process_from_ending() {
    let (mut nats, data) = (NatsServer::start().await, Scratch::new());
    let mut up = up(&nats, &data, &[]).await;
    let ops = up.address("ops", START).await;
    nats.pause().await;
    eventually(SOON, || async {
        let (_, metrics) = http_get(&ops, "/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("ledgerflux_bus_raw_buffered_ticks "));
        line.is_some_and(|line| !line.ends_with(" 0"))
    })
    .await;
    let started = Instant::now();
    let status = up.terminate(DRAIN_MAX).await;
    assert_eq!(status.code(), Some(UNFINISHED), "after {:?}:\n{}", started.elapsed(), up.stderr());
    let told = up.stderr();
    for part in ["ticks of the feed", "ticks given up", "does not say what is left", "did not drain"] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
    nats.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let (mut nats, data) = (NatsServer::start().await, Scratch::new());
    let mut up = up(&nats, &data, &[]).await;
    nats.pause().await;
    send("-TERM", up.id());
    up.output_with("a second signal ends the process at once", SOON).await;
    let started = Instant::now();
    assert_eq!(up.terminate(SOON).await.code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    nats.resume();
}

/// The processes of a PostgreSQL server, frozen until this is dropped.
struct Frozen(Vec<u32>);

impl Frozen {
    /// Those of the clients first, so that the others are still there to be asked for.
    async fn server_of(postgres: &Postgres, database: &str) -> Self {
        let pids = postgres.psql(database, "SELECT pid FROM pg_stat_activity").await;
        let pids: Vec<u32> = pids.lines().filter_map(|pid| pid.parse().ok()).collect();
        let parents = pids.iter().filter_map(|pid| parent(*pid));
        let frozen = Self(parents.chain(pids.iter().copied()).collect());
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        self.0.iter().for_each(|pid| send(signal, *pid));
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// A process that has ended, such as that of the question who there is, needs none.
fn send(signal: &str, pid: u32) {
    let _ = std::process::Command::new("kill").args([signal, &pid.to_string()]).output();
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_does_not_keep_a_process_from_ending_and_loses_nothing() {
    let (nats, data) = (NatsServer::start().await, Scratch::new());
    let postgres = Postgres::start().await;
    let database = postgres.create_database().await;
    let mut first = up(&nats, &data, &["--database", &database]).await;
    let frozen = Frozen::server_of(&postgres, &database).await;
    // Something is being written, and hangs.
    eventually(SOON, || async {
        let backlog = bus_backlog(&nats).await;
        if backlog > 20 { Ok(()) } else { Err(format!("{backlog} messages wait")) }
    })
    .await;
    let started = Instant::now();
    let status = first.terminate(DRAIN_MAX).await;
    let told = first.stderr();
    assert!(
        matches!(status.code(), Some(0 | UNFINISHED)),
        "after {:?}, {status}:\n{told}",
        started.elapsed()
    );
    assert!(told.contains("the broker keeps"), "{told}");
    drop(frozen);

    let mut second = up(&nats, &data, &["--database", &database]).await;
    eventually(SOON, || async { bus_backlog(&nats).await < 20 }).await;
    assert!(second.terminate(SOON).await.success(), "{}", second.stderr());
    let doubled = "SELECT count(*) FROM (SELECT 1 FROM tick_history GROUP BY venue, product, run, sequence \
                   HAVING count(*) > 1) AS doubled";
    assert_eq!(postgres.psql(&database, doubled).await, "0");
}

/// Messages of ticks that no snapshotter has acknowledged.
async fn bus_backlog(nats: &NatsServer) -> u64 {
    let config = bus::Config { nats: Some(bus::ServerUrl::new(&nats.url()).unwrap()), ..Default::default() };
    let bus = bus::Bus::connect(&config).await.unwrap();
    let mut backlog = 0;
    for shard in bus.shards().shards() {
        let lag = bus.lag(bus::Work::Ticks, shard).await.unwrap();
        backlog += lag.pending_messages + lag.unacknowledged;
    }
    backlog
}
