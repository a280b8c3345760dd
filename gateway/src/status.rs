//! How the gateway says how it is doing: every second on the bus, and at once to its readiness.

use std::time::Duration;

use bus::Bus;
use domain::{RoleStatus, UnixNanos};
use live::LiveFeed;
use runtime::{Latch, RoleContext};
use tracing::{debug, info};

const INTERVAL: Duration = Duration::from_secs(1);

/// Publishes the status until the shutdown is requested.
pub(crate) async fn publish(bus: Bus, feed: LiveFeed, ctx: RoleContext) {
    let announce = async || {
        if let Err(error) = bus.publish_status(&status(&feed, &ctx.instance)).await {
            debug!(%error, "the status was not published");
        }
        tokio::time::sleep(INTERVAL).await;
    };
    while ctx.shutdown.run_until(announce()).await.is_some() {}
}

/// Keeps the latch as the live feed is: ready with everything that the bus holds, waiting while that cannot be known.
pub(crate) async fn tell_readiness(feed: LiveFeed, latch: Latch) {
    let mut health = feed.health();
    let mut ready = false;
    loop {
        let waiting = health.borrow_and_update().waiting();
        let was_ready = std::mem::replace(&mut ready, waiting.is_none());
        match waiting {
            Some(reason) => latch.set_waiting(reason),
            None => latch.set_ready(),
        }
        if ready && !was_ready {
            info!("ready");
        }
        // The sender lives in `feed`, so it cannot be gone.
        if health.changed().await.is_err() {
            return;
        }
    }
}

fn status(feed: &LiveFeed, instance: &str) -> RoleStatus {
    RoleStatus {
        role: "gateway".into(),
        instance: instance.to_owned(),
        time: UnixNanos::now(),
        ready: feed.health().borrow().waiting().is_none(),
        feed_state: None,
        heartbeat_age: None,
        product_states: Vec::new(),
        progress: Vec::new(),
        backlog_messages: None,
        ticks: feed.ticks(),
        rejected: 0,
        duplicates: 0,
    }
}
