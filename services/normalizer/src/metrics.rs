//! What a normalizer counts.

use std::sync::{Mutex, PoisonError};

use domain::LEGS_MAX;
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
/// Ticks and heartbeats that wait for trades which another ingestor may still bring, by shard.
pub(crate) const HELD: &str = "ledgerflux_normalizer_held_ticks";
/// How often so much was held back that what was missing before it was given up, by shard.
pub(crate) const HOLDS_FULL: &str = "ledgerflux_normalizer_holds_full_total";
/// Ticks that this ingestor brought first, by shard and leg.
pub(crate) const LEG_WINS: &str = "ledgerflux_normalizer_leg_first_ticks_total";
/// Ticks that no other ingestor brought though several were there, by shard and leg.
pub(crate) const LEG_ALONE: &str = "ledgerflux_normalizer_leg_only_ticks_total";
/// How much later than another ingestor this one had received a tick, by shard and leg.
pub(crate) const LEG_LAG: &str = "ledgerflux_normalizer_leg_lag_seconds";
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
    describe_counter!(
        FILLED_LATE,
        Unit::Count,
        "Live ticks whose place had passed and that went out as fills"
    );
    describe_counter!(HEARTBEATS, Unit::Count, "Heartbeats that told of trades no tick had told of");
    describe_gauge!(HELD, Unit::Count, "Ticks that wait for trades which another ingestor may still bring");
    describe_counter!(
        HOLDS_FULL,
        Unit::Count,
        "Times that missing trades were given up because too much waited"
    );
    describe_counter!(LEG_WINS, Unit::Count, "Ticks that an ingestor brought first, by leg");
    describe_counter!(LEG_ALONE, Unit::Count, "Ticks that only one of several ingestors brought, by leg");
    describe_histogram!(
        LEG_LAG,
        Unit::Seconds,
        "How much later than another one an ingestor received a tick"
    );
    describe_counter!(OWNERSHIP_CHANGES, Unit::Count, "Times the shard was taken over or lost");
    describe_histogram!(LATENCY, Unit::Seconds, "From the receipt of a tick to its publication");
    describe_gauge!(PAUSED, "1 while it waits for the snapshotters to catch up");
    describe_gauge!(BACKLOG, Unit::Count, "Raw messages that wait for the normalizer");
}

/// The label `leg` is the instance of an ingestor. Each start of one has a new name, so that only the first few of a
/// process get a label of their own.
#[derive(Debug, Default)]
pub(crate) struct LegLabels {
    named: Mutex<Vec<String>>,
}

impl LegLabels {
    /// The label of an ingestor: its instance, or `other`.
    pub(crate) fn label(&self, instance: &str) -> String {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.iter().any(|name| name == instance) {
            return instance.to_owned();
        }
        if named.len() == LEGS_MAX {
            return "other".to_owned();
        }
        named.push(instance.to_owned());
        instance.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_legs_are_bounded() {
        let labels = LegLabels::default();
        for number in 0..20 {
            labels.label(&format!("host-{number}"));
        }
        assert_eq!((labels.label("host-0"), labels.label("host-9")), ("host-0".into(), "other".into()));
    }
}
