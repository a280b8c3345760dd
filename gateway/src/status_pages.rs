//! What the gateway says of itself over plain HTTP.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use live::LiveFeed;
use runtime::Readiness;
use serde::Serialize;

use crate::{Config, FeedLabel, access::Caller};

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) config: Arc<Config>,
    pub(crate) feed: LiveFeed,
    pub(crate) readiness: Readiness,
}

/// `/health`, `/ready` and `/info.json`.
pub(crate) fn router(facts: Facts) -> Router {
    Router::new()
        .route("/health", get(|| async { "alive\n" }))
        .route("/ready", get(ready))
        .route("/info.json", get(info))
        .with_state(facts)
}

/// What the page wants to know.
#[derive(Debug, Serialize)]
struct Info {
    version: &'static str,
    /// `live`, `simulated`, `replay` or `other`.
    feed: &'static str,
    /// The file that is replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Whether callers need a key or a token.
    auth_required: bool,
    /// The products that have a price and that the caller may see.
    products: Vec<Product>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Product {
    venue: String,
    product: String,
}

async fn ready(State(facts): State<Facts>) -> Response {
    let report = facts.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn info(State(facts): State<Facts>, caller: Option<Extension<Caller>>) -> Response {
    let mut products: Vec<Product> = facts
        .feed
        .snapshots()
        .iter()
        .filter(|snapshot| caller.as_ref().is_some_and(|caller| caller.allows(&snapshot.instrument)))
        .map(|snapshot| Product {
            venue: snapshot.instrument.venue.to_string(),
            product: snapshot.instrument.product.to_string(),
        })
        .collect();
    products.sort();
    let label = &facts.config.feed_label;
    let file = match label {
        FeedLabel::Replay { file } => Some(file.clone()),
        FeedLabel::Live | FeedLabel::Simulated | FeedLabel::Other => None,
    };
    let auth_required = facts.config.access.required;
    let info =
        Info { version: env!("CARGO_PKG_VERSION"), feed: label.as_str(), file, auth_required, products };
    ([(header::CACHE_CONTROL, "no-store")], Json(info)).into_response()
}
