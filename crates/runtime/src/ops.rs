//! The operations endpoints of every role, on one port: `/metrics`, `/health`, `/ready`, and the gRPC health service.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::config::Reader;
use crate::http::{Door, Limits, serve as serve_http};
use crate::{Readiness, Shutdown, metrics, telemetry};

/// Prometheus, a kubelet and an operator with a browser: more than that is a mistake somewhere.
const CONNECTIONS_MAX: usize = 64;

/// The answers are small and need nobody else, so that a request still open after this long is stuck at the client.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);

/// The section `ops`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the endpoints are served.
    pub listen: SocketAddr,
}

impl Config {
    /// Reads the section; each role has its own default port on the loopback interface.
    pub fn read(reader: &mut Reader<'_>, default_port: u16) -> Config {
        Config { listen: reader.address("listen", SocketAddr::from(([127, 0, 0, 1], default_port))) }
    }
}

/// Serves the endpoints until the shutdown is requested. Give it a shutdown of its own that comes last, so that `/ready`
/// tells how the drain goes and `/metrics` is scraped once more.
pub async fn serve(door: impl Into<Door>, readiness: Readiness, shutdown: Shutdown) {
    let (reporter, health) = health_reporter();
    let grpc = tonic::service::Routes::new(health)
        .into_axum_router()
        // The routes bring a fallback of their own, and a router can have only one.
        .reset_fallback();
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/health", get(|| async { "alive\n" }))
        .route("/ready", get(ready_page))
        .with_state(readiness.clone())
        .merge(grpc)
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found: try /metrics, /health or /ready\n") });
    let limits =
        Limits { connections_max: CONNECTIONS_MAX, drain_deadline: DRAIN_DEADLINE, ..Limits::default() };
    tokio::join!(
        serve_http(door, router, limits, shutdown.clone()),
        shutdown.run_until(follow_readiness(reporter, readiness)),
    );
}

async fn metrics_page(State(readiness): State<Readiness>) -> Response {
    ::metrics::gauge!(metrics::RUNTIME_READY).set(if readiness.is_ready() { 1.0 } else { 0.0 });
    match telemetry::render_metrics() {
        Some(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "no metrics are recorded\n").into_response(),
    }
}

async fn ready_page(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

/// Keeps the gRPC health of the whole process (the empty service name) equal to its readiness.
async fn follow_readiness(reporter: HealthReporter, readiness: Readiness) {
    let mut changes = readiness.changes();
    loop {
        let ready = *changes.borrow_and_update();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status("", status).await;
        if changes.changed().await.is_err() {
            return;
        }
    }
}
