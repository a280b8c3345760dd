//! The ingestor: holds the connections to the exchange, turns frames into raw ticks, and never lets the feed go silent.
//!
//! It decides nothing about the content: the protocol is in `venues`, validation and order are the normalizer's. What
//! it adds is the sockets, the clock, and patience: [`run`] spreads the products over connections; each of them subscribes,
//! reads, and begins again with a capped and jittered backoff whenever it ends. Beside them it asks the exchange's REST API
//! what its products are, and for the trades that are missing. [`record`] holds the same connections for whoever wants the
//! frames themselves, and publishes nothing.
//!
//! Bounds: ticks wait in the publisher's buffer of their connection, refused frames and events in the outbox. When either
//! is full the socket is read no further until there is room; nothing that was read is dropped silently. Gaps to be fetched
//! wait in a queue of [`BACKFILL_GAPS_MAX`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod backfill;
mod config;
mod connect;
mod counters;
mod details;
mod error;
mod feed;
mod groups;
pub mod metrics;
mod outbox;
mod outlet;
mod pace;
mod reading;
mod rest;
mod slot;
mod status;
mod surroundings;

pub use backfill::BACKFILL_GAPS_MAX;
pub use config::{Config, RestUrl};
pub use connect::ConnectError;
pub use error::Error;
pub use feed::{record, run, run_following};
pub use outlet::Heard;
