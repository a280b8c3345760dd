//! The snapshotter: the one writer of a shard. It stores every tick, the minute bars and the latest state in one
//! transaction per batch, acknowledges what is committed, and publishes snapshots. It keeps the ledger: it records the gaps that
//! are announced, and tells when the last trade of one is stored.
//!
//! [`run`] is the entry for one shard; [`retention`] runs beside it, once per database.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod attempt;
mod config;
mod latest;
mod ledger;
pub mod metrics;
mod overrun;
mod owner;
mod recovery;
mod retention;
mod untold;
mod worker;
mod write;

pub use config::Config;
pub use retention::retention;
pub use worker::{Error, run};
