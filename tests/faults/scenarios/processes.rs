//! Processes that are killed, restarted, frozen, or there twice.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use futures::FutureExt as _;
use testkit::Signal;

use super::{FROZEN, Scenario, exchange_killed, feed_broken};
use crate::{
    roles::{self, Role},
    support::{SOON, START},
    world::World,
};

/// A process is killed at some moment within this time after everything was live.
const MOMENT_MAX: Duration = Duration::from_secs(1);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("kill-ingestor", "kill -9 of the ingestor", |w| kills(w, "ingestor").boxed_local())
            .rules(feed_broken)
            .short(),
        Scenario::new("kill-normalizer", "kill -9 of a normalizer", |w| kills(w, "normalizer").boxed_local())
            .short(),
        Scenario::new("kill-snapshotter", "kill -9 of a snapshotter", |w| {
            kills(w, "snapshotter").boxed_local()
        })
        .short(),
        Scenario::new("kill-query", "kill -9 of the query service", |w| kills(w, "query").boxed_local())
            .short(),
        Scenario::new("kill-gateway", "kill -9 of the gateway", |w| kills(w, "gateway").boxed_local())
            .short(),
        Scenario::new("kill-exchange", "kill -9 of the exchange", |w| kills(w, "simulator").boxed_local())
            .rules(exchange_killed)
            .short(),
        Scenario::new(
            "die-ingestor-published",
            "the ingestor dies between publish and acknowledgement",
            |w| dies(w, "ingestor", "ingestor-published").boxed_local(),
        )
        .rules(feed_broken)
        .short(),
        Scenario::new(
            "die-normalizer-published",
            "a normalizer dies between publish and acknowledgement",
            |w| dies(w, "normalizer", "normalizer-published").boxed_local(),
        )
        .short(),
        Scenario::new(
            "die-normalizer-half-published",
            "a normalizer dies when a part of what it had in hand is published",
            |w| dies(w, "normalizer", "normalizer-half-published").boxed_local(),
        )
        .short(),
        Scenario::new(
            "die-snapshotter-committed",
            "a snapshotter dies between commit and acknowledgement",
            |w| dies(w, "snapshotter", "snapshotter-committed").boxed_local(),
        )
        .short(),
        Scenario::new(
            "die-snapshotter-snapshot-published",
            "a snapshotter dies between publishing a snapshot and acknowledgement",
            |w| dies(w, "snapshotter", "snapshotter-snapshot-published").boxed_local(),
        )
        .short(),
        Scenario::new("restart-all", "graceful restart of each role, one after the other", |w| {
            restarts(w).boxed_local()
        })
        .rules(feed_broken),
        Scenario::new("freeze-ingestor", "SIGSTOP of the ingestor for 30 s", |w| {
            freeze(w, "ingestor").boxed_local()
        })
        .rules(feed_broken),
        Scenario::new("freeze-normalizer", "SIGSTOP of a normalizer for 30 s", |w| {
            freeze(w, "normalizer").boxed_local()
        }),
        Scenario::new("freeze-snapshotter", "SIGSTOP of a snapshotter for 30 s", |w| {
            freeze(w, "snapshotter").boxed_local()
        }),
        Scenario::new("freeze-query", "SIGSTOP of the query service for 30 s", |w| {
            freeze(w, "query").boxed_local()
        }),
        Scenario::new("freeze-gateway", "SIGSTOP of the gateway for 30 s", |w| {
            freeze(w, "gateway").boxed_local()
        }),
        Scenario::new("kill-leg", "kill -9 of one of two ingestors", |w| kill_leg(w).boxed_local())
            .prepare(|setup| setup.ingestors = 2)
            .rules(|rules| rules.seamless = true),
        Scenario::new("two-normalizers", "two owners of one shard at once", |w| {
            two_owners(w, Role::Normalizer(0)).boxed_local()
        }),
        Scenario::new("two-snapshotters", "two writers of one shard at once", |w| {
            two_owners(w, Role::Snapshotter(0)).boxed_local()
        }),
    ]
}

