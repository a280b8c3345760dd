//! The span of a call, as a part of the trace that its client is in.

use http::HeaderMap;
use opentelemetry::{Context, global, propagation::Extractor, trace::TraceContextExt as _};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::method::Method;

struct Metadata<'a>(&'a HeaderMap);

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// The span in which the handler works and the answer is sent. Probes have none.
pub(super) fn span(method: Method, headers: &HeaderMap) -> Span {
    if matches!(method, Method::Health | Method::Reflection) {
        return Span::none();
    }
    let span = tracing::info_span!(
        "call",
        otel.name = method.label(),
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method.label(),
        rpc.response.status_code = field::Empty,
    );
    // The current context must not leak into a call that carries none.
    let parent = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &Metadata(headers))
    });
    if parent.span().span_context().is_valid()
        && let Err(error) = span.set_parent(parent)
    {
        tracing::debug!(%error, "the trace of a call is not continued");
    }
    span
}
