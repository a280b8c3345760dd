//! An exchange that speaks the Coinbase feed protocol and serves its REST API on the same port: it replays a recording or generates a market, to several clients
//! at once, and keeps the ground truth of what it sent. It is no matching engine: nothing can be traded here.
//!
//! Entry: [`run`] with a [`Config`]; [`recorded_products`] tells what a recording can be asked for.
//!
//! What a client meets, as on the real exchange: it must subscribe within 5 s; it is told what it subscribed to; a wrong
//! request gets an `error` message and changes nothing; a client that does not read is disconnected.
//!
//! **REST** answers `/products` and `/products/{id}/trades` with the exchange's cursors and limits, from a bounded memory of
//! the newest trades, also of those that a client was never sent.
//!
//! **Faults** come from a [`FaultScript`]: what goes wrong, when, for how long, and for whom. The same seed makes the same
//! choices. What each kind does, and the form of the ground truth, is in `docs/simulator.md`.
//!
//! A **replay** starts with the first subscription and has one place for all clients: it pauses while nobody is
//! subscribed, and a later connection continues where it stands. Lines go out verbatim, left out are only those of
//! products a client did not subscribe to, and recorded answers to subscriptions. It waits for a slow reader instead of
//! dropping anything, until the reader's patience is over ([`Config::stall_timeout`]). Recorded pauses are kept (divided
//! by the speed) up to 2 s, so that a hole of years in a recording does not stall it. After the end the connections stay
//! open, with heartbeats that repeat the last sequence and trade of the recording. [`Mark`] is the form in which a recording
//! tells when its frames arrived.
//!
//! A **generated market** goes on whether or not anyone listens, except at the rate `max`, which is as fast as the
//! clients read. On subscribing to `ticker`, a client gets the ticker of the last trade at once.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod client;
mod clients;
mod config;
mod connection;
mod conversation;
mod error;
mod exchange;
mod faults;
mod generate;
mod listing;
pub mod metrics;
mod outlet;
mod pulse;
mod recording;
mod replay;
mod resettable;
mod rest;
mod server;
mod subscribing;
mod tape;
mod truth;
mod wire;

pub use config::{
    Config, GenerateConfig, InvalidRate, InvalidRestRate, InvalidSpeed, Rate, ReplayConfig, RestConfig,
    RestRate, Source, Speed, TlsFiles,
};
pub use error::Error;
pub use faults::{FaultProblem, FaultScript, InvalidFaults};
pub use recording::{Mark, RECORDING_FORMAT, RecordingError};
pub use server::{recorded_products, run};
