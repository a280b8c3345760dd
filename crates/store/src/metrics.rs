//! The metrics of the store.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};

/// Batches that were committed.
pub const BATCHES: &str = "ledgerflux_store_batches_total";
/// Ticks that were stored for the first time.
pub const TICKS_INSERTED: &str = "ledgerflux_store_ticks_inserted_total";
/// Ticks that were stored already.
pub const DUPLICATES: &str = "ledgerflux_store_duplicates_total";
/// Ticks that were not stored because they are older than the horizon.
pub const TOO_OLD: &str = "ledgerflux_store_too_old_total";
/// From the call to the commit of a batch, in seconds.
pub const WRITE_DURATION: &str = "ledgerflux_store_write_duration_seconds";
/// Batches that were not committed.
pub const WRITE_FAILURES: &str = "ledgerflux_store_write_failures_total";
/// Trades that a bar could not take because a sum would exceed 28 digits.
pub const BAR_OVERFLOWS: &str = "ledgerflux_store_bar_overflows_total";
/// Partitions that were made.
pub const PARTITIONS_CREATED: &str = "ledgerflux_store_partitions_created_total";
/// Partitions that were not made, so that their ticks went to the default one.
pub const PARTITIONS_SKIPPED: &str = "ledgerflux_store_partitions_skipped_total";
/// Attempts to attach or drop a partition that gave way to those who use the table.
pub const PARTITION_LOCK_RETRIES: &str = "ledgerflux_store_partition_lock_retries_total";
/// Partitions that retention dropped.
pub const PARTITIONS_DROPPED: &str = "ledgerflux_store_retention_partitions_dropped_total";
/// Rows that retention deleted.
pub const ROWS_DROPPED: &str = "ledgerflux_store_retention_rows_dropped_total";
/// Ticks in the default partition, up to 100,000; there should be none.
pub const DEFAULT_PARTITION_ROWS: &str = "ledgerflux_store_default_partition_rows";
/// What history takes on disk, in bytes.
pub const SIZE: &str = "ledgerflux_store_size_bytes";

/// Tells the recorder unit and help of each metric.
pub fn describe() {
    describe_counter!(BATCHES, Unit::Count, "Batches of ticks that were committed");
    describe_counter!(TICKS_INSERTED, Unit::Count, "Ticks that were stored for the first time");
    describe_counter!(DUPLICATES, Unit::Count, "Ticks that were stored already");
    describe_counter!(
        TOO_OLD,
        Unit::Count,
        "Ticks not stored because they are older than the horizon of history: refused, or left to the gap of their trade"
    );
    describe_histogram!(WRITE_DURATION, Unit::Seconds, "Time from the call to the commit of a batch");
    describe_counter!(WRITE_FAILURES, Unit::Count, "Batches that were not committed");
    describe_counter!(
        BAR_OVERFLOWS,
        Unit::Count,
        "Trades left out of a bar whose sums would exceed 28 digits"
    );
    describe_counter!(PARTITIONS_CREATED, Unit::Count, "Partitions of tick_history that were made");
    describe_counter!(
        PARTITIONS_SKIPPED,
        Unit::Count,
        "Partitions that were not made: their ticks went to the default one"
    );
    describe_counter!(
        PARTITION_LOCK_RETRIES,
        Unit::Count,
        "Attempts to attach or drop a partition that gave way to those who use the table"
    );
    describe_counter!(PARTITIONS_DROPPED, Unit::Count, "Partitions that retention dropped");
    describe_counter!(ROWS_DROPPED, Unit::Count, "Rows that retention deleted");
    describe_gauge!(
        DEFAULT_PARTITION_ROWS,
        Unit::Count,
        "Ticks in the default partition, which should be none; counted up to 100,000"
    );
    describe_gauge!(SIZE, Unit::Bytes, "What history takes on disk, with its indexes");
}

pub(crate) fn written(inserted: usize, duplicates: usize, too_old: usize, took: Duration) {
    counter!(BATCHES).increment(1);
    counter!(TICKS_INSERTED).increment(count(inserted));
    counter!(DUPLICATES).increment(count(duplicates));
    counter!(TOO_OLD).increment(count(too_old));
    histogram!(WRITE_DURATION).record(took);
}

pub(crate) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
