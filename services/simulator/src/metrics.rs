//! What the simulator counts.

use metrics::{Unit, describe_counter, describe_gauge};

/// Clients that are connected.
pub const CLIENTS: &str = "ledgerflux_simulator_clients";
/// Messages handed to clients.
pub const MESSAGES: &str = "ledgerflux_simulator_messages_total";
/// Bytes of the messages handed to clients.
pub const BYTES: &str = "ledgerflux_simulator_sent_bytes_total";
/// Tickers sent to at least one client.
pub const TICKERS: &str = "ledgerflux_simulator_tickers_total";
/// Requests of clients; label `outcome`: `accepted`, `refused`.
pub const REQUESTS: &str = "ledgerflux_simulator_requests_total";
/// Clients that were disconnected; label `reason`: `slow`, `not_subscribed`, `too_many`, `handshake`, `fault`.
pub const DISCONNECTS: &str = "ledgerflux_simulator_disconnects_total";

/// Requests to REST; label `outcome`: `ok`, `not_found`, `too_many`, `refused`, `failed`.
pub const REST_REQUESTS: &str = "ledgerflux_simulator_rest_requests_total";

/// Faults that began or happened.
pub const FAULTS: &str = "ledgerflux_simulator_faults_total";
/// Trades that a fault kept from at least one client.
pub const KEPT_BACK: &str = "ledgerflux_simulator_kept_back_total";

/// Every metric of this crate, for the test that compares dashboards and alerts with what exists.
pub const ALL: [&str; 9] =
    [CLIENTS, MESSAGES, BYTES, TICKERS, REQUESTS, DISCONNECTS, REST_REQUESTS, FAULTS, KEPT_BACK];

/// Registers unit and help of each metric.
pub fn describe() {
    describe_gauge!(CLIENTS, Unit::Count, "Clients that are connected to the simulator");
    describe_counter!(MESSAGES, Unit::Count, "Messages handed to clients");
    describe_counter!(BYTES, Unit::Bytes, "Bytes of the messages handed to clients");
    describe_counter!(TICKERS, Unit::Count, "Tickers sent to at least one client");
    describe_counter!(REQUESTS, Unit::Count, "Requests of clients, by outcome");
    describe_counter!(FAULTS, Unit::Count, "Scripted faults that began or happened");
    describe_counter!(KEPT_BACK, Unit::Count, "Trades that a fault kept from at least one client");
    describe_counter!(REST_REQUESTS, Unit::Count, "Requests to REST, by outcome");
    describe_counter!(DISCONNECTS, Unit::Count, "Clients that the simulator disconnected, by reason");
}
