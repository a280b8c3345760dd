//! History and the newest state of each market, in PostgreSQL or SQLite, through the same entities and the same queries.
//!
//! The entry is [`Store`]: [`Store::write`] stores a batch of ticks exactly once, along with everything that follows from
//! them, and the other methods read. Migrations are not applied here; [`Store::connect`] refuses a database that lacks
//! some. Nothing here knows of the bus, of configuration files or of the wire.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
#![deny(clippy::float_arithmetic)]

mod abandoned;
mod as_of;
mod candles;
mod completeness;
mod config;
mod connect;
pub mod entity;
mod error;
mod gaps;
mod latest;
mod ledger;
mod measure;
mod meta;
pub mod metrics;
mod partitions;
mod patience;
mod retention;
mod row;
mod snapshots;
mod state;
mod ticks;
mod trace;
mod turns;
mod write;

pub use as_of::AsOf;
pub use candles::CandleQuery;
pub use completeness::TradeAt;
pub use config::{Config, PARTITION_WIDTH_DEFAULT};
pub use connect::Store;
pub use error::{NotStorable, StoreError};
pub use gaps::{GapKey, GapQuery, GapTotals, OpenGaps};
pub use latest::LatestPrice;
pub use measure::Measures;
pub use retention::RetentionReport;
pub use ticks::{HistoryKey, Order, TICKS_LIMIT_MAX, TickQuery, TickRange};
pub use trace::{StoredTick, TickNumber};
pub use write::{TickRow, WriteBatch, Written};
