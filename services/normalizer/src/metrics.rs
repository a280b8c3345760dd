//! What a normalizer counts.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Ticks that went on, by shard.
pub(crate) const TICKS: &str = "ledgerflux_normalizer_ticks_total";
/// Ticks that were refused, by shard and reason.
pub(crate) const REJECTS: &str = "ledgerflux_normalizer_rejects_total";
/// Ticks that were seen before, by shard.
pub(crate) const DUPLICATES: &str = "ledgerflux_normalizer_duplicates_total";
/// Raw messages that only needed to be acknowledged again, by shard.
pub(crate) const REPEATED: &str = "ledgerflux_normalizer_repeated_messages_total";
/// New runs, by shard.
pub(crate) const NEW_RUNS: &str = "ledgerflux_normalizer_new_runs_total";
/// Gaps in the trades of a product, by shard and cause.
pub(crate) const GAPS: &str = "ledgerflux_normalizer_gaps_total";
/// Trades in those gaps, by shard.
pub(crate) const MISSING_TRADES: &str = "ledgerflux_normalizer_missing_trades_total";
/// Ticks of the live feed that came after their gap was told, and went out as fills, by shard.
pub(crate) const FILLED_LATE: &str = "ledgerflux_normalizer_filled_late_ticks_total";
/// Heartbeats that told of trades which no tick had told of, by shard.
pub(crate) const HEARTBEATS: &str = "ledgerflux_normalizer_heartbeats_total";
/// How often this process lost or took over a shard, by shard.
pub(crate) const OWNERSHIP_CHANGES: &str = "ledgerflux_normalizer_ownership_changes_total";
/// From the receipt of the newest tick of a batch to its publication, by shard.
pub(crate) const LATENCY: &str = "ledgerflux_normalizer_latency_seconds";
/// Raw messages that wait, by shard.
pub(crate) const BACKLOG: &str = "ledgerflux_normalizer_backlog_messages";

/// Whether it waits for the snapshotters to catch up: 1 or 0, by shard.
pub(crate) const PAUSED: &str = "ledgerflux_normalizer_paused";

/// Registers unit and help of each metric.
pub fn describe() {
    describe_counter!(TICKS, Unit::Count, "Ticks validated and published");
    describe_counter!(REJECTS, Unit::Count, "Ticks refused, by reason");
    describe_counter!(DUPLICATES, Unit::Count, "Ticks dropped because they were seen before");
    describe_counter!(REPEATED, Unit::Count, "Raw messages redelivered after they had gone out");
    describe_counter!(NEW_RUNS, Unit::Count, "Times the sequence of a product started anew");
    describe_counter!(GAPS, Unit::Count, "Gaps in the trades of a product, by cause");
    describe_counter!(MISSING_TRADES, Unit::Count, "Trades in gaps");
    describe_counter!(FILLED_LATE, Unit::Count, "Live ticks that came late into a gap and went out as fills");
    describe_counter!(HEARTBEATS, Unit::Count, "Heartbeats that told of trades no tick had told of");
    describe_counter!(OWNERSHIP_CHANGES, Unit::Count, "Times the shard was taken over or lost");
    describe_histogram!(LATENCY, Unit::Seconds, "From the receipt of a tick to its publication");
    describe_gauge!(PAUSED, "1 while it waits for the snapshotters to catch up");
    describe_gauge!(BACKLOG, Unit::Count, "Raw messages that wait for the normalizer");
}
