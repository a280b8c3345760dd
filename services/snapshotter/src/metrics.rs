//! What a snapshotter counts.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Ticks stored, by shard.
pub(crate) const TICKS: &str = "ledgerflux_snapshotter_ticks_total";
/// Ticks that were stored before, by shard.
pub(crate) const DUPLICATES: &str = "ledgerflux_snapshotter_duplicates_total";
/// Messages or ticks that were refused, by shard and reason.
pub(crate) const REJECTS: &str = "ledgerflux_snapshotter_rejects_total";
/// Failed attempts to write, by shard.
pub(crate) const RETRIES: &str = "ledgerflux_snapshotter_write_retries_total";
/// Snapshots published, by shard.
pub(crate) const SNAPSHOTS: &str = "ledgerflux_snapshotter_snapshots_total";
/// From the receipt of the newest tick of a batch to its commit, by shard.
pub(crate) const LATENCY: &str = "ledgerflux_snapshotter_latency_seconds";
/// Gaps that are recorded, by product and state.
pub(crate) const GAPS: &str = "ledgerflux_snapshotter_gaps";
/// Trades that are missing in them, by product and state of the gap.
pub(crate) const MISSING_TRADES: &str = "ledgerflux_snapshotter_missing_trades";
/// Trades that were missing and are stored now, by product.
pub(crate) const REPAIRED_TRADES: &str = "ledgerflux_snapshotter_repaired_trades";
/// Messages that wait, by shard.
pub(crate) const BACKLOG: &str = "ledgerflux_snapshotter_backlog_messages";

/// Registers unit and help of each metric.
pub fn describe() {
    describe_counter!(TICKS, Unit::Count, "Ticks stored");
    describe_counter!(DUPLICATES, Unit::Count, "Ticks that the database held already");
    describe_counter!(REJECTS, Unit::Count, "Messages and ticks refused, by reason");
    describe_counter!(RETRIES, Unit::Count, "Failed attempts to write to the database");
    describe_counter!(SNAPSHOTS, Unit::Count, "Snapshots published");
    describe_histogram!(LATENCY, Unit::Seconds, "From the receipt of a tick to its commit");
    describe_gauge!(GAPS, Unit::Count, "Gaps in the trades of a product: open, repaired or unrepairable");
    describe_gauge!(MISSING_TRADES, Unit::Count, "Trades of a product that are missing in its gaps");
    describe_gauge!(
        REPAIRED_TRADES,
        Unit::Count,
        "Trades of a product that were missing and came afterwards"
    );
    describe_gauge!(BACKLOG, Unit::Count, "Messages that wait for the snapshotter");
}
