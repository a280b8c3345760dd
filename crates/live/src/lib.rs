//! The newest state of every product and a short ring of its newest ticks, in memory, and the engine that hands them to
//! subscribers at their own pace.
//!
//! [`LiveFeed`] is the entry type: it starts from the snapshots and the last ticks that the bus holds, follows the stream,
//! and answers "what is the newest" at once. A [`Subscription`] pulls from it: there is no queue and no task per
//! subscriber here, only a cursor into the ring for each product, so that a slow subscriber lags behind and delays nobody.
//!
//! It is no store: what has left the ring is read through the seam [`History`] when a subscription starts in the past
//! ([`Start`]); how the two are joined is told in `reader/catch_up.rs`. It knows no wire format either: [`LiveTick`]
//! keeps a slot for each [`Encoding`] that the gateway fills once and shares among all who receive it.
//!
//! The core ([`LiveState`], [`Reader`], [`TokenBucket`]) is synchronous and gets time as an argument.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod archive;
mod bucket;
mod candles;
mod config;
mod delivery;
mod epoch;
mod events;
mod feed;
mod follow;
mod health;
mod history;
pub mod metrics;
mod news;
mod reader;
mod ring;
mod start;
mod state;
mod subscription;
mod tick;
mod token;

pub use bucket::{Rate, TokenBucket};
pub use candles::{CandleBuilder, Closed};
pub use config::Config;
pub use delivery::{Delivery, Ended, Event, NotRecovered};
pub use epoch::Epoch;
pub use feed::LiveFeed;
pub use health::Health;
pub use history::{History, HistoryError, Since};
pub use reader::{Read, Reader, When};
pub use start::{Policy, Products, Start};
pub use state::{Applied, LiveState};
pub use subscription::Subscription;
pub use tick::{Encoding, LiveTick};
pub use token::{TOKEN_BYTES_MAX, Token, TokenError};
