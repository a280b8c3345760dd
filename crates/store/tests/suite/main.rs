//! One suite for the store, run on SQLite and on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod abandoned;
mod as_of;
mod bars;
mod candles;
mod completeness;
mod connecting;
mod database;
mod documented;
mod exactness;
mod gaps;
mod identity;
mod ledger;
mod newest;
mod pages;
mod partitions;
mod recomputation;
mod retention;
mod roles;
mod silent;
mod ticks;
mod trace;
mod writers;
