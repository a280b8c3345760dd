use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::str::FromStr;

use tracing::{Subscriber, error};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when standard error is a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// A word that is none of the formats.
#[derive(Debug, thiserror::Error)]
#[error("not a log format")]
pub struct UnknownLogFormat;

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<LogFormat, UnknownLogFormat> {
        match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(UnknownLogFormat),
        }
    }
}

/// Libraries that tell at `info` what is of interest to their own developers; naming one of them in the filter wins.
const QUIET_LIBRARIES: &str = "sea_orm_migration=warn,opentelemetry=warn,opentelemetry_sdk=warn,sqlx=warn";

pub(super) fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{QUIET_LIBRARIES},{directives}"))
}

/// Writes the lines that `filter` lets through to standard error.
pub(super) fn layer<S>(format: LogFormat, filter: EnvFilter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_terminal = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(std::io::stderr);
    let as_text = match format {
        LogFormat::Auto => is_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if as_text {
        // https://no-color.org: present and not empty means no colours.
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        layer.with_ansi(colours).with_filter(filter).boxed()
    } else {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_filter(filter)
            .boxed()
    }
}

/// Panics become log lines like any other, so that what collects the logs understands them.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        // Captured only when RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            error!(panic = message, location, %backtrace, "panicked");
        } else {
            error!(panic = message, location, "panicked");
        }
    }));
}
