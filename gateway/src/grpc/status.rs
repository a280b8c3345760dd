//! The errors of the gRPC services, with their details.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

const DOMAIN: &str = "ledgerflux";
/// After how long a caller may try again what a restart or an unreachable server has cut off.
pub(crate) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A field of the request is at fault.
pub(crate) fn invalid(field: &str, why: impl Into<String>) -> Status {
    let why = why.into();
    let mut details = details("INVALID_FIELD", [("field", field.to_owned())]);
    details.add_bad_request_violation(field, why.clone());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {why}"), details)
}

/// Nobody serves this.
pub(crate) fn unknown_method(path: &str) -> Status {
    let details = details("UNKNOWN_METHOD", [("path", path.to_owned())]);
    Status::with_error_details(Code::Unimplemented, format!("{path} is not served here"), details)
}

/// There are as many clients as there may be.
pub(crate) fn too_many_clients() -> Status {
    let mut details = details("TOO_MANY_CLIENTS", []);
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::ResourceExhausted, "too many streams are open", details)
}

/// A subscription cannot go on.
pub(crate) fn ended(ended: &live::Ended) -> Status {
    let product = ended.instrument().product.to_string();
    match ended {
        live::Ended::FellBehind { .. } => {
            let details = details("FELL_BEHIND", [("product", product)]);
            Status::with_error_details(Code::ResourceExhausted, ended.to_string(), details)
        }
        live::Ended::Interrupted { .. } => {
            let mut details = details("INTERRUPTED", [("product", product)]);
            details.set_retry_info(Some(RETRY_DELAY));
            let why = runtime::ErrorChain(ended).to_string();
            Status::with_error_details(Code::Unavailable, why, details)
        }
    }
}

/// A client of candles took so long that candles have ended which are no longer kept for it.
pub(crate) fn candles_fell_behind(product: &str) -> Status {
    let details = details("FELL_BEHIND", [("product", product.to_owned())]);
    let why = format!("more candles of {product} have ended than are kept, start again at the last one");
    Status::with_error_details(Code::ResourceExhausted, why, details)
}

/// The past of candles cannot be told.
pub(crate) fn candles_unavailable(product: &str, why: &str) -> Status {
    let mut details = details("CANDLES_UNAVAILABLE", [("product", product.to_owned())]);
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::Unavailable, format!("candles of {product}: {why}"), details)
}

/// There are as many series of candles as there may be.
pub(crate) fn too_many_candles() -> Status {
    let mut details = details("TOO_MANY_CANDLES", []);
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::ResourceExhausted, "too many candles are watched", details)
}

/// The gateway ends; another one, or the next start of this one, will answer.
pub(crate) fn restarting() -> Status {
    let mut details = details("RESTARTING", []);
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::Unavailable, "the server restarts, connect again", details)
}

/// Query cannot be reached.
pub(crate) fn query_unreachable() -> Status {
    let mut details = details("QUERY_UNREACHABLE", []);
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::Unavailable, "history cannot be reached at the moment", details)
}

/// An instance of query died with a part of its answer given.
pub(crate) fn query_cut_off() -> Status {
    let mut details = details("INTERRUPTED", []);
    details.set_retry_info(Some(RETRY_DELAY));
    let message = "history has broken off, continue with the token of the last response";
    Status::with_error_details(Code::Unavailable, message, details)
}

/// Query did not begin to answer in time.
pub(crate) fn query_timeout() -> Status {
    let details = details("QUERY_TIMEOUT", []);
    Status::with_error_details(Code::DeadlineExceeded, "history did not answer in time", details)
}

/// As many calls are with query as may be.
pub(crate) fn too_many_forwarded(max: usize) -> Status {
    let mut details = details("TOO_MANY_CALLS", [("limit", max.to_string())]);
    details.set_retry_info(Some(RETRY_DELAY));
    let message = format!("{max} calls are in progress, try again later");
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A client dawdles with its request.
pub(crate) fn request_timeout(limit: Duration) -> Status {
    let details = details("REQUEST_TIMEOUT", [("limit_seconds", limit.as_secs().to_string())]);
    let message = format!("the request was not there within {limit:?}");
    Status::with_error_details(Code::DeadlineExceeded, message, details)
}

/// A request is longer than any that makes sense.
pub(crate) fn request_too_large(bytes_max: usize) -> Status {
    let details = details("MESSAGE_TOO_LARGE", [("limit_bytes", bytes_max.to_string())]);
    Status::with_error_details(
        Code::ResourceExhausted,
        format!("a request may have {bytes_max} bytes"),
        details,
    )
}

/// The details of an error: its reason, and what a program may want to know of it.
pub(crate) fn details<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

/// The answer that is only an error.
pub(crate) fn refuse(status: &Status) -> http::Response<tonic::body::Body> {
    count(status);
    status.clone().into_http()
}

/// Counts an error that a caller is told.
pub(crate) fn count(status: &Status) {
    metrics::counter!(crate::metrics::ERRORS, "code" => format!("{:?}", status.code())).increment(1);
}
