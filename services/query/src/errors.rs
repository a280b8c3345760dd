//! Every error of the API: a canonical code with `google.rpc` details, made in this one place.

use std::{collections::HashMap, time::Duration};

use domain::{Instrument, UnixNanos};
use store::StoreError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "ledgerflux";

/// A field of the request is at fault.
pub(crate) fn invalid(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let message = format!("{field}: {description}");
    let mut details = ErrorDetails::with_bad_request_violation(field, description);
    details.set_error_info("INVALID_FIELD", DOMAIN, HashMap::from([("field".to_owned(), field.to_owned())]));
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Nothing is known of a product.
pub(crate) fn unknown_product(instrument: &Instrument) -> Status {
    let metadata = HashMap::from([
        ("venue".to_owned(), instrument.venue.to_string()),
        ("product".to_owned(), instrument.product.to_string()),
    ]);
    let details = ErrorDetails::with_error_info("UNKNOWN_PRODUCT", DOMAIN, metadata);
    Status::with_error_details(Code::NotFound, format!("nothing is known of {instrument}"), details)
}

/// Nothing is stored as of a time.
pub(crate) fn nothing_stored(what: String) -> Status {
    let details = ErrorDetails::with_error_info("NOTHING_STORED", DOMAIN, HashMap::new());
    Status::with_error_details(Code::NotFound, what, details)
}

/// Ticks as old as what was asked for are not kept any more.
pub(crate) fn before_horizon(asked: UnixNanos, horizon: UnixNanos) -> Status {
    let why = format!("{asked} is before {horizon}, the oldest time that is kept");
    let mut details = ErrorDetails::with_bad_request_violation("as_of_time", why.clone());
    let metadata = HashMap::from([("horizon_time".to_owned(), horizon.to_string())]);
    details.set_error_info("BEFORE_HORIZON", DOMAIN, metadata);
    Status::with_error_details(Code::OutOfRange, format!("as_of_time: {why}"), details)
}

/// As many calls as may be are in progress.
pub(crate) fn overloaded(what: &'static str, limit: usize) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
    details.add_quota_failure_violation(what, format!("at most {limit} at the same time"));
    let metadata = HashMap::from([("limit".to_owned(), limit.to_string())]);
    details.set_error_info("TOO_MANY_CALLS", DOMAIN, metadata);
    Status::with_error_details(
        Code::ResourceExhausted,
        format!("{limit} {what} are in progress, try again later"),
        details,
    )
}

/// The time that the client or the server gives a call is over.
pub(crate) fn out_of_time(limit: Duration) -> Status {
    let limit = format!("{limit:?}");
    let details = ErrorDetails::with_error_info(
        "OUT_OF_TIME",
        DOMAIN,
        HashMap::from([("limit".to_owned(), limit.clone())]),
    );
    Status::with_error_details(Code::DeadlineExceeded, format!("it takes longer than {limit}"), details)
}

/// Nobody serves this.
pub(crate) fn unknown_method(path: &str) -> Status {
    let path: String = path.chars().take(128).collect();
    let details = ErrorDetails::with_error_info(
        "UNKNOWN_METHOD",
        DOMAIN,
        HashMap::from([("path".to_owned(), path.clone())]),
    );
    Status::with_error_details(Code::Unimplemented, format!("{path} is not served here"), details)
}

/// `status` as it is, with a reason if it has none: the framework refuses what never reaches a handler.
pub(crate) fn with_reason(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let reason = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => "MESSAGE_TOO_LARGE",
        Code::Internal | Code::InvalidArgument => "MALFORMED_MESSAGE",
        Code::Unimplemented => "UNSUPPORTED",
        _ => "CALL_FAILED",
    };
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(status.code(), status.message(), details)
}

/// A task of this process ended before it was done.
pub(crate) fn task_ended() -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
    details.set_error_info("RESTARTING", DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unavailable, "the server restarts, continue elsewhere", details)
}

/// This process has not followed the stream to its end yet.
pub(crate) fn catching_up() -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
    details.set_error_info("CATCHING_UP", DOMAIN, HashMap::new());
    Status::with_error_details(
        Code::Unavailable,
        "the live stream has not been followed to its end yet",
        details,
    )
}

/// The database failed. What it said is for the log, not for clients.
pub(crate) fn store_failed(error: &StoreError) -> Status {
    let logged = error as &dyn std::error::Error;
    if error.is_retryable() {
        tracing::warn!(error = logged, "the database did not answer a query");
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
        details.set_error_info("DATABASE_UNAVAILABLE", DOMAIN, HashMap::new());
        return Status::with_error_details(Code::Unavailable, "the database does not answer", details);
    }
    tracing::error!(error = logged, "the database refused a query");
    let details = ErrorDetails::with_error_info("DATABASE_REFUSED", DOMAIN, HashMap::new());
    Status::with_error_details(Code::Internal, "the database refused the query", details)
}
