//! The gateway as a whole: one port, and the order in which it starts and ends.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware::from_fn_with_state, routing::any};
use bus::Bus;
use live::LiveFeed;
use runtime::{
    RoleContext, drain_step,
    http::{Door, Limits, serve},
    tls::{Identity, TlsError},
};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    Config,
    access::{AccessError, Guard, Need, admit, check_origin},
    candles::Candles,
    clients::Places,
    grpc,
    history::QueryHistory,
    page, status,
    status_pages::{self, Facts},
    ws::{self, Sessions},
};

/// A client of HTTP/2 makes room by whole windows: one that reads slowly takes nothing for longer than a WebSocket may.
const STALL_FACTOR: u32 = 4;
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
    /// The keys cannot be used.
    #[error("nobody could be let in")]
    Access(#[source] AccessError),
    /// The certificate cannot be used.
    #[error("the listener cannot speak TLS")]
    Tls(#[source] TlsError),
    /// The address of query cannot be used.
    #[error("gateway.query cannot be used")]
    Query(#[source] tonic::transport::Error),
    /// The root certificates for query cannot be read.
    #[error("{} cannot be read (gateway.query_ca_file)", path.display())]
    QueryCa {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
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
        let guard = Guard::open(config.access.clone()).map_err(Error::Access)?;
        let config = Arc::new(config);
        let identity = config.tls.as_ref().map(Identity::open).transpose().map_err(Error::Tls)?;
        let query = grpc::Pool::new(&config)?;
        let forward = grpc::Forward::new(&config, query.clone(), &ctx);
        let history = QueryHistory::new(forward.for_ourselves());
        let feed = LiveFeed::start(bus.clone(), config.live.clone())
            .with_history(Arc::new(history.clone()), HISTORY_READS_MAX);
        let candles = Candles::new(feed.clone(), history);
        let tracker = TaskTracker::new();
        let router = router(&config, &guard, &candles, forward, &tracker, &ctx)?;
        let limits = Limits {
            connections_max: config.connections_max,
            connections_per_address_max: config.connections_per_address_max,
            header_timeout: config.header_timeout,
            streams_per_connection_max: config.streams_per_connection_max,
            pending_resets_max: config.pending_resets_max,
            drain_deadline: DRAIN_DEADLINE,
            stall_timeout: config.write_timeout * STALL_FACTOR,
            ..Limits::default()
        };
        tokio::join!(
            serve(Door { listener, identity }, router, limits, ctx.shutdown.clone()),
            status::publish(bus, feed.clone(), ctx.clone()),
            ctx.shutdown.run_until(status::tell_readiness(feed, latch)),
            query.follow(ctx.shutdown.clone()),
            guard.follow(ctx.readiness.note("keys"), ctx.shutdown.clone()),
        );
        // The server accepts no one any more; the WebSocket clients have been told and are taking their leave.
        tracker.close();
        drain_step("websocket clients", DRAIN_DEADLINE, tracker.wait()).await;
        Ok(())
    }
}

fn router(
    config: &Arc<Config>,
    guard: &Guard,
    candles: &Candles,
    forward: grpc::Forward,
    tracker: &TaskTracker,
    ctx: &RoleContext,
) -> Result<Router, Error> {
    let feed = candles.feed();
    // Their callers may come without credentials: a WebSocket may send them later, and the page tells less without.
    let if_given = || from_fn_with_state(Need::IfGiven(guard.clone()), admit);
    let own_origin = from_fn_with_state(guard.clone(), check_origin);
    let sessions = Sessions {
        config: Arc::clone(config),
        guard: guard.clone(),
        feed: feed.clone(),
        places: Places::new(config.websockets_max),
        cadence: ws::Cadence::new(),
        shutdown: ctx.shutdown.clone(),
        tracker: tracker.clone(),
    };
    let facts = Facts { config: Arc::clone(config), feed: feed.clone(), readiness: ctx.readiness.clone() };
    Ok(Router::new()
        .route("/ws", any(ws::upgrade).with_state(sessions).layer(if_given()).layer(own_origin))
        .merge(status_pages::router(facts).layer(if_given()))
        .merge(grpc::router(config, guard, candles, forward, tracker, ctx)?)
        .fallback(page::fallback))
}
