//! The query service: what is stored, and the latest price, over gRPC.
//!
//! It reads the database and follows the live stream; it writes neither. [`run`] is the entry. Handlers decode, call and
//! encode; what is found where stands in `market`, and every error is made in `errors`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod board;
mod calls;
mod candles;
mod config;
mod errors;
mod gaps;
mod history;
mod market;
pub mod metrics;
mod open_gaps;
mod page;
mod pipeline;
mod products;
mod request;
mod serve;
mod service;

pub use config::Config;
pub use serve::{Error, run};
