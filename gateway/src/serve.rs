//! The gateway as a whole: one port, and the order in which it starts and ends.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::any};
use bus::Bus;
use live::LiveFeed;
use runtime::{
    RoleContext, drain_step,
    http::{Limits, serve},
};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    Config,
    candles::Candles,
    clients::Places,
    grpc,
    history::QueryHistory,
    page, status,
    status_pages::{self, Facts},
    ws::{self, Sessions},
};

/// How long clients may take to see that the gateway ends.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// How many reads of history go on at one time, for all subscriptions that start in the past: fewer than query takes calls, so
/// that a rush of returning clients leaves it room for others.
const HISTORY_READS_MAX: usize = 16;

/// Why the gateway cannot run.
#[derive(Debug, Error)]
pub enum Error {
    /// The descriptors for reflection cannot be read.
    #[error("reflection cannot be served")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The address of query cannot be used.
    #[error("gateway.query cannot be used")]
    Query(#[source] tonic::transport::Error),
}

/// Serves clients on `listener` until the shutdown is requested and every client has been told.
///
/// It accepts from the beginning and is ready once the live feed has caught up with the bus, for as long as it can be
/// followed. Its latch is there when this returns, before the future is polled.
pub fn run(
    config: Config,
    listener: TcpListener,
    bus: Bus,
    ctx: RoleContext,
) -> impl Future<Output = Result<(), Error>> + Send {
    let latch = ctx.latch("live");
    latch.set_waiting("not started yet");
    async move {
        let config = Arc::new(config);
        let forward = grpc::Forward::new(&config, &ctx)?;
        let history = QueryHistory::new(forward.clone());
        let feed = LiveFeed::start(bus.clone(), config.live.clone())
            .with_history(Arc::new(history.clone()), HISTORY_READS_MAX);
        let candles = Candles::new(feed.clone(), history);
        let tracker = TaskTracker::new();
        let router = router(&config, &candles, forward, &tracker, &ctx)?;
        let limits = Limits {
            connections_max: config.connections_max,
            drain_deadline: DRAIN_DEADLINE,
            ..Limits::default()
        };
        tokio::join!(
            serve(listener, router, limits, ctx.shutdown.clone()),
            status::publish(bus, feed.clone(), ctx.clone()),
            ctx.shutdown.run_until(status::tell_readiness(feed, latch)),
        );
        // The server accepts no one any more; the WebSocket clients have been told and are taking their leave.
        tracker.close();
        drain_step("websocket clients", DRAIN_DEADLINE, tracker.wait()).await;
        Ok(())
    }
}

fn router(
    config: &Arc<Config>,
    candles: &Candles,
    forward: grpc::Forward,
    tracker: &TaskTracker,
    ctx: &RoleContext,
) -> Result<Router, Error> {
    let feed = candles.feed();
    let sessions = Sessions {
        config: Arc::clone(config),
        feed: feed.clone(),
        places: Places::new(config.websockets_max),
        cadence: ws::Cadence::new(),
        shutdown: ctx.shutdown.clone(),
        tracker: tracker.clone(),
    };
    let facts = Facts { config: Arc::clone(config), feed: feed.clone(), readiness: ctx.readiness.clone() };
    Ok(Router::new()
        .route("/ws", any(ws::upgrade).with_state(sessions))
        .merge(status_pages::router(facts))
        .merge(grpc::router(config, candles, forward, tracker, ctx)?)
        .fallback(page::fallback))
}
