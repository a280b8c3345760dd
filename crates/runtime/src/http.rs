//! A bounded HTTP server for an axum router: HTTP/1.1 and HTTP/2 without TLS on one port, WebSocket upgrades, a limit on
//! connections, a time limit on request headers, and a graceful end with a hard deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::Layer;
use tracing::{debug, warn};

use crate::{LogGate, Shutdown, drain_step, listen};

/// After a failed `accept` (usually: no file descriptor left) something must end first; trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long to wait for the rest of a preface before looking again.
const PEEK_PAUSE: Duration = Duration::from_millis(10);

/// What a server allows its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time; further ones wait in the system's queue.
    pub connections_max: usize,
    /// How long a client may take to begin, and to send the headers of an HTTP/1 request.
    pub header_timeout: Duration,
    /// The size of the headers of one request, in bytes.
    pub header_size_bytes_max: u32,
    /// Requests at one time on one HTTP/2 connection.
    pub streams_per_connection_max: u32,
    /// How often an idle HTTP/2 connection is asked whether it is alive.
    pub keep_alive_interval: Duration,
    /// How long such a question may stay unanswered.
    pub keep_alive_timeout: Duration,
    /// How long open requests may take to end after the shutdown is requested.
    pub drain_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 1024,
            header_timeout: Duration::from_secs(10),
            header_size_bytes_max: 16 * 1024,
            streams_per_connection_max: 128,
            keep_alive_interval: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(20),
            drain_deadline: Duration::from_secs(5),
        }
    }
}

/// Serves `router` until the shutdown is requested, then lets open requests end within `limits.drain_deadline` and cuts
/// the rest. Handlers find the client's address in `ConnectInfo<SocketAddr>`. An upgraded connection (WebSocket) belongs
/// to its handler from then on: it counts for no limit here, and the handler ends it.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: Shutdown) {
    let builder = Arc::new(builder(&limits));
    let places = Arc::new(Semaphore::new(limits.connections_max));
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
                let service = Extension(ConnectInfo(peer)).layer(router.clone());
                let (builder, watcher) = (Arc::clone(&builder), graceful.watcher());
                let (shutdown, deadline) = (shutdown.clone(), limits.header_timeout);
                connections.spawn(async move {
                    listen::set_nodelay(&stream);
                    let spoke = tokio::time::timeout(deadline, first_bytes(&stream));
                    match shutdown.run_until(spoke).await {
                        Some(Ok(Ok(()))) => connection(&builder, stream, peer, service, watcher).await,
                        Some(Ok(Err(error))) => {
                            debug!(%error, %peer, "a connection ended before its first request")
                        }
                        Some(Err(_)) => debug!(%peer, "a connection without a request was cut"),
                        None => {}
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

/// Returns once it is clear whether the client speaks HTTP/1 or HTTP/2, without taking anything from the stream. Until
/// then hyper has no time limit, and a silent client would keep its place for ever.
async fn first_bytes(stream: &TcpStream) -> std::io::Result<()> {
    let mut start = [0; HTTP2_PREFACE.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        let seen = start.get(..count).unwrap_or_default();
        if seen.is_empty() || seen == HTTP2_PREFACE || !HTTP2_PREFACE.starts_with(seen) {
            return Ok(());
        }
        // A part of the preface: the rest is on its way, and what is there already would be peeked at once again.
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}

async fn connection<S>(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
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
        debug!(error, %peer, "a connection ended early");
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
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
        .max_header_list_size(limits.header_size_bytes_max);
    builder
}
