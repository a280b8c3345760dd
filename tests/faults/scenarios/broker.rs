//! The broker goes away, comes back, forgets, or is too quick to forget.

use std::time::Duration;

use futures::FutureExt as _;
use testkit::{Fault, Toward};

use super::{Scenario, broker_lost, configure, feed_broken};
use crate::{
    roles::{self, Role},
    support::{self, SOON, START},
    world::World,
};

const AWAY: Duration = Duration::from_secs(60);
/// How old a message of `LF_TICKS` may become, and how long the snapshotter is away.
const AGE_MAX: &str = "5s";
const STOPPED: Duration = Duration::from_secs(20);
/// Longer than a publisher waits for an acknowledgement, and much longer than the window for duplicates is made.
const UNACKNOWLEDGED: Duration = Duration::from_secs(12);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("nats-kill", "kill -9 of nats-server", |w| kills(w).boxed_local()).short(),
        Scenario::new("nats-restart", "nats-server is restarted", |w| restarts(w).boxed_local()),
        // More than the ingestor may buffer: then it reads no further, and the exchange leaves it.
        Scenario::new("nats-away", "nats-server is away for 60 s", |w| away(w).boxed_local())
            .rules(feed_broken),
        Scenario::new("nats-freeze", "nats-server does not answer for 30 s", |w| freezes(w).boxed_local()),
        Scenario::new("nats-wiped", "nats-server comes back without its data", |w| wiped(w).boxed_local())
            .rules(|rules| {
                broker_lost(rules);
                rules.not_recovered = true;
            }),
        Scenario::new("late-retries", "publishers retry after the window for duplicates", |w| {
            late_retries(w).boxed_local()
        })
        .prepare(|setup| configure(setup, "BUS__DUPLICATE_WINDOW", "500ms")),
        Scenario::new("overrun", "LF_TICKS keeps 5 s and the snapshotter is stopped for 20 s", |w| {
            overrun(w).boxed_local()
        })
        .prepare(|setup| configure(setup, "BUS__TICKS_AGE_MAX", AGE_MAX))
        .rules(broker_lost)
        .records("overrun"),
    ]
}

async fn kills(world: &mut World) {
    for _ in 0..(world.setup.count / 4).max(1) {
        world.random_moment(Duration::from_secs(2)).await;
        world.nats.node(0).kill().await;
        world.nats.node(0).restart().await;
        world.recovers("kill -9 nats-server").await;
    }
}

async fn restarts(world: &mut World) {
    world.nats.node(0).restart().await;
    world.recovers("restart of nats-server").await;
}

async fn away(world: &mut World) {
    world.nats.node(0).stop().await;
    world.load_for(AWAY).await;
    world.nats.node(0).restart().await;
    world.recovers("nats-server away").await;
}

async fn freezes(world: &mut World) {
    world.nats.node(0).pause().await;
    world.load_for(super::FROZEN).await;
    world.nats.node(0).resume();
    world.recovers("nats-server frozen").await;
}

async fn wiped(world: &mut World) {
    world.nats.node(0).wipe().await;
    world.recovers("nats-server wiped").await;
    // Once more, and who comes back only when the gateway follows the new stream has tokens from before.
    world.load_for(Duration::from_secs(2)).await;
    world.link("clients").set(Fault::Reset);
    world.nats.node(0).wipe().await;
    let gateway = world.process(Role::Gateway).address("ops", START).await;
    let followed = async || {
        let (_, metrics) = roles::get(&gateway, "/metrics").await?;
        Ok::<_, String>(support::counted(&metrics, "ledgerflux_live_ticks_total"))
    };
    let before = followed().await.expect("metrics");
    testkit::eventually(START, || async {
        let now = followed().await?;
        if now > before { Ok(()) } else { Err(format!("the gateway has followed {now} ticks")) }
    })
    .await;
    world.link("clients").set(Fault::Pass);
    world.recovers("clients with tokens from before the broker was wiped").await;
}

/// Acknowledgements do not reach the ingestor, so that it publishes again what the broker has, after the broker has
/// forgotten the message ids.
async fn late_retries(world: &mut World) {
    let before = duplicates(world).await;
    world.link("nats-ingestor-0").set_toward(Toward::Client, Fault::Blackhole);
    world.load_for(UNACKNOWLEDGED).await;
    world.link("nats-ingestor-0").set(Fault::Pass);
    world.recovers("acknowledgements held back").await;
    assert!(duplicates(world).await > before, "the broker took nothing twice, so nothing was tested");
}

/// What the normalizers have left out as having come before.
async fn duplicates(world: &mut World) -> u64 {
    let mut duplicates = 0;
    for shard in 0..world.setup.shards {
        let ops = world.process(Role::Normalizer(shard)).address("ops", START).await;
        let (_, metrics) = roles::get(&ops, "/metrics").await.expect("metrics");
        duplicates += support::counted(&metrics, "ledgerflux_normalizer_duplicates_total");
    }
    duplicates
}

async fn overrun(world: &mut World) {
    let role = Role::Snapshotter(0);
    assert!(world.process(role).terminate(SOON).await.success());
    world.load_for(STOPPED).await;
    world.start_role(role, &[]).await;
    world.recovers("snapshotter away beyond the age limit").await;
}
