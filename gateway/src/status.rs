//! How the gateway says every second on the bus how it is doing.

use std::time::Duration;

use bus::Bus;
use domain::{RoleStatus, UnixNanos};
use live::LiveFeed;
use runtime::RoleContext;
use tracing::debug;

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

fn status(feed: &LiveFeed, instance: &str) -> RoleStatus {
    RoleStatus {
        role: "gateway".into(),
        instance: instance.to_owned(),
        time: UnixNanos::now(),
        ready: feed.is_caught_up(),
        feed_state: None,
        heartbeat_age: None,
        progress: Vec::new(),
        backlog_messages: None,
        ticks: feed.ticks(),
        rejected: 0,
        duplicates: 0,
    }
}
