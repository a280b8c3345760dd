//! The listener, and what runs behind it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::Product;
use metrics::counter;
use runtime::{RoleContext, Shutdown, drain_step};
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use venues::coinbase::CHANNELS;

use crate::config::{Config, Source};
use crate::exchange::Exchange;
use crate::generate::{self, Generator};
use crate::listing::{Decimals, Listing};
use crate::metrics::DISCONNECTS;
use crate::outlet::Outlet;
use crate::replay::Replay;
use crate::truth::Truth;
use crate::{Error, RecordingError, connection, recording};

/// How long the goodbyes to all clients may take.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);
/// A pause after the system refused a connection, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The products that the messages of a recording name, in alphabetical order; the file is read as a whole.
///
/// # Errors
/// When the file cannot be read or names no product.
pub async fn recorded_products(path: &Path) -> Result<Vec<Product>, Error> {
    let names = read_products(path).await?;
    Ok(names.keys().filter_map(|name| Product::new(name).ok()).collect())
}

/// Serves until the shutdown is requested, then says goodbye to the clients and completes the ground truth.
///
/// # Errors
/// When the recording, the certificate or the file for the truth cannot be used.
pub async fn run(config: Config, listener: TcpListener, ctx: RoleContext) -> Result<(), Error> {
    let latch = ctx.latch("simulator");
    latch.set_waiting("the market is being prepared");
    let (channels, listings) = offer(&config.source).await?;
    let tls = acceptor(&config)?;
    let is_replay = matches!(config.source, Source::Replay(_));
    config.faults.check(&listings.iter().map(|listing| listing.id.clone()).collect(), is_replay)?;
    let truth = Truth::open(config.truth.as_deref())?;
    let exchange = Arc::new(Exchange::new(&config, channels, listings));
    let outlet = Outlet::new(Arc::clone(&exchange), truth, &config, ctx.shutdown.clone());
    let mut parts = JoinSet::new();
    // Connections end after the market has stopped, so that everything that it sent can be written.
    let closing = Shutdown::new();
    let (here, clients_max) = (Arc::clone(&exchange), config.clients_max);
    parts.spawn(accept(listener, tls, here, clients_max, ctx.shutdown.clone(), closing.clone()));
    let shutdown = ctx.shutdown.clone();
    match config.source {
        Source::Replay(replay) => {
            let feed = Replay::new(Arc::clone(&exchange), outlet);
            parts.spawn(async move {
                feed.run(replay.path, replay.speed, &shutdown).await;
                shutdown.requested().await;
                closing.request();
            });
        }
        Source::Generate(generate) => {
            let feed = Generator::new(&generate, &exchange, outlet);
            parts.spawn(async move {
                feed.run(&shutdown).await;
                shutdown.requested().await;
                closing.request();
            });
        }
    }
    latch.set_ready();
    info!(
        products = exchange.clients.products().len(),
        "the simulated exchange is open; its data is not a live market"
    );
    while let Some(ended) = parts.join_next().await {
        ended.map_err(Error::Panicked)?;
    }
    Ok(())
}

/// The channels and the products that there are, in alphabetical order.
async fn offer(source: &Source) -> Result<(Vec<&'static str>, Vec<Listing>), Error> {
    let (channels, products) = match source {
        Source::Replay(replay) => (CHANNELS.to_vec(), read_products(&replay.path).await?),
        Source::Generate(config) => {
            let named = |product: &Product| (product.to_string(), generate::decimals(product.as_str()));
            (vec!["ticker", "heartbeat"], config.products.iter().map(named).collect())
        }
    };
    if products.is_empty() {
        return Err(Error::NoProducts);
    }
    Ok((channels, products.iter().map(|(name, decimals)| Listing::new(name, *decimals)).collect()))
}

async fn read_products(path: &Path) -> Result<BTreeMap<String, Decimals>, Error> {
    let path = path.to_owned();
    let read: Result<_, RecordingError> =
        spawn_blocking(move || recording::products(&path)).await.map_err(Error::Panicked)?;
    Ok(read?)
}

fn acceptor(config: &Config) -> Result<Option<TlsAcceptor>, Error> {
    let Some(files) = &config.tls else { return Ok(None) };
    let server = runtime::tls::server_config(&files.certificate, &files.key)?;
    Ok(Some(TlsAcceptor::from(Arc::new(server))))
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    exchange: Arc<Exchange>,
    clients_max: usize,
    shutdown: Shutdown,
    closing: Shutdown,
) {
    let mut connections = JoinSet::new();
    while let Some(accepted) = shutdown.run_until(listener.accept()).await {
        while connections.try_join_next().is_some() {}
        let (stream, address) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if connections.len() >= clients_max {
            counter!(DISCONNECTS, "reason" => "too_many").increment(1);
            continue;
        }
        let (tls, exchange) = (tls.clone(), Arc::clone(&exchange));
        connections.spawn(connection::serve(stream, address, tls, exchange, closing.clone()));
    }
    drop(listener);
    drain_step("clients of the simulator", DRAIN_DEADLINE, connections.join_all()).await;
}
