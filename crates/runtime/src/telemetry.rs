//! Logs, traces and metrics of the process.
//!
//! Logs go to standard error: text on a terminal, JSON elsewhere. Traces go to an OpenTelemetry collector when one is
//! configured; the W3C trace context is passed on in any case. Metrics are recorded in memory and rendered for
//! Prometheus by [`render_metrics`], which the operations endpoint serves.

mod logs;
mod process;
mod recorder;
mod traces;

use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::AbortHandle;
use tracing::warn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::Reader;

pub use logs::LogFormat;
pub use recorder::{SECONDS_BUCKETS, render_metrics};

/// The target of the span that carries a task's name into the log. It is not traced: everything that a task does in its
/// life would become one endless trace.
pub(crate) const TASK_SPAN_TARGET: &str = "runtime::task";

/// How long the last spans may take to reach the collector when the guard is dropped without [`TelemetryGuard::shutdown`].
const DROP_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The section `telemetry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Directives of the log filter, such as `info,bus=debug`.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The gRPC endpoint of an OpenTelemetry collector.
    pub otlp_endpoint: Option<String>,
    /// The share of traces begun here that is exported, from 0 to 1. A trace begun elsewhere follows its parent.
    pub trace_sample_ratio: f64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            log: "info".to_owned(),
            log_format: LogFormat::Auto,
            otlp_endpoint: None,
            trace_sample_ratio: 0.01,
        }
    }
}

impl Config {
    /// Reads the section.
    pub fn read(reader: &mut Reader<'_>) -> Config {
        let default = Config::default();
        let log =
            reader.parsed("log", &default.log, "log filter directives, such as \"info,bus=debug\"", |text| {
                logs::filter(text).map(|_| text.to_owned())
            });
        let log_format = reader.parsed("log_format", "auto", "auto, text or json", |text| {
            text.parse::<LogFormat>().map_err(|_| "")
        });
        let otlp_endpoint = reader.optional_parsed(
            "otlp_endpoint",
            "an http:// URL, such as http://127.0.0.1:4317",
            |text| traces::endpoint(text).map_err(|_| ""),
        );
        let ratio = reader.parsed("trace_sample_ratio", "0.01", "a number from 0 to 1", |text| {
            let ratio = text.parse::<f64>().map_err(|error| error.to_string())?;
            if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(String::new()) }
        });
        Config {
            log: log.unwrap_or(default.log),
            log_format: log_format.unwrap_or(default.log_format),
            otlp_endpoint,
            trace_sample_ratio: ratio.unwrap_or(default.trace_sample_ratio),
        }
    }
}

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The directives of the log filter are not understood.
    #[error("bad log filter (telemetry.log)")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter of traces refuses its settings.
    #[error("cannot set up the export of traces (telemetry.otlp_endpoint)")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The buckets of histograms are refused.
    #[error("cannot set up the metrics recorder")]
    Buckets(#[from] metrics_exporter_prometheus::BuildError),
    /// Something else in the process records metrics.
    #[error("metrics are recorded already")]
    RecorderInstalled,
    /// Something else in the process writes the logs.
    #[error("logs are written already")]
    LogsInstalled(#[from] TryInitError),
}

/// Starts logs, traces and metrics of this process, which the collector knows as `service` (such as
/// `ledgerflux-gateway`) and `instance`. Call it once, inside the tokio runtime, and keep the guard to the end.
///
/// # Errors
/// When a setting is refused or telemetry has been started already.
pub fn init(config: &Config, service: &str, instance: &str) -> Result<TelemetryGuard, TelemetryError> {
    let filter = logs::filter(&config.log)?;
    let traces = traces::provider(config, service, instance)?;
    recorder::install()?;
    tracing_subscriber::registry()
        .with(logs::layer(config.log_format, filter))
        .with(traces::layer(&traces))
        .try_init()?;
    traces::install(traces.clone());
    logs::log_panics();
    Ok(TelemetryGuard { traces: Some(traces), upkeep: recorder::spawn_upkeep() })
}

/// Keeps telemetry running; flushes the last spans when it ends.
#[derive(Debug)]
pub struct TelemetryGuard {
    traces: Option<SdkTracerProvider>,
    upkeep: AbortHandle,
}

impl TelemetryGuard {
    /// Sends the last spans, as the last step of a drain. It takes no longer than `timeout`.
    pub async fn shutdown(mut self, timeout: Duration) {
        if let Some(traces) = self.traces.take() {
            // It blocks, and the exporter needs this runtime meanwhile.
            let flushed = tokio::task::spawn_blocking(move || flush(&traces, timeout));
            let _ = tokio::time::timeout(timeout, flushed).await;
        }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        self.upkeep.abort();
        if let Some(traces) = self.traces.take() {
            flush(&traces, DROP_FLUSH_TIMEOUT);
        }
    }
}

fn flush(traces: &SdkTracerProvider, timeout: Duration) {
    if let Err(error) = traces.shutdown_with_timeout(timeout) {
        warn!(%error, "the last spans did not reach the collector");
    }
}
