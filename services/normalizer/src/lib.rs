//! The normalizer: the one owner of a shard. It validates raw ticks, puts them in order, drops duplicates, files what is
//! wrong under its reason, tells which trades are missing, and publishes the rest.
//!
//! It keeps no state of its own: positions are recovered from what it has published. [`run`] is the entry; the rules are
//! in `normalise` and `product`, which do no I/O.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod attempt;
mod config;
pub mod metrics;
mod normalise;
mod owner;
mod pause;
mod pending;
mod product;
mod refusals;
mod round;
mod worker;

pub use config::Config;
pub use worker::{Error, run};
