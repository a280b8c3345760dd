//! Every fault, by name.

mod broker;
mod clock;
mod cluster;
mod database;
mod disk;
mod disorder;
mod feed;
mod network;
mod processes;
mod soak;

use std::time::Duration;

use futures::future::LocalBoxFuture;

use crate::{
    check::Rules,
    world::{Setup, World},
};

/// What inflicts a fault on a world, once or several times, and measures each recovery.
pub(crate) type Run = for<'a> fn(&'a mut World) -> LocalBoxFuture<'a, ()>;

/// A fault with everything that is needed to run it alone.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What it does, for the report.
    pub(crate) fault: &'static str,
    /// Whether the short set has it too.
    pub(crate) short: bool,
    /// Whether it takes so long that it only runs when it is named.
    pub(crate) only_by_name: bool,
    /// What is different from the usual setup.
    pub(crate) prepare: fn(&mut Setup),
    pub(crate) rules: fn(&mut Rules),
    /// None: on the embedded default, which has no processes to tell apart.
    pub(crate) run: Option<Run>,
    /// The kind of event that must have been recorded.
    pub(crate) records: Option<&'static str>,
    /// The kind of event that must not have been recorded.
    pub(crate) never: Option<&'static str>,
}

impl Scenario {
    const fn new(name: &'static str, fault: &'static str, run: Run) -> Self {
        Self {
            name,
            fault,
            short: false,
            only_by_name: false,
            prepare: |_| {},
            rules: |_| {},
            run: Some(run),
            records: None,
            never: None,
        }
    }

    const fn only_by_name(mut self) -> Self {
        self.only_by_name = true;
        self
    }

    const fn short(mut self) -> Self {
        self.short = true;
        self
    }

    const fn prepare(mut self, prepare: fn(&mut Setup)) -> Self {
        self.prepare = prepare;
        self
    }

    const fn rules(mut self, rules: fn(&mut Rules)) -> Self {
        self.rules = rules;
        self
    }

    const fn never(mut self, kind: &'static str) -> Self {
        self.never = Some(kind);
        self
    }

    const fn records(mut self, kind: &'static str) -> Self {
        self.records = Some(kind);
        self
    }
}

/// Rules of a fault that breaks the connection to the exchange.
fn feed_broken(rules: &mut Rules) {
    rules.feed_broken = true;
}

/// Rules of a fault that ends the exchange itself.
fn exchange_killed(rules: &mut Rules) {
    rules.feed_broken = true;
    rules.exchange_killed = true;
}

/// Rules of a fault that takes away what the broker had.
fn broker_lost(rules: &mut Rules) {
    rules.broker_lost = true;
}

/// Sets a key of the configuration of every role.
fn configure(setup: &mut Setup, name: &str, value: &str) {
    setup.environment.push((format!("LEDGERFLUX_{name}"), value.to_owned()));
}

/// `ledgerflux up` on the in-memory bus and SQLite.
fn embedded() -> Scenario {
    let crash = "kill -9 of `ledgerflux up`";
    let scenario = Scenario::new("embedded-crash", crash, |_| unreachable!("it has no world"));
    Scenario { run: None, ..scenario }.rules(feed_broken)
}

/// Takes away what a setup has made outside of the world.
pub(crate) fn clean_up(setup: &Setup) {
    disk::unmount(setup);
}

/// How long something is frozen or locked that comes back by itself.
const FROZEN: Duration = Duration::from_secs(30);

/// All of them, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let parts = [
        processes::scenarios(),
        broker::scenarios(),
        cluster::scenarios(),
        database::scenarios(),
        network::scenarios(),
        feed::scenarios(),
        disorder::scenarios(),
        disk::scenarios(),
        clock::scenarios(),
        vec![embedded()],
        soak::scenarios(),
    ];
    parts.into_iter().flatten().collect()
}

/// What is promised names its scenario, and every scenario backs a promise.
#[test]
fn the_document_names_every_scenario() {
    let text = std::fs::read_to_string(testkit::workspace_root().join("docs/guarantees.md")).unwrap();
    let promises = text.split("## The promises").nth(1).and_then(|text| text.split("Beyond").next()).unwrap();
    let rows = promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let cells = rows.filter_map(|line| line.trim_end_matches(" |").rsplit(" | ").next());
    let mut named: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    named.sort_unstable();
    let all = all();
    let mut existing: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
    existing.sort_unstable();
    assert_eq!(named, existing);
}
