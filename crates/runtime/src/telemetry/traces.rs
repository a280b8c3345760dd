use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::{Config, TASK_SPAN_TARGET};

/// How long the collector may take for one batch of spans.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// A word that is no endpoint.
#[derive(Debug, thiserror::Error)]
#[error("not an http:// URL with a host")]
pub(super) struct NoEndpoint;

pub(super) fn endpoint(text: &str) -> Result<String, NoEndpoint> {
    let uri: axum::http::Uri = text.parse().map_err(|_| NoEndpoint)?;
    let is_endpoint = uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty());
    if is_endpoint { Ok(text.to_owned()) } else { Err(NoEndpoint) }
}

/// Exports to the collector if one is configured. Without one nothing is recorded, but spans still have a context, so
/// that a trace which comes in from elsewhere passes through.
pub(super) fn provider(
    config: &Config,
    service: &str,
    instance: &str,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = &config.otlp_endpoint else {
        return Ok(builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff))).build());
    };
    let exporter =
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let root = Sampler::TraceIdRatioBased(config.trace_sample_ratio);
    Ok(builder.with_sampler(Sampler::ParentBased(Box::new(root))).with_batch_exporter(exporter).build())
}

/// Turns spans of level INFO and above into traces, whatever the filter of the log is.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_traced = |metadata: &Metadata<'_>| {
        *metadata.level() <= LevelFilter::INFO && metadata.target() != TASK_SPAN_TARGET
    };
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("ledgerflux"))
        .with_filter(filter_fn(is_traced))
}

/// Makes the provider and the W3C format of trace contexts those of the process.
pub(super) fn install(provider: SdkTracerProvider) {
    global::set_tracer_provider(provider);
    global::set_text_map_propagator(TraceContextPropagator::new());
}
