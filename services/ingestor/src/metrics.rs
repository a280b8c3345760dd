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
/// Connections that ended; label `reason`: `mute`, `refused`, `not_confirmed`, `closed`, `error`, `unneeded`.
pub const RECONNECTS: &str = "ledgerflux_ingestor_reconnects_total";
/// 1 for the state that the feed is in, 0 for the others; label `state`.
pub const FEED_STATE: &str = "ledgerflux_ingestor_feed_state";
/// The state of each product: 0 connecting, 1 live, 2 stale, 3 backing off, -1 not followed any more; label `product`.
pub const PRODUCT_STATE: &str = "ledgerflux_ingestor_product_state";
/// The state of each connection, in the same numbers; label `connection`, from 1.
pub const CONNECTION_STATE: &str = "ledgerflux_ingestor_connection_state";
/// First tickers after subscribing that told a trade which was emitted already.
pub const KNOWN: &str = "ledgerflux_ingestor_known_tickers_total";
/// Heartbeats that told of trades which had not come by the next one, passed on.
pub const OVERDUE: &str = "ledgerflux_ingestor_overdue_heartbeats_total";
/// Requests to the REST API; label `outcome`: `answered`, `rate_limited`, `refused`, `unusable`, `timed_out`, `failed`.
pub const REST_REQUESTS: &str = "ledgerflux_ingestor_rest_requests_total";
/// Configured products that the exchange does not list.
pub const UNKNOWN_PRODUCTS: &str = "ledgerflux_ingestor_unknown_products";
/// Gaps that are to be fetched.
pub const BACKFILL_GAPS: &str = "ledgerflux_ingestor_backfill_gaps";
/// Trades that were fetched and handed to the bus; label `product`.
pub const BACKFILLED: &str = "ledgerflux_ingestor_backfilled_trades_total";
/// Gaps, or parts of them, that were given up; label `reason`: `gone` (the exchange has not got it), `too_large`.
pub const UNREPAIRABLE: &str = "ledgerflux_ingestor_unrepairable_gaps_total";
/// Gaps that were put off because too many are to be fetched.
pub const BACKFILL_PUT_OFF: &str = "ledgerflux_ingestor_backfill_put_off_total";
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
pub const ALL: [&str; 23] = [
    FRAMES,
    RECEIVED_BYTES,
    TICKS,
    REJECTS,
    OUTBOX_LOST,
    ERRORS,
    CONNECTS,
    RECONNECTS,
    FEED_STATE,
    PRODUCT_STATE,
    CONNECTION_STATE,
    KNOWN,
    OVERDUE,
    REST_REQUESTS,
    UNKNOWN_PRODUCTS,
    BACKFILL_GAPS,
    BACKFILLED,
    UNREPAIRABLE,
    BACKFILL_PUT_OFF,
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
    describe_gauge!(
        PRODUCT_STATE,
        Unit::Count,
        "The state of a product: 0 connecting, 1 live, 2 stale, 3 backing off, -1 not followed any more"
    );
    describe_gauge!(
        CONNECTION_STATE,
        Unit::Count,
        "The state of a connection: 0 connecting, 1 live, 2 stale, 3 backing off, -1 not needed any more"
    );
    describe_counter!(
        KNOWN,
        Unit::Count,
        "First tickers after subscribing that told a trade which was emitted already"
    );
    describe_counter!(
        OVERDUE,
        Unit::Count,
        "Heartbeats that told of trades which had not come by the next one"
    );
    describe_counter!(REST_REQUESTS, Unit::Count, "Requests to the REST API of the exchange, by outcome");
    describe_gauge!(UNKNOWN_PRODUCTS, Unit::Count, "Configured products that the exchange does not list");
    describe_gauge!(BACKFILL_GAPS, Unit::Count, "Gaps whose trades are to be fetched");
    describe_counter!(BACKFILLED, Unit::Count, "Trades fetched afterwards and handed to the bus, by product");
    describe_counter!(UNREPAIRABLE, Unit::Count, "Gaps that were given up, by reason");
    describe_counter!(
        BACKFILL_PUT_OFF,
        Unit::Count,
        "Gaps that were put off because too many are to be fetched"
    );
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
