//! What clients connect to: live prices over WebSocket, gRPC and grpc-web, the web page, and history calls forwarded to
//! query, all on one port.
//!
//! It holds no history and reads no database: what a client asks of the past comes from query. Everything live comes out of a [`live::LiveFeed`]: each client pulls from it at
//! its own pace, and no client has a queue that could grow. [`run`] is the entry point.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod access;
mod candles;
mod clients;
mod config;
mod grpc;
mod history;
pub mod metrics;
mod page;
mod serve;
mod status;
mod status_pages;
mod ws;

pub use config::{Config, FeedLabel};
pub use serve::{Error, run};
