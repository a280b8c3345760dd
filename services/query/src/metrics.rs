//! What a query service counts.

use metrics::{Unit, describe_counter, describe_histogram};

/// Calls, by method and code.
pub(crate) const CALLS: &str = "ledgerflux_query_calls_total";
/// How long calls took, by method.
pub(crate) const DURATION: &str = "ledgerflux_query_call_duration_seconds";

/// Registers unit and help of each metric.
pub fn describe() {
    describe_counter!(CALLS, Unit::Count, "Calls answered, by method and code");
    describe_histogram!(DURATION, Unit::Seconds, "How long a call took until its answer began");
}
