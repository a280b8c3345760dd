//! A bounded HTTP server for an axum router: HTTP/1.1 and HTTP/2 on one port, with or without TLS, WebSocket upgrades, limits
//! on connections and on those of one address, time limits on request headers and on answers that are not read, and a graceful
//! end with a hard deadline.

mod addresses;
mod beginning;
mod cut;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::{Builder, upgrade::downcast};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::Layer;
use tower::util::{MapRequestLayer, MapResponseLayer};
use tracing::{debug, warn};

use self::addresses::Addresses;
use self::beginning::Beginning;
use self::cut::Streams;
use crate::tls::{Connection, Identity};
use crate::{LogGate, Shutdown, drain_step, listen, metrics};

pub use self::addresses::Held;
pub use self::cut::Cut;

/// After a failed `accept` (usually: no file descriptor left) something must end first; trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an HTTP/2 client may send ahead, on one stream and on all of a connection: requests are small.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// What is gathered of an HTTP/2 stream whose client does not read.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// What a server allows its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time; further ones wait in the system's queue.
    pub connections_max: usize,
    /// Connections of one address at one time; further ones are closed at once. Those that were taken over (WebSocket) count.
    pub connections_per_address_max: usize,
    /// How long a client may take to begin (with TLS: to shake hands, and then to begin), and to send the headers of an HTTP/1 request.
    pub header_timeout: Duration,
    /// The size of the headers of one request, in bytes.
    pub header_size_bytes_max: u32,
    /// Requests at one time on one HTTP/2 connection.
    pub streams_per_connection_max: u32,
    /// HTTP/2 streams that a client may open and reset faster than they can be looked at; with more its connection is closed.
    pub pending_resets_max: usize,
    /// How often an idle HTTP/2 connection is asked whether it is alive.
    pub keep_alive_interval: Duration,
    /// How long such a question may stay unanswered.
    pub keep_alive_timeout: Duration,
    /// How long a client may take nothing of an answer that is there for it; then the HTTP/2 stream is reset, or the HTTP/1 connection
    /// closed.
    pub stall_timeout: Duration,
    /// How long open requests may take to end after the shutdown is requested.
    pub drain_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 1024,
            connections_per_address_max: usize::MAX,
            header_timeout: Duration::from_secs(10),
            header_size_bytes_max: 16 * 1024,
            streams_per_connection_max: 128,
            pending_resets_max: 32,
            keep_alive_interval: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(5),
        }
    }
}

/// A listener, and what it proves itself with if it speaks TLS.
#[derive(Debug)]
pub struct Door {
    /// Where clients come in.
    pub listener: TcpListener,
    /// With TLS alone, when there is one.
    pub identity: Option<Identity>,
}

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Door {
        Door { listener, identity: None }
    }
}

/// Serves `router` until the shutdown is requested, then lets open requests end within `limits.drain_deadline` and cuts
/// the rest. Handlers find the client's address in `ConnectInfo<SocketAddr>`. An upgraded connection (WebSocket) belongs
/// to its handler from then on: of the limits here it counts for that of its address, as long as the handler keeps [`Held`],
/// and the handler ends it. A handler that wants its answer to end at some time, whether it is read or not, finds [`Cut`] among the
/// extensions of the request.
pub async fn serve(door: impl Into<Door>, router: Router, limits: Limits, shutdown: Shutdown) {
    let Door { listener, identity } = door.into();
    let renewed = async {
        if let Some(identity) = &identity {
            identity.follow(&shutdown).await;
        }
    };
    let served = serve_all(listener, identity.clone(), router, limits, shutdown.clone());
    tokio::join!(served, renewed);
}

