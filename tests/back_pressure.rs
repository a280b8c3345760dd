//! A broker that is away under load: what is buffered stays within its bound, the feed is not read further, the memory of
//! the ingestor stays flat, and everything flows again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use support::{SOON, START, http_get, ledgerflux};
use testkit::{NatsServer, Process, eventually};

/// How many ticks may wait for the broker.
const BUFFER: u64 = 4_000;
/// How long the broker is away, and from when on nothing may grow any more.
const AWAY: Duration = Duration::from_secs(20);
const FULL_AFTER: Duration = Duration::from_secs(8);
const RATE: &str = "2500";
/// What an allocator may do without anything having grown.
const NOISE_BYTES: u64 = 6 * 1024 * 1024;

fn gauge(metrics: &str, name: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Resident memory, in bytes.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_costs_the_ingestor_no_more_than_its_bound() {
    let mut nats = NatsServer::start().await;
    let products: Vec<String> = (0..20).map(|number| format!("X{number}-USD")).collect();
    let products = products.join(",");
    let mut exchange = ledgerflux()
        .args(["simulator", "--generate", "--rate", RATE, "--products", &products])
        .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--print-addresses"])
        .spawn();
    let feed = format!("ws://{}", exchange.address("feed", START).await);
    let mut ingestor = ledgerflux()
        .args(["ingestor", "--feed", &feed, "--products", &products, "--nats", &nats.url()])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"])
        .env("LEDGERFLUX_BUS__RAW_BUFFER_MAX_TICKS", BUFFER.to_string())
        .spawn();
    let ops = ingestor.address("ops", START).await;
    support::ready(&ops).await;
    let metrics = async || http_get(&ops, "/metrics").await.1;
    let ticks = async || support::counted(&metrics().await, "ledgerflux_ingestor_ticks_total");
    eventually(SOON, || async { ticks().await > 5_000 }).await;

    nats.pause().await;
    let (started, mut buffered_max, mut sizes) = (Instant::now(), 0, Vec::new());
    let mut taken = None;
    while started.elapsed() < AWAY {
        let now = metrics().await;
        let buffered = gauge(&now, "ledgerflux_bus_raw_buffered_ticks");
        assert!(buffered <= BUFFER, "{buffered} ticks are buffered");
        buffered_max = buffered.max(buffered_max);
        if started.elapsed() > FULL_AFTER {
            sizes.push(resident(&ingestor));
            taken.get_or_insert(support::counted(&now, "ledgerflux_ingestor_ticks_total"));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(buffered_max, BUFFER, "the buffer was used to the full");
    // A connection that the exchange gave up and that came back may add what was in its socket, and no more is taken.
    assert_eq!(ticks().await, taken.unwrap(), "the feed was not read further");
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!(most - least < NOISE_BYTES, "{least} to {most} bytes");

    nats.resume();
    let before = taken.unwrap();
    eventually(SOON, || async {
        let now = ticks().await;
        if now > before + 5_000 { Ok(()) } else { Err(format!("{now} ticks, {before} before")) }
    })
    .await;
    support::ready(&ops).await;
    assert!(gauge(&metrics().await, "ledgerflux_bus_raw_buffered_ticks") < BUFFER);
    let (_, told) = (ingestor.terminate(SOON).await, ingestor.stderr());
    assert!(!told.contains("ERROR"), "{told}");
    exchange.terminate(SOON).await;
}
