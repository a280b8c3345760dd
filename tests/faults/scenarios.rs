//! Every fault, by name.

mod broker;
mod clock;
mod database;
mod disk;
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
    /// What is different from the usual setup.
    pub(crate) prepare: fn(&mut Setup),
    pub(crate) rules: fn(&mut Rules),
    pub(crate) run: Run,
    /// The kind of event that must have been recorded.
    pub(crate) records: Option<&'static str>,
}

impl Scenario {
    const fn new(name: &'static str, fault: &'static str, run: Run) -> Self {
        Self { name, fault, short: false, prepare: |_| {}, rules: |_| {}, run, records: None }
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
        database::scenarios(),
        network::scenarios(),
        feed::scenarios(),
        disk::scenarios(),
        clock::scenarios(),
        soak::scenarios(),
    ];
    parts.into_iter().flatten().collect()
}
