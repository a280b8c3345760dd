//! What a query service counts.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Calls, by method and code.
pub(crate) const CALLS: &str = "ledgerflux_query_calls_total";
/// How long calls took, by method.
pub(crate) const DURATION: &str = "ledgerflux_query_call_duration_seconds";
/// Calls in progress, by method.
pub(crate) const IN_PROGRESS: &str = "ledgerflux_query_calls_in_progress";
/// Calls refused because of the limit, by what is limited.
pub(crate) const SHED: &str = "ledgerflux_query_calls_shed_total";

/// Registers unit and help of each metric.
pub fn describe() {
    describe_counter!(CALLS, Unit::Count, "Calls that have ended, by method and code");
    describe_histogram!(DURATION, Unit::Seconds, "How long a call took until its answer began");
    describe_gauge!(IN_PROGRESS, Unit::Count, "Calls in progress, by method; streams until their end");
    describe_counter!(SHED, Unit::Count, "Calls refused because as many as may be were in progress");
}