/// One of the processes of a role, chosen by the seed.
fn one_of(world: &mut World, command: &str) -> Role {
    let of_role: Vec<Role> =
        world.processes.keys().copied().filter(|role| role.command() == command).collect();
    of_role[world.rng.usize(..of_role.len())]
}

pub(super) async fn kills(world: &mut World, command: &'static str) {
    for _ in 0..world.setup.count {
        kill_one(world, command).await;
    }
}

async fn kill_one(world: &mut World, command: &'static str) {
    world.random_moment(MOMENT_MAX).await;
    let role = one_of(world, command);
    world.process(role).kill().await;
    world.start_role(role, &[]).await;
    world.recovers(&format!("kill -9 {command}")).await;
}

/// A process that dies at exactly this place, after a number of passes that the seed chooses.
pub(super) async fn dies(world: &mut World, command: &'static str, place: &'static str) {
    for _ in 0..(world.setup.count / 4).max(1) {
        let role = one_of(world, command);
        // Snapshots come once a second and product, gaps and rejects a few times, everything else many times.
        let most = match place {
            "snapshotter-snapshot-published" => 4,
            "normalizer-gap-told" | "normalizer-filed" | "ledger-committed" => 12,
            _ => 40,
        };
        let passes = world.rng.u32(2..most).to_string();
        assert!(world.process(role).terminate(SOON).await.success(), "{} drains", role.name());
        world.start_role(role, &[("LEDGERFLUX_FAIL_POINT", &format!("{place}:{passes}"))]).await;
        let status = world.process(role).wait(START).await;
        // It ends there by SIGABRT; what goes wrong elsewhere ends a process in another way.
        assert_eq!(
            status.signal(),
            Some(Signal::ABORT.as_raw()),
            "{} died at {place}, {status}",
            role.name()
        );
        world.start_role(role, &[]).await;
        world.recovers(&format!("death at {place}")).await;
    }
}

async fn restarts(world: &mut World) {
    for role in world.roles() {
        world.random_moment(MOMENT_MAX).await;
        let status = world.process(role).terminate(SOON).await;
        assert!(status.success(), "{} ended with {status}", role.name());
        world.start_role(role, &[]).await;
        world.recovers(&format!("restart of {}", role.command())).await;
    }
}

async fn freeze(world: &mut World, command: &'static str) {
    let role = one_of(world, command);
    world.process(role).pause().await;
    world.load_for(FROZEN).await;
    world.process(role).signal(Signal::CONT);
    world.recovers(&format!("freeze of {command}")).await;
}

/// One of two that follow the exchange side by side. The next one is killed when the one before has long come back: while
/// one alone follows, there is nobody to make up for it.
async fn kill_leg(world: &mut World) {
    for _ in 0..world.setup.count {
        kill_one(world, "ingestor").await;
        world.load_for(Duration::from_secs(2)).await;
    }
}

/// A process is frozen and replaced, as an orchestrator would, and then goes on beside the new one. Then a third one is
/// started while the second one runs.
async fn two_owners(world: &mut World, role: Role) {
    world.process(role).pause().await;
    let mut first = world.processes.remove(&role).expect("it runs");
    world.start_role(role, &[]).await;
    world.recovers(&format!("{} replaced while frozen", role.command())).await;
    first.signal(Signal::CONT);
    world.recovers(&format!("two of {}", role.command())).await;
    world.load_for(Duration::from_secs(5)).await;
    let second = world.processes.remove(&role).expect("it runs");
    world.start_role(role, &[]).await;
    world.recovers(&format!("three of {}", role.command())).await;
    world.load_for(Duration::from_secs(5)).await;
    for mut earlier in [first, second] {
        let ops = earlier.address("ops", START).await;
        let (status, body) = roles::get(&ops, "/ready").await.expect("an answer");
        assert!(status == 503 && body.contains("started later"), "it knows its successor: {status} {body}");
        assert!(earlier.terminate(SOON).await.success(), "{}", earlier.stderr());
    }
    world.recovers(&format!("one {} again", role.command())).await;
}
