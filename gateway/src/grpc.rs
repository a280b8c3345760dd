//! gRPC and grpc-web: streaming from the live feed, everything else forwarded to query.

mod candles;
mod codec;
mod forward;
mod health;
pub(crate) mod status;
pub(crate) mod stream;
mod streaming;
pub(crate) mod subscribe;

use std::sync::Arc;

use axum::{Router, extract::Request, middleware};
use http::{HeaderName, Method, header};
use runtime::RoleContext;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    Config, Error,
    access::{Guard, Need, admit, check_origin},
    candles::Candles,
    clients::Transport,
};

pub(crate) use forward::{Forward, Pool};
pub(crate) use status::unknown_method;

/// All gRPC services of the gateway, for gRPC and for grpc-web.
pub(crate) fn router(
    config: &Arc<Config>,
    guard: &Guard,
    candles: &Candles,
    forward: Forward,
    tracker: &TaskTracker,
    ctx: &RoleContext,
) -> Result<Router, Error> {
    let health = health::service(tracker, ctx);
    let mut routes =
        Routes::new(health).add_service(streaming::Streaming::new(config, candles, ctx)).add_service(forward);
    if config.reflection {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details of errors, so that clients which know us by reflection can read them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("ledgerflux.v1.MarketDataService")
            .with_service_name("ledgerflux.v1.StreamingService")
            .with_service_name("grpc.health.v1.Health")
            .build_v1()
            .map_err(Error::Reflection)?;
        routes = routes.add_service(reflection);
    }
    // The routes bring a fallback of their own, and a router can have only one.
    Ok(routes
        .into_axum_router()
        .reset_fallback()
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(middleware::map_request(mark_transport))
        .layer(middleware::from_fn_with_state(Need::Caller(guard.clone()), admit))
        .layer(middleware::from_fn_with_state(guard.clone(), check_origin))
        .layer(cors(guard.clone())))
}

/// Remembers how the call came in, before grpc-web is turned into gRPC.
async fn mark_transport(mut request: Request) -> Request {
    let web = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"));
    request.extensions_mut().insert(if web { Transport::GrpcWeb } else { Transport::Grpc });
    request
}

/// Tells browsers which pages may call, and what those may read.
fn cors(guard: Guard) -> CorsLayer {
    let allowed = ["x-grpc-web", "x-user-agent", "x-api-key", "grpc-timeout", "traceparent", "tracestate"];
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |_, parts| {
            guard.origins().allow(&parts.uri, &parts.headers)
        }))
        .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
        .allow_headers(
            allowed
                .into_iter()
                .map(HeaderName::from_static)
                .chain([header::CONTENT_TYPE, header::AUTHORIZATION])
                .collect::<Vec<_>>(),
        )
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(std::time::Duration::from_secs(3_600))
}
