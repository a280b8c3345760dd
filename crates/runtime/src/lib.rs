//! What every process of LedgerFlux needs to run well, and nothing about markets: configuration, telemetry, the
//! operations endpoints, readiness, ordered shutdown, named tasks, retries, listeners, the data directory's lock, TLS.
//!
//! It depends on no other crate of the workspace and knows no ticks. A role's `run` gets a [`RoleContext`]; the binary
//! builds it, after it has read every section of the configuration through [`config::Sources`] and started
//! [`telemetry`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
mod context;
mod error_chain;
pub mod host;
pub mod http;
pub mod listen;
pub mod lock;
mod log_gate;
pub mod metrics;
pub mod ops;
mod readiness;
pub mod retry;
mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use context::RoleContext;
pub use error_chain::ErrorChain;
pub use log_gate::LogGate;
pub use readiness::{Latch, LatchReport, Readiness, Report};
pub use retry::Backoff;
pub use shutdown::{Shutdown, drain_step};
pub use tasks::TaskSet;
