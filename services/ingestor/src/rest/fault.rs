//! Why a request to the REST API brought nothing.

use std::time::Duration;

use thiserror::Error;
use venues::coinbase::rest::{ANSWER_BYTES_MAX, RestFault};

/// Why a request brought nothing.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error("{address} cannot be reached")]
    Unreachable {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("there was no whole answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("{path:?} cannot be asked for")]
    Request {
        path: String,
        #[source]
        source: hyper::http::Error,
    },
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the answer cannot be used")]
    Fault {
        #[source]
        fault: RestFault,
        retry_after: Option<Duration>,
    },
}

impl AskError {
    pub(super) fn fault(fault: RestFault, retry_after: Option<Duration>) -> Self {
        Self::Fault { fault, retry_after }
    }

    /// Whether the same request may succeed later. Otherwise the exchange has not got what was asked for.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Fault { fault, .. } => fault.is_retryable(),
            Self::Request { .. } => false,
            _ => true,
        }
    }

    /// A label of bounded cardinality.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Fault { fault, .. } if fault.is_rate_limit() => "rate_limited",
            Self::Fault { fault: RestFault::Status { .. }, .. } => "refused",
            Self::Fault { .. } | Self::TooLong => "unusable",
            Self::TimedOut(_) => "timed_out",
            Self::Unreachable { .. } | Self::Request { .. } | Self::Broken(_) | Self::Body(_) => "failed",
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        if let Self::Fault { retry_after, .. } = self { *retry_after } else { None }
    }
}
