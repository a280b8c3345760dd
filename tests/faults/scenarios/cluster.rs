//! The broker is three nodes with a copy of everything each, and one or two of them are killed, frozen, or cut off.

use std::time::{Duration, Instant};

use futures::FutureExt as _;

use super::{FROZEN, Scenario, configure, feed_broken};
use crate::{
    roles::{self, Role},
    support::{self, START},
    world::{Setup, World},
};

const NODES: usize = 3;
/// Each stream has a leader of its own.
const STREAMS: [&str; 2] = ["LF_TICKS", "LF_RAW"];
/// How long a leader that was killed stays away at least. That the others elect another one after 4 to 9 s is part of the
/// outage.
const LEADER_AWAY: Duration = Duration::from_secs(5);
/// Within this everything goes on without a node that is frozen or cut off. Who is connected to one that is cut off leaves it
/// when it was silent for a while, and may come to it once more under another address.
const GOES_ON_WITHIN: Duration = Duration::from_secs(60);
/// Both nodes are back before the election begins, which takes up to 9 s.
const ELECTION_MAX: Duration = Duration::from_secs(9);
const TWO_AWAY: Duration = Duration::from_secs(20);
/// An acknowledgement that was on its way has arrived by then.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("cluster-leader", "kill -9 of the node of three that leads a stream", |w| {
            leaders(w).boxed_local()
        })
        .prepare(clustered),
        Scenario::new("cluster-freeze", "a node of three does not answer", |w| freezes(w).boxed_local())
            .prepare(clustered),
        // More than the ingestor may buffer, in this one and the next.
        Scenario::new("cluster-apart", "a node of three is cut off from the others", |w| {
            apart(w).boxed_local()
        })
        .prepare(clustered)
        .rules(feed_broken),
        Scenario::new("cluster-minority", "two nodes of three are away for 20 s", |w| {
            minority(w).boxed_local()
        })
        .prepare(clustered)
        .rules(|rules| {
            feed_broken(rules);
            rules.live_within += ELECTION_MAX;
        }),
    ]
}

fn clustered(setup: &mut Setup) {
    setup.nats_nodes = 3;
    configure(setup, "BUS__REPLICAS", "3");
}

async fn leaders(world: &mut World) {
    let kills = (world.setup.count / 4).max(1) as usize;
    for stream in STREAMS.into_iter().cycle().take(kills) {
        world.random_moment(Duration::from_secs(2)).await;
        let leader = world.nats.leader_of(stream).await;
        world.nats.node(leader).kill().await;
        world.load_for(LEADER_AWAY).await;
        world.random_moment(Duration::from_secs(3)).await;
        world.nats.node(leader).restart().await;
        world.recovers("kill -9 of a leader").await;
        // The next one may only die when this one has caught up: of three, one at a time is what can be borne.
        world.nats.whole().await;
    }
}

async fn freezes(world: &mut World) {
    let leader = world.nats.leader_of(STREAMS[0]).await;
    let since = Instant::now();
    world.nats.node(leader).pause().await;
    world.goes_on("a node of three frozen", GOES_ON_WITHIN).await;
    world.load_for(FROZEN.saturating_sub(since.elapsed())).await;
    world.nats.node(leader).resume();
    world.recovers("a node of three was frozen").await;
}

async fn apart(world: &mut World) {
    let leader = world.nats.leader_of(STREAMS[0]).await;
    let since = Instant::now();
    world.nats.isolate(leader);
    world.goes_on("a node of three cut off", GOES_ON_WITHIN).await;
    world.load_for(FROZEN.saturating_sub(since.elapsed())).await;
    world.nats.rejoin(leader);
    world.recovers("a node of three was cut off").await;
}

/// What one node of three has cannot be accepted: it must not be told to be.
async fn minority(world: &mut World) {
    let left = world.rng.usize(..NODES);
    let away: Vec<usize> = (0..NODES).filter(|node| *node != left).collect();
    for node in &away {
        world.nats.node(*node).kill().await;
    }
    world.load_for(ACKNOWLEDGED_WITHIN).await;
    let before = acknowledged(world).await;
    assert!(before > 0, "no tick was acknowledged before");
    world.load_for(TWO_AWAY - ACKNOWLEDGED_WITHIN).await;
    assert_eq!(acknowledged(world).await, before, "ticks were acknowledged by one node of three");
    for node in &away {
        world.nats.node(*node).restart().await;
    }
    world.recovers("two nodes of three were away").await;
}

/// How many ticks the broker has acknowledged to the ingestor.
async fn acknowledged(world: &mut World) -> u64 {
    let ops = world.process(Role::Ingestor(0)).address("ops", START).await;
    let (_, metrics) = roles::get(&ops, "/metrics").await.expect("metrics");
    support::counted(&metrics, "ledgerflux_bus_published_ticks_total")
}
