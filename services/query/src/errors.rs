//! Every error of the API: a canonical code with `google.rpc` details, made in this one place.

use std::{collections::HashMap, time::Duration};

use domain::Instrument;
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

/// What was asked for has no source yet.
pub(crate) fn not_there_yet(what: &str) -> Status {
    let details = ErrorDetails::with_error_info("NOT_IMPLEMENTED", DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unimplemented, format!("{what} is not there yet"), details)
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
