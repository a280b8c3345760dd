//! The Coinbase Exchange WebSocket feed, as documented at docs.cdp.coinbase.com ("Exchange WebSocket feed": overview,
//! channels, rate limits, best practices, errors; read in November 2026) and as recorded in 2019, 2021, 2023 and 2026.
//!
//! The rules that the code refers to by number:
//!
//! 1. A subscribe message must arrive within 5 s of connecting, or the server disconnects.
//! 2. The answer is a `subscriptions` message that lists every channel with its products, in any order; `level2_batch`
//!    is confirmed as `level2_50`. Later answers list everything again.
//! 3. New message types may be added at any time; clients ignore those they do not know.
//! 4. An `error` message has a `message` and sometimes a `reason`. A subscription that names an invalid channel or
//!    product is refused as a whole.
//! 5. Prices and sizes are JSON strings; `sequence`, `trade_id` and `last_trade_id` are JSON numbers.
//! 6. A feed may go mute without closing; heartbeats, one per product and second, tell a mute feed from a quiet market.
//! 7. Messages of several MiB occur: a book snapshot of 42,390 levels took 1.1 MB.

mod fault;
mod field;
mod instruments;
mod kind;
mod message;
mod parse;
mod request;
pub mod rest;
mod session;
mod ticker;

pub use fault::FrameFault;
pub use field::Field;
pub use instruments::Instruments;
pub use kind::FrameKind;
pub use message::{ConfirmedChannel, ErrorMessage, HeartbeatMessage, Outline, Subscriptions, TickerMessage};
pub use parse::{Message, outline, parse};
pub use request::{ChannelRequest, Request, RequestFault, RequestKind};
pub use session::{Action, ReconnectReason, Session, SessionConfig, StateChange};

/// Where the public feed is served; no authentication is needed.
pub const LIVE_URL: &str = "wss://ws-feed.exchange.coinbase.com";

/// The longest frame that is read, in bytes (rule 7, with room to grow).
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The channels of the feed that need no authentication, by the names that subscriptions use.
pub const CHANNELS: [&str; 8] =
    ["ticker", "ticker_batch", "heartbeat", "matches", "level2_batch", "level2", "status", "full"];

/// The channels whose messages become ticks.
pub const TICK_CHANNELS: [&str; 2] = ["ticker", "ticker_batch"];

/// The name under which the exchange confirms a subscription to `channel` (rule 2).
pub fn confirmed_name(channel: &str) -> &str {
    if channel == "level2_batch" { "level2_50" } else { channel }
}
