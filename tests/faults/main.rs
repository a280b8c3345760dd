//! Faults under load: real processes, a real broker and a real database, proxies between any two, and a checker that
//! compares what the exchange sent with what came out at every exit.
//!
//! The short set is a test like any other. `make faults` runs the long one, or a part of it, by name:
//! `make faults ARGS="--only kill-normalizer --seed 7"`. The same seed makes the same market, the same choices and the
//! same pauses; the machine's own timing stays what it is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod embedded;
mod evidence;
mod live;
mod options;
mod report;
mod resuming;
mod roles;
mod scenarios;
mod subscribers;
#[path = "../support.rs"]
mod support;
mod truth;
mod world;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use check::{Line, Rules, Sums};
use futures::FutureExt as _;
use options::Options;
use report::Outcome;
use scenarios::Scenario;
use world::{Verdict, World};

fn rules(options: &Options) -> Rules {
    Rules {
        gaps_expected: options.gaps_expected,
        feed_broken: false,
        exchange_killed: false,
        broker_lost: false,
        feed_disordered: false,
        feed_faulty: false,
        seamless: false,
        not_recovered: false,
        live_within: options.live_within,
    }
}

/// Inflicts faults on a world of their own, one after the other, and judges it.
async fn run(name: &str, fault: &str, options: &Options, scenarios: &[&Scenario]) -> Outcome {
    println!("{name}: {fault} (seed {})", options.seed);
    let started = Instant::now();
    let (mut setup, mut rules) = (options.setup(), rules(options));
    let mut recoveries = Vec::new();
    let outcome = AssertUnwindSafe(async {
        for scenario in scenarios {
            (scenario.prepare)(&mut setup);
            (scenario.rules)(&mut rules);
        }
        if scenarios.iter().any(|scenario| scenario.run.is_none()) {
            let (verdict, times) = embedded::crashes(&setup, rules).await;
            recoveries = times;
            return Ok(verdict);
        }
        let mut world = World::start(setup.clone()).await;
        let inflicted = AssertUnwindSafe(async {
            world.load_for(world.setup.calm).await;
            for run in scenarios.iter().filter_map(|scenario| scenario.run) {
                run(&mut world).await;
            }
        });
        let inflicted = inflicted.catch_unwind().await;
        recoveries = world.life.recoveries.clone().into_iter().collect();
        if let Err(panic) = inflicted {
            leave_logs(name, &world);
            return Err(panic);
        }
        let logs = world.logs();
        let verdict = AssertUnwindSafe(world.judge(rules)).catch_unwind().await;
        if verdict.as_ref().is_ok_and(|verdict| verdict.lines.iter().all(|line| line.ok)) {
            return verdict;
        }
        write_logs(name, &logs);
        verdict
    });
    let mut verdict = match outcome.catch_unwind().await.and_then(|inner| inner) {
        Ok(verdict) => verdict,
        Err(panic) => {
            let told = panic.downcast_ref::<String>().cloned();
            let told = told.or_else(|| panic.downcast_ref::<&str>().map(|told| (*told).to_owned()));
            let line =
                Line { check: "completed", ok: false, told: told.unwrap_or_else(|| "it panicked".into()) };
            Verdict { lines: vec![line], sums: Sums::default(), events: Default::default() }
        }
    };
    scenarios::clean_up(&setup);
    for kind in scenarios.iter().filter_map(|scenario| scenario.records) {
        let count = verdict.events.get(kind).copied().unwrap_or_default();
        verdict.lines.push(Line { check: "recorded", ok: count > 0, told: format!("{count} events {kind}") });
    }
    for kind in scenarios.iter().filter_map(|scenario| scenario.never) {
        let count = verdict.events.get(kind).copied().unwrap_or_default();
        verdict.lines.push(Line {
            check: "not recorded",
            ok: count == 0,
            told: format!("{count} events {kind}"),
        });
    }
    for line in &verdict.lines {
        println!("  {} {}: {}", if line.ok { "ok  " } else { "FAIL" }, line.check, line.told);
    }
    Outcome {
        name: name.to_owned(),
        fault: fault.to_owned(),
        seconds: started.elapsed().as_secs_f64(),
        lines: verdict.lines,
        sums: verdict.sums,
        recoveries,
    }
}

fn leave_logs(name: &str, world: &World) {
    write_logs(name, &world.logs());
}

fn write_logs(name: &str, logs: &[(String, String)]) {
    for (role, log) in logs {
        let file = report::directory().join(format!("{name}-{role}.log"));
        std::fs::write(file, log).expect("a log is written");
    }
}

fn conclude(outcomes: &[Outcome], seed: u64) {
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.ok()).map(|outcome| outcome.name.as_str()).collect();
    assert!(failed.is_empty(), "with seed {seed} these do not hold: {failed:?}; see target/faults");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_set() {
    let options = Options::short();
    let all = scenarios::all();
    let wanted: Vec<&Scenario> =
        all.iter().filter(|scenario| scenario.short && options.wants(scenario.name)).collect();
    // One world bears them all, one after the other: starting one takes longer than most faults.
    let outcome = run("short", "the short set, one after the other", &options, &wanted).await;
    report::write("short", &options, std::slice::from_ref(&outcome));
    conclude(&[outcome], options.seed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_embedded_default_costs_what_was_on_its_way() {
    let options = Options::short();
    let all = scenarios::all();
    let embedded: Vec<&Scenario> = all.iter().filter(|scenario| scenario.run.is_none()).collect();
    let outcome = run(embedded[0].name, embedded[0].fault, &options, &embedded).await;
    conclude(&[outcome], options.seed);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long; make faults"]
async fn the_long_set() {
    let options = Options::long().overridden();
    let all = scenarios::all();
    if options.list {
        all.iter().for_each(|scenario| println!("{:<36}{}", scenario.name, scenario.fault));
        return;
    }
    let is_wanted = |scenario: &&Scenario| {
        options.wants(scenario.name) && !(scenario.only_by_name && options.only.is_empty())
    };
    let wanted: Vec<&Scenario> = all.iter().filter(is_wanted).collect();
    assert!(!wanted.is_empty(), "no scenario is called like that: --list names them");
    let mut outcomes = Vec::new();
    for scenario in wanted {
        outcomes.push(run(scenario.name, scenario.fault, &options, &[scenario]).await);
        // After each, so that an interrupted run leaves what it found.
        report::write("report", &options, &outcomes);
    }
    conclude(&outcomes, options.seed);
}
