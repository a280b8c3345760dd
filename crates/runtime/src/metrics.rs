//! The metrics of this crate: what a process tells about itself, whatever its role.

use metrics::{Unit, describe_counter, describe_gauge};

/// When the process began to record metrics, in seconds since 1970.
pub const PROCESS_START_TIME_SECONDS: &str = "ledgerflux_process_start_time_seconds";
/// Always 1; the label `version` tells which build runs.
pub const BUILD_INFO: &str = "ledgerflux_build_info";
/// The memory of the process that is in RAM.
pub const PROCESS_RESIDENT_MEMORY_BYTES: &str = "ledgerflux_process_resident_memory_bytes";
/// Open files, sockets included.
pub const PROCESS_OPEN_FILES: &str = "ledgerflux_process_open_files";
/// Attempts that failed and are tried again; label `operation`.
pub const RUNTIME_RETRIES_TOTAL: &str = "ledgerflux_runtime_retries_total";
/// Tasks that failed; label `task`.
pub const RUNTIME_TASK_FAILURES_TOTAL: &str = "ledgerflux_runtime_task_failures_total";
/// Tasks that were started again after a failure; label `task`.
pub const RUNTIME_TASK_RESTARTS_TOTAL: &str = "ledgerflux_runtime_task_restarts_total";
/// 1 while the process is ready to do its job, else 0.
pub const RUNTIME_READY: &str = "ledgerflux_runtime_ready";
/// Connections to an HTTP listener that were not served to their end; label `reason`: `per_address` (too many of one address),
/// `handshake` (no TLS, or not in time), `cut` (silent, too slow, or against the protocol); and answers that were cut off: `stalled`
/// (the client does not read), `over` (the time of its caller was).
pub const RUNTIME_HTTP_REFUSED_TOTAL: &str = "ledgerflux_runtime_http_refused_total";

/// Every metric of this crate, for the test that compares dashboards and alerts with what exists.
pub const ALL: [&str; 9] = [
    PROCESS_START_TIME_SECONDS,
    BUILD_INFO,
    PROCESS_RESIDENT_MEMORY_BYTES,
    PROCESS_OPEN_FILES,
    RUNTIME_RETRIES_TOTAL,
    RUNTIME_TASK_FAILURES_TOTAL,
    RUNTIME_TASK_RESTARTS_TOTAL,
    RUNTIME_READY,
    RUNTIME_HTTP_REFUSED_TOTAL,
];

/// Gives the recorder the units and help texts.
pub fn describe() {
    describe_gauge!(
        PROCESS_START_TIME_SECONDS,
        Unit::Seconds,
        "When the process began to record metrics (since 1970)"
    );
    describe_gauge!(BUILD_INFO, "Always 1; the label tells which version runs");
    describe_gauge!(PROCESS_RESIDENT_MEMORY_BYTES, Unit::Bytes, "Memory of the process that is in RAM");
    describe_gauge!(PROCESS_OPEN_FILES, Unit::Count, "Open files of the process, sockets included");
    describe_counter!(RUNTIME_RETRIES_TOTAL, Unit::Count, "Attempts that failed and are tried again");
    describe_counter!(RUNTIME_TASK_FAILURES_TOTAL, Unit::Count, "Tasks that failed");
    describe_counter!(
        RUNTIME_TASK_RESTARTS_TOTAL,
        Unit::Count,
        "Tasks that were started again after a failure"
    );
    describe_gauge!(RUNTIME_READY, Unit::Count, "1 while the process is ready to do its job, else 0");
    describe_counter!(
        RUNTIME_HTTP_REFUSED_TOTAL,
        Unit::Count,
        "Connections and answers that were not served to their end, by reason"
    );
}
