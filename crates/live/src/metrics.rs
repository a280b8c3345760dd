//! The metrics of this crate. They carry no label of the role: each process that serves live data follows the stream on its
//! own. Where query and gateway share a process, there are two feeds and the counters count both.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Ticks that moved a product on.
pub const TICKS: &str = "ledgerflux_live_ticks_total";
/// Ticks that were left out, by `reason`: `old`, `backfilled`, `too_many_products`.
pub const TICKS_LEFT_OUT: &str = "ledgerflux_live_ticks_left_out_total";
/// Ticks that left a ring to make room.
pub const EVICTIONS: &str = "ledgerflux_live_ring_evictions_total";
/// Snapshots that made a product known or moved it on, because the stream of ticks did not hold what they tell.
pub const SNAPSHOTS: &str = "ledgerflux_live_snapshots_total";
/// Products that are known.
pub const PRODUCTS: &str = "ledgerflux_live_products";
/// How often following a stream failed and was begun again, by `stream`.
pub const RESTARTS: &str = "ledgerflux_live_follow_restarts_total";
/// How often the stream no longer had what comes next, so that the state was taken from the last messages instead.
pub const REFILLS: &str = "ledgerflux_live_refills_total";
/// Messages of the stream that are still to be read.
pub const PENDING: &str = "ledgerflux_live_pending_messages";
/// Reads of history for subscribers that start in the past, by `outcome`: `read`, `behind` (not stored yet), `never` (no
/// longer there), `failed`.
pub const HISTORY_READS: &str = "ledgerflux_live_history_reads_total";
/// Ticks that were read from history for subscribers.
pub const HISTORY_TICKS: &str = "ledgerflux_live_history_ticks_total";
/// How long a read of history took.
pub const HISTORY_READ: &str = "ledgerflux_live_history_read_seconds";
/// Subscriptions to a product that could not start where they wanted to, or whose past ended in the middle, by `outcome`:
/// `not_recovered`, `interrupted`.
pub const NOT_RECOVERED: &str = "ledgerflux_live_not_recovered_total";

/// Tells the recorder what the metrics mean.
pub fn describe() {
    describe_counter!(TICKS, Unit::Count, "Ticks that moved a product on");
    describe_counter!(TICKS_LEFT_OUT, Unit::Count, "Ticks left out of the live feed, by reason");
    describe_counter!(EVICTIONS, Unit::Count, "Ticks that left a ring to make room");
    describe_counter!(
        SNAPSHOTS,
        Unit::Count,
        "Snapshots that moved a product on, because its ticks were not in the stream"
    );
    describe_gauge!(PRODUCTS, Unit::Count, "Products that are known to the live feed");
    describe_counter!(RESTARTS, Unit::Count, "Times that following a stream was begun again, by stream");
    describe_counter!(
        REFILLS,
        Unit::Count,
        "Times that the stream had lost messages and the state was filled anew"
    );
    describe_gauge!(PENDING, Unit::Count, "Messages of the tick stream that are still to be read");
    describe_counter!(HISTORY_READS, Unit::Count, "Reads of history for subscribers, by outcome");
    describe_counter!(HISTORY_TICKS, Unit::Count, "Ticks read from history for subscribers");
    describe_histogram!(HISTORY_READ, Unit::Seconds, "How long a read of history took");
    describe_counter!(NOT_RECOVERED, Unit::Count, "Products whose past could not be given, by outcome");
}
