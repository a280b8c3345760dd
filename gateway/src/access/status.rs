//! What callers are told who may not, over gRPC.

use std::time::Duration;

use domain::Instrument;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Ended, Refused};
use crate::grpc::status::details;

/// The credentials do not let anybody in.
pub(crate) fn unauthenticated(refused: Refused) -> Status {
    let (reason, message) = match refused {
        Refused::Missing => (
            "CREDENTIALS_MISSING",
            "a key or token is needed: authorization: Bearer …, or x-api-key".to_owned(),
        ),
        Refused::Unknown => ("CREDENTIALS_UNKNOWN", "nobody has this key".to_owned()),
        Refused::Expired => ("CREDENTIALS_EXPIRED", "the time of the key or token is over".to_owned()),
        Refused::Invalid(why) => ("CREDENTIALS_INVALID", format!("the key or token cannot be used: {why}")),
    };
    Status::with_error_details(Code::Unauthenticated, message, details(reason, []))
}

/// The page that calls may not.
pub(crate) fn origin_not_allowed() -> Status {
    let message = "pages of this origin may not call (gateway.origins)";
    Status::with_error_details(Code::PermissionDenied, message, details("ORIGIN_NOT_ALLOWED", []))
}

/// The caller may not see a product.
pub(crate) fn product_not_allowed(instrument: &Instrument) -> Status {
    let details = details(
        "PRODUCT_NOT_ALLOWED",
        [("venue", instrument.venue.to_string()), ("product", instrument.product.to_string())],
    );
    let message = format!("the key or token does not allow {instrument}");
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// The caller may see some products, and the call is not about one of them.
pub(crate) fn not_for_restricted(what: &str) -> Status {
    let details = details("PRODUCT_NOT_ALLOWED", []);
    let message = format!("the key or token allows some products only: {what}");
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// The quota of connections is used up.
pub(crate) fn too_many_connections(max: u32) -> Status {
    let mut details = details("CONNECTIONS_QUOTA", [("limit", max.to_string())]);
    details.set_retry_info(Some(Duration::from_secs(1)));
    let message = format!("the key or token allows {max} connections at a time");
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The quota of calls is used up for now.
pub(crate) fn too_many_calls(wait: Duration) -> Status {
    let mut details = details("CALLS_QUOTA", []);
    details.set_retry_info(Some(wait));
    let message = format!("the quota of calls is used up for {} ms", wait.as_millis().max(1));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A stream of every message is faster than the quota of messages.
pub(crate) fn too_many_messages(per_second: u32) -> Status {
    let details = details("MESSAGES_QUOTA", [("limit", per_second.to_string())]);
    let message = format!("the key or token allows {per_second} messages a second; conflate, or follow less");
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The time of the caller is over in the middle of a stream.
pub(crate) fn ended(ended: Ended) -> Status {
    let (reason, message) = match ended {
        Ended::Expired => ("CREDENTIALS_EXPIRED", "the time of the key or token is over"),
        Ended::Revoked => ("CREDENTIALS_REVOKED", "the key or token was revoked or changed"),
    };
    Status::with_error_details(Code::Unauthenticated, message, details(reason, []))
}
