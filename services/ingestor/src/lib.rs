//! The ingestor: holds the connection to the exchange, turns frames into raw ticks, and never lets the feed go silent.
//!
//! It decides nothing about the content: the protocol is in `venues`, validation and order are the normalizer's. What
//! it adds is the socket, the clock, and patience: [`run`] connects, subscribes, reads, and begins again with a capped
//! and jittered backoff whenever a connection ends.
//!
//! Bounds: ticks wait in the publisher's buffer, refused frames and events in the outbox. When either is full the socket
//! is read no further until there is room; nothing that was read is dropped silently.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod config;
mod connect;
mod counters;
mod error;
mod feed;
pub mod metrics;
mod outbox;
mod reading;
mod status;
mod surroundings;

pub use config::Config;
pub use connect::ConnectError;
pub use error::Error;
pub use feed::run;
