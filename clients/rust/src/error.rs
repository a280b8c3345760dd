//! What can go wrong.

use thiserror::Error;
use tonic::{Code, Status};

/// Why a call gave no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The endpoint is no `http://` or `https://` URL, or no certificates are found to check it with.
    #[error("{endpoint:?} is not an endpoint")]
    InvalidEndpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
    /// The key has characters that no header may have.
    #[error("the key is not one: it has characters other than visible ASCII")]
    InvalidKey,
    /// Nobody answers at the endpoint.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server refused, or the connection broke.
    #[error("{call}")]
    Call {
        /// The RPC, e.g. `GetLatestPrice`.
        call: &'static str,
        /// What the server says; its details hold the reason and the field at fault.
        #[source]
        status: Box<Status>,
    },
    /// The server left out what an answer must have.
    #[error("{call} answered without {field}")]
    Incomplete {
        /// The RPC.
        call: &'static str,
        /// What is missing.
        field: &'static str,
    },
}

impl Error {
    pub(crate) fn call(call: &'static str) -> impl FnOnce(Status) -> Self {
        move |status| Self::Call { call, status: Box::new(status) }
    }

    /// Whether the same call may succeed later: the server is away, overloaded or still starting.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Call { status, .. } => status.code() == Code::Unavailable,
            Self::InvalidEndpoint { .. } | Self::InvalidKey | Self::Incomplete { .. } => false,
        }
    }

    /// Whether the request itself is refused (an unknown product, a token that will not do), so that the same one will be
    /// refused again.
    pub fn is_request_at_fault(&self) -> bool {
        match self {
            Self::Call { status, .. } => matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::FailedPrecondition
                    | Code::OutOfRange
                    | Code::Unimplemented
            ),
            Self::InvalidEndpoint { .. } => true,
            Self::InvalidKey | Self::Connect { .. } | Self::Incomplete { .. } => false,
        }
    }

    /// Whether the server wants a key, or another one.
    pub fn is_unauthorized(&self) -> bool {
        match self {
            Self::Call { status, .. } => {
                matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
            }
            Self::InvalidKey => true,
            Self::InvalidEndpoint { .. } | Self::Connect { .. } | Self::Incomplete { .. } => false,
        }
    }
}
