//! The metrics of the gateway.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Clients that are connected, by `transport`: `websocket`, `grpc`, `grpc_web`.
pub const CLIENTS: &str = "ledgerflux_gateway_clients";
/// Clients that were turned away because there are too many, by `transport`.
pub const CLIENTS_REFUSED: &str = "ledgerflux_gateway_clients_refused_total";
/// Ticks, snapshots and events sent, by `transport`.
pub const SENT: &str = "ledgerflux_gateway_sent_total";
/// Ticks that were conflated away because a client was too slow, by `transport`.
pub const SKIPPED: &str = "ledgerflux_gateway_skipped_ticks_total";
/// How often a client's token bucket ran empty, by `transport`.
pub const RATE_LIMITED: &str = "ledgerflux_gateway_rate_limited_total";
/// From the arrival of the newest tick of a write at the ingestor to the write, by `transport`.
pub const LAG: &str = "ledgerflux_gateway_send_lag_seconds";
/// Errors told to clients, by `code` of the WebSocket protocol or of gRPC.
pub const ERRORS: &str = "ledgerflux_gateway_errors_total";
/// How WebSocket connections ended, by `reason`.
pub const CLOSED: &str = "ledgerflux_gateway_websocket_closed_total";
/// Calls that were forwarded to query, by `outcome`: `answered`, `unreachable`, `timeout`, `shed`, `denied`.
pub const FORWARDED: &str = "ledgerflux_gateway_forwarded_total";
/// Attempts to ask query again, by `cause`: `unreachable`, `unavailable`.
pub const FORWARD_RETRIES: &str = "ledgerflux_gateway_forward_retries_total";
/// Answers that broke off with a part of them given, because their instance of query died.
pub const FORWARD_CUT: &str = "ledgerflux_gateway_forwarded_cut_total";
/// Instances of query, by `state`: `up`, `down`.
pub const QUERY_INSTANCES: &str = "ledgerflux_gateway_query_instances";
/// Requests whose credentials let nobody in, by `reason`: `missing`, `unknown`, `expired`, `invalid`.
pub const AUTH_REFUSED: &str = "ledgerflux_gateway_auth_refused_total";
/// Requests from pages that may not call.
pub const ORIGIN_REFUSED: &str = "ledgerflux_gateway_origin_refused_total";
/// Streams and WebSockets that were ended because the time of their caller was over, by `reason`: `expired`, `revoked`.
pub const ACCESS_ENDED: &str = "ledgerflux_gateway_access_ended_total";
/// What was refused because a key or token allows no more, by `quota`: `connections`, `calls`, `messages`, `products`.
pub const QUOTA_REFUSED: &str = "ledgerflux_gateway_quota_refused_total";

/// Tells the recorder what the metrics mean.
pub fn describe() {
    describe_gauge!(CLIENTS, Unit::Count, "Clients that are connected, by transport");
    describe_counter!(
        CLIENTS_REFUSED,
        Unit::Count,
        "Clients turned away because there are too many, by transport"
    );
    describe_counter!(SENT, Unit::Count, "Ticks, snapshots and events sent to clients, by transport");
    describe_counter!(SKIPPED, Unit::Count, "Ticks conflated away for slow clients, by transport");
    describe_counter!(
        RATE_LIMITED,
        Unit::Count,
        "Times that a client's token bucket ran empty, by transport"
    );
    describe_histogram!(
        LAG,
        Unit::Seconds,
        "From the arrival of a tick at the ingestor to its write to a client"
    );
    describe_counter!(ERRORS, Unit::Count, "Errors told to clients, by code");
    describe_counter!(CLOSED, Unit::Count, "WebSocket connections that ended, by reason");
    describe_counter!(FORWARDED, Unit::Count, "Calls forwarded to query, by outcome");
    describe_counter!(FORWARD_RETRIES, Unit::Count, "Attempts to ask query again, by cause");
    describe_counter!(
        FORWARD_CUT,
        Unit::Count,
        "Answers that broke off after their beginning, because their instance of query died"
    );
    describe_gauge!(QUERY_INSTANCES, Unit::Count, "Instances of query, by state");
    describe_counter!(AUTH_REFUSED, Unit::Count, "Requests whose credentials let nobody in, by reason");
    describe_counter!(ORIGIN_REFUSED, Unit::Count, "Requests from pages that may not call");
    describe_counter!(
        ACCESS_ENDED,
        Unit::Count,
        "Streams ended because a key or token expired or was revoked"
    );
    describe_counter!(QUOTA_REFUSED, Unit::Count, "What a key or token allows no more of, by quota");
}
