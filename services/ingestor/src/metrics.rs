//! What an ingestor counts.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Frames received; label `type`, as the exchange names them, `unknown` and `malformed`.
pub const FRAMES: &str = "ledgerflux_ingestor_frames_total";
/// Bytes of the frames received.
pub const RECEIVED_BYTES: &str = "ledgerflux_ingestor_received_bytes_total";
/// Ticks handed to the bus; label `product`.
pub const TICKS: &str = "ledgerflux_ingestor_ticks_total";
/// Frames that were refused and kept; label `reason`.
pub const REJECTS: &str = "ledgerflux_ingestor_rejects_total";
/// Refused frames and events that the broker never acknowledged; label `kind`: `reject`, `event`.
pub const OUTBOX_LOST: &str = "ledgerflux_ingestor_outbox_lost_total";
/// Complaints of the exchange.
pub const ERRORS: &str = "ledgerflux_ingestor_exchange_errors_total";
/// Attempts to connect; label `outcome`: `connected`, `failed`.
pub const CONNECTS: &str = "ledgerflux_ingestor_connects_total";
/// Connections that ended; label `reason`: `mute`, `refused`, `not_confirmed`, `closed`, `error`.
pub const RECONNECTS: &str = "ledgerflux_ingestor_reconnects_total";
/// 1 for the state that the feed is in, 0 for the others; label `state`.
pub const FEED_STATE: &str = "ledgerflux_ingestor_feed_state";
/// How long nothing has been heard of the exchange.
pub const FEED_SILENCE: &str = "ledgerflux_ingestor_feed_silence_seconds";
/// From the time of the exchange to the receipt of a tick.
pub const RECEIVE_LAG: &str = "ledgerflux_ingestor_receive_lag_seconds";
/// For how long at a time the socket was not read because the bus took nothing more; waits of less than a millisecond are
/// none.
pub const BACK_PRESSURE: &str = "ledgerflux_ingestor_back_pressure_seconds";
/// What was read and not handed to the bus before the end; label `kind`: `tick`, `reject`. Its trades lie in the gap that
/// the next start finds.
pub const GIVEN_UP: &str = "ledgerflux_ingestor_given_up_total";

/// Every metric of this crate, for the test that compares dashboards and alerts with what exists.
pub const ALL: [&str; 13] = [
    FRAMES,
    RECEIVED_BYTES,
    TICKS,
    REJECTS,
    OUTBOX_LOST,
    ERRORS,
    CONNECTS,
    RECONNECTS,
    FEED_STATE,
    FEED_SILENCE,
    RECEIVE_LAG,
    BACK_PRESSURE,
    GIVEN_UP,
];

/// Registers unit and help of each metric.
pub fn describe() {
    describe_counter!(FRAMES, Unit::Count, "Frames received from the exchange, by type");
    describe_counter!(RECEIVED_BYTES, Unit::Bytes, "Bytes of the frames received from the exchange");
    describe_counter!(TICKS, Unit::Count, "Ticks handed to the bus, by product");
    describe_counter!(REJECTS, Unit::Count, "Frames that were refused and kept, by reason");
    describe_counter!(
        OUTBOX_LOST,
        Unit::Count,
        "Refused frames and events that the broker never acknowledged"
    );
    describe_counter!(ERRORS, Unit::Count, "Complaints of the exchange");
    describe_counter!(CONNECTS, Unit::Count, "Attempts to connect to the exchange, by outcome");
    describe_counter!(RECONNECTS, Unit::Count, "Connections to the exchange that ended, by reason");
    describe_gauge!(FEED_STATE, Unit::Count, "1 for the state that the feed is in, else 0");
    describe_gauge!(FEED_SILENCE, Unit::Seconds, "How long nothing has been heard of the exchange");
    describe_histogram!(RECEIVE_LAG, Unit::Seconds, "From the time of the exchange to the receipt of a tick");
    describe_histogram!(
        BACK_PRESSURE,
        Unit::Seconds,
        "For how long at a time the socket was not read for want of room"
    );
    describe_counter!(
        GIVEN_UP,
        Unit::Count,
        "Ticks and refused frames that were read and not handed to the bus before the end, by kind"
    );
}
