//! What is known of an exchange, without I/O: its messages, their parsers, and the session that keeps its feed alive.
//!
//! There is no socket, clock or task here. Frames and the time come in, [`coinbase::Action`]s come out, so reconnects,
//! deadlines and faults are tested without a network and without waiting. Entry type: [`coinbase::Session`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
#![deny(clippy::float_arithmetic)]

pub mod coinbase;
mod moment;

pub use moment::Moment;
