//! The network between any two: cut, silent, slow, or broken off in the middle.

use std::time::Duration;

use futures::FutureExt as _;
use testkit::Fault;

use super::{Scenario, feed_broken};
use crate::world::World;

/// How long a link is bad.
const BAD_FOR: Duration = Duration::from_secs(10);
const LINKS: [&str; 5] = ["exchange", "nats-", "database-", "query", "clients"];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("network-cut", "every connection is reset", |w| cut(w).boxed_local())
            .rules(feed_broken),
        Scenario::new("network-reset", "connections are reset for 10 s, link by link", |w| {
            bad(w, "reset", Fault::Reset).boxed_local()
        })
        .rules(feed_broken),
        Scenario::new("network-blackhole", "nothing passes for 10 s, link by link", |w| {
            bad(w, "blackhole", Fault::Blackhole).boxed_local()
        })
        .rules(feed_broken),
        Scenario::new("network-truncate", "connections end after 2,000 bytes for 10 s, link by link", |w| {
            bad(w, "truncate", Fault::Truncate(2_000)).boxed_local()
        })
        .rules(feed_broken),
        Scenario::new("network-delay", "200 ms of delay for 10 s, link by link", |w| {
            bad(w, "delay", Fault::Delay(Duration::from_millis(200))).boxed_local()
        })
        .rules(feed_broken),
        Scenario::new("network-throttle", "20 kB/s for 10 s, link by link", |w| {
            bad(w, "throttle", Fault::Throttle(20_000)).boxed_local()
        })
        .rules(feed_broken),
        Scenario::new("broker-half-open", "every connection to the broker is half-open", |w| {
            broker_half_open(w).boxed_local()
        }),
        Scenario::new("exchange-half-open", "the connection to the exchange is half-open", |w| {
            exchange_half_open(w).boxed_local()
        })
        .rules(feed_broken),
    ]
}

async fn cut(world: &mut World) {
    for prefix in LINKS {
        world.surroundings.links.all(prefix).for_each(testkit::Proxy::cut);
        world.recovers(&format!("cut of {}", prefix.trim_end_matches('-'))).await;
    }
}

async fn bad(world: &mut World, how: &'static str, fault: Fault) {
    for prefix in LINKS {
        world.surroundings.links.all(prefix).for_each(|link| link.set(fault));
        world.load_for(BAD_FOR).await;
        world.surroundings.links.all(prefix).for_each(|link| link.set(Fault::Pass));
        world.recovers(&format!("{how} of {}", prefix.trim_end_matches('-'))).await;
    }
}

async fn broker_half_open(world: &mut World) {
    world.surroundings.links.all("nats-").for_each(testkit::Proxy::strand);
    world.recovers("half-open connections to the broker").await;
}

async fn exchange_half_open(world: &mut World) {
    world.link("exchange").strand();
    world.recovers("half-open connection to the exchange").await;
}
