//! One suite for the store, run on SQLite and on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bars;
mod connecting;
mod database;
mod exactness;
mod gaps;
mod identity;
mod newest;
mod pages;
mod partitions;
mod recomputation;
mod retention;
mod ticks;
mod writers;