async fn serve_all(
    listener: TcpListener,
    identity: Option<Identity>,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) {
    let builder = Arc::new(builder(&limits));
    let places = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
    let addresses = Addresses::new(limits.connections_per_address_max);
    let graceful = GracefulShutdown::new();
    let accept_gate = LogGate::new(Duration::from_secs(10));
    // Owns the connections: dropping it cuts those that are still open.
    let mut connections = JoinSet::new();

    loop {
        let accepted = shutdown.run_until(accept(&listener, &places)).await;
        while connections.try_join_next().is_some() {}
        match accepted {
            None => break,
            Some(Ok((stream, peer, place))) => {
                let Some(held) = addresses.enter(peer.ip()) else {
                    refused("per_address");
                    continue;
                };
                let layers = (
                    MapRequestLayer::new(cut::carry::<hyper::body::Incoming>),
                    MapResponseLayer::new(cut::watch),
                    Extension(ConnectInfo(peer)),
                    Extension(held),
                );
                let service = layers.layer(router.clone());
                let (builder, watcher, identity) =
                    (Arc::clone(&builder), graceful.watcher(), identity.clone());
                let (shutdown, limit) = (shutdown.clone(), limits.header_timeout);
                let stall_timeout = limits.stall_timeout;
                connections.spawn(async move {
                    let shaken = shutdown.run_until(shake_hands(stream, identity, limit)).await;
                    if let Some(Some(stream)) = shaken {
                        let stream = Beginning::new(stream, limit);
                        let served = connection(&builder, stream, peer, service, watcher);
                        cut::watched(stall_timeout, served).await;
                    }
                    drop(place);
                });
            }
            Some(Err(error)) => {
                if let Some(swallowed) = accept_gate.pass(std::time::Instant::now()) {
                    warn!(%error, swallowed, "cannot accept a connection");
                }
                let _ = shutdown.run_until(tokio::time::sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
    // New clients are refused, and not left waiting, while the open requests end.
    drop(listener);
    drain_step("open requests", limits.drain_deadline, graceful.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// The connection, once the handshake of TLS is done where there is one; `None` when it does not succeed in time.
async fn shake_hands(stream: TcpStream, identity: Option<Identity>, limit: Duration) -> Option<Connection> {
    listen::set_nodelay(&stream);
    let Some(identity) = identity else {
        return Some(Connection::Plain(stream));
    };
    match tokio::time::timeout(limit, identity.accept(stream)).await {
        Ok(Ok(stream)) => Some(Connection::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            debug!(%error, "a TLS handshake failed");
            refused("handshake");
            None
        }
        Err(_) => {
            refused("handshake");
            None
        }
    }
}

/// The connection of a client that was upgraded, and what it has sent already; `upgraded` itself where it is of another server.
///
/// # Errors
/// With what was given, when it is no connection of [`serve`].
pub fn take_over(
    upgraded: hyper::upgrade::Upgraded,
) -> Result<(Connection, Vec<u8>), hyper::upgrade::Upgraded> {
    let parts = downcast::<TokioIo<Beginning<Connection>>>(upgraded)?;
    Ok((parts.io.into_inner().into_inner(), parts.read_buf.to_vec()))
}

fn refused(reason: &'static str) {
    ::metrics::counter!(metrics::RUNTIME_HTTP_REFUSED_TOTAL, "reason" => reason).increment(1);
}

async fn connection<S>(
    builder: &Builder<Streams>,
    stream: Beginning<Connection>,
    peer: SocketAddr,
    service: S,
    watcher: Watcher,
) where
    S: tower::Service<
            axum::http::Request<hyper::body::Incoming>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let service = TowerToHyperService::new(service);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(served).await {
        refused("cut");
        debug!(error, %peer, "a connection ended early");
    }
}

fn builder(limits: &Limits) -> Builder<Streams> {
    let mut builder = Builder::new(Streams { stall_timeout: limits.stall_timeout });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        // hyper wants at least 8 KiB; this also bounds what is read ahead of a slow handler.
        .max_buf_size(usize::try_from(limits.header_size_bytes_max).unwrap_or(usize::MAX).max(8 * 1024));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(limits.header_size_bytes_max)
        .max_pending_accept_reset_streams(limits.pending_resets_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES);
    builder
}
