//! Serving: the gRPC server around the handlers.

use std::{future::Future, num::NonZeroUsize, sync::Arc, time::Duration};

use bus::Bus;
use live::LiveFeed;
use proto::v1::market_data_service_server::MarketDataServiceServer;
use runtime::{Readiness, RoleContext, tls::Identity};
use store::Store;
use thiserror::Error;
use tokio::net::TcpListener;
use tonic::{codec::CompressionEncoding, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    Config,
    board::{Board, Latches},
    calls::CallsLayer,
    market::Market,
    open_gaps::OpenGaps,
    service::Service,
};

/// How often an idle connection is asked whether it is still there, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The headers of one call, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How long open calls may take at shutdown before they are cut.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Why a query service cannot serve.
#[derive(Debug, Error)]
pub enum Error {
    /// The description of the services is broken.
    #[error("reflection cannot be offered")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The certificate cannot be used.
    #[error("the listener cannot speak TLS")]
    Tls(#[from] runtime::tls::TlsError),
    /// The server ended.
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `MarketDataService` on `listener` until shutdown is requested. Calls in progress are given a few seconds.
///
/// Its latches are registered before this returns, so that the process is not ready before it serves.
pub fn run(
    config: Config,
    listener: TcpListener,
    bus: Bus,
    store: Store,
    context: RoleContext,
) -> impl Future<Output = Result<(), Error>> + Send {
    let latches = Latches::new(&context);
    serve(config, listener, bus, store, context, latches)
}

async fn serve(
    config: Config,
    listener: TcpListener,
    bus: Bus,
    store: Store,
    context: RoleContext,
    latches: Latches,
) -> Result<(), Error> {
    // Only the newest state is asked for here, never the ticks before it.
    let newest = live::Config {
        ring_ticks_max: NonZeroUsize::MIN,
        ring_age: Duration::ZERO,
        ..live::Config::default()
    };
    let live = LiveFeed::start(bus.clone(), newest);
    let board = Board::default();
    let open_gaps = OpenGaps::default();
    let calls = CallsLayer::new(&config);
    let market = Market {
        live: live.clone(),
        store: store.clone(),
        board: board.clone(),
        open_gaps: open_gaps.clone(),
        configured: config.configured.map(Arc::new),
        response_bytes_max: config.response_bytes_max,
    };
    let service = MarketDataServiceServer::new(Service { market })
        .max_decoding_message_size(config.request_bytes_max)
        .max_encoding_message_size(config.response_bytes_max)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Zstd);
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = match config.reflection {
        true => Some(
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // The details of errors, so that clients which know us by reflection can read them.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("ledgerflux.v1.MarketDataService")
                .with_service_name("grpc.health.v1.Health")
                .build_v1()?,
        ),
        false => None,
    };
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(config.concurrent_calls_max))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .layer(calls)
        .add_service(health)
        .add_optional_service(reflection)
        .add_service(service);
    let identity = config.tls.as_ref().map(Identity::open).transpose()?;
    let incoming = runtime::tls::connections(listener, identity.clone());
    let serving = server.serve_with_incoming_shutdown(incoming, context.shutdown.requested());
    let renewed = async {
        if let Some(identity) = &identity {
            identity.follow(&context.shutdown).await;
        }
    };
    let cut = async {
        context.shutdown.requested().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    let background = async {
        tokio::join!(
            renewed,
            open_gaps.keep(store.clone(), live.clone(), context.shutdown.clone()),
            board.keep(bus, store, live, latches, context.clone()),
            tell_health(reporter, context.readiness.clone(), context.shutdown.clone()),
        );
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serving => Ok(served?),
        () = cut => Ok(()),
        () = background => Ok(()),
    }
}

/// gRPC health follows readiness.
async fn tell_health(reporter: HealthReporter, readiness: Readiness, shutdown: runtime::Shutdown) {
    let mut changes = readiness.changes();
    loop {
        let status =
            if *changes.borrow_and_update() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", "ledgerflux.v1.MarketDataService"] {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.requested() => return,
        }
    }
}
