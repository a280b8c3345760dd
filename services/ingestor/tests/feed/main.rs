//! The ingestor against the simulated exchange and an embedded bus.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backfill;
mod connections;
mod counts;
mod data;
mod outages;
mod support;
