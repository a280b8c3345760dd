//! Random faults for a long time, and no memory or descriptor that leaks.
//!
//! Every fault is around the roles: a process that was replaced would have forgotten what it leaked. Killed roles have
//! scenarios of their own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use testkit::{Fault, Signal};

use super::{Scenario, exchange_killed};
use crate::world::World;

/// A role has settled in by now; from here on its memory is compared.
const SETTLED_AFTER: Duration = Duration::from_secs(120);
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// How much more memory a role may have at the end, and how fast it may grow.
const GROWTH_MAX_KIB: f64 = 32.0 * 1024.0;
const SLOPE_MAX_KIB_PER_MINUTE: f64 = 1024.0;
/// Connections come and go.
const DESCRIPTORS_MORE_MAX: u64 = 16;
/// The last part of a run has no faults: what a backlog took is given back.
const CALM_AT_THE_END: Duration = Duration::from_secs(60);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("soak", "random faults for 10 minutes", |w| soak(w).boxed_local())
            .rules(exchange_killed),
    ]
}

/// What one process had at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    rss_kib: f64,
    descriptors: u64,
}

async fn soak(world: &mut World) {
    let (started, length) = (Instant::now(), world.setup.soak);
    assert!(length > SETTLED_AFTER + CALM_AT_THE_END, "a soak of {length:?} compares nothing");
    let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let mut next_fault = pause(world);
    while started.elapsed() < length {
        sample(world, started.elapsed(), &mut samples);
        tokio::time::sleep(SAMPLE_INTERVAL).await;
        if started.elapsed() > next_fault && started.elapsed() + CALM_AT_THE_END < length {
            inflict(world).await;
            next_fault = started.elapsed() + pause(world);
        }
    }
    sample(world, started.elapsed(), &mut samples);
    let leaks: Vec<String> = samples.iter().filter_map(|(role, samples)| leak(role, samples)).collect();
    assert!(leaks.is_empty(), "{}", leaks.join("; "));
}

fn pause(world: &mut World) -> Duration {
    Duration::from_secs(world.rng.u64(5..20))
}

async fn inflict(world: &mut World) {
    let a_while = Duration::from_secs(world.rng.u64(1..5));
    let links = ["exchange", "nats-", "database-", "query", "clients"];
    let prefix = links[world.rng.usize(..links.len())];
    let on_links = |world: &World, fault| {
        world.surroundings.links.all(prefix).for_each(|link| link.set(fault));
    };
    let fault = match world.rng.u8(..10) {
        0 => {
            world.nats.node(0).kill().await;
            world.load_for(a_while).await;
            world.nats.node(0).restart().await;
            "kill -9 nats-server"
        }
        1 => {
            world.postgres.kill().await;
            world.load_for(a_while).await;
            world.postgres.restart().await;
            "kill -9 PostgreSQL"
        }
        2 => {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name \
                        LIKE 'ledgerflux%'";
            world.postgres.psql(&world.database, kill).await;
            "backends terminated"
        }
        3 => {
            let role = crate::roles::Role::Simulator;
            world.process(role).kill().await;
            world.start_role(role, &[]).await;
            "kill -9 simulator"
        }
        4 => {
            let roles = world.roles();
            let role = roles[world.rng.usize(..roles.len())];
            world.process(role).pause().await;
            world.load_for(a_while).await;
            world.process(role).signal(Signal::CONT);
            "a role frozen"
        }
        5 => {
            world.surroundings.links.all(prefix).for_each(testkit::Proxy::cut);
            "links cut"
        }
        other => {
            let (fault, name) = match other {
                6 => (Fault::Blackhole, "links silent"),
                7 => (Fault::Truncate(world.rng.usize(1..5_000)), "links truncated"),
                8 => (Fault::Delay(Duration::from_millis(world.rng.u64(10..200))), "links slow"),
                _ => (Fault::Throttle(50_000), "links throttled"),
            };
            on_links(world, fault);
            world.load_for(a_while).await;
            on_links(world, Fault::Pass);
            name
        }
    };
    world.recovers(fault).await;
}

fn sample(world: &World, at: Duration, samples: &mut BTreeMap<String, Vec<Sample>>) {
    for (role, process) in world.processes.iter().filter(|(role, _)| role.command() != "simulator") {
        let proc = format!("/proc/{}", process.id());
        let status = std::fs::read_to_string(format!("{proc}/status")).expect("the process runs");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let rss_kib = rss.trim().trim_end_matches(" kB").parse().expect("a number");
        let descriptors = std::fs::read_dir(format!("{proc}/fd")).expect("its descriptors").count() as u64;
        samples.entry(role.name()).or_default().push(Sample { at, rss_kib, descriptors });
    }
}

/// Why a role is taken for leaking; tells its figures in any case.
fn leak(role: &str, samples: &[Sample]) -> Option<String> {
    let settled: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= SETTLED_AFTER).collect();
    let (first, last) = (settled.first()?, settled.last()?);
    let growth = last.rss_kib - first.rss_kib;
    let slope = slope_per_minute(&settled);
    let descriptors = i128::from(last.descriptors) - i128::from(first.descriptors);
    let told = format!(
        "{role}: {:.1} MiB after {SETTLED_AFTER:?}, {growth:+.0} KiB until the end, {slope:+.0} KiB a minute, \
         {} descriptors, {descriptors:+} until the end",
        first.rss_kib / 1024.0,
        first.descriptors,
    );
    println!("    {told}");
    // What a leak looks like, and what does not.
    let each_minute = settled.chunks(12).map(|minute| format!("{:.0}", minute[0].rss_kib / 1024.0));
    println!("      MiB, minute by minute: {}", each_minute.collect::<Vec<_>>().join(" "));
    let leaks = growth > GROWTH_MAX_KIB
        || slope > SLOPE_MAX_KIB_PER_MINUTE
        || last.descriptors > first.descriptors + DESCRIPTORS_MORE_MAX;
    leaks.then_some(told)
}

/// The slope of the line that fits best, in KiB a minute.
fn slope_per_minute(samples: &[&Sample]) -> f64 {
    let count = samples.len() as f64;
    let minutes = |sample: &Sample| sample.at.as_secs_f64() / 60.0;
    let mean_at = samples.iter().map(|sample| minutes(sample)).sum::<f64>() / count;
    let mean_rss = samples.iter().map(|sample| sample.rss_kib).sum::<f64>() / count;
    let (mut upper, mut lower) = (0.0, 0.0);
    for sample in samples {
        let off = minutes(sample) - mean_at;
        upper += off * (sample.rss_kib - mean_rss);
        lower += off * off;
    }
    if lower == 0.0 { 0.0 } else { upper / lower }
}
