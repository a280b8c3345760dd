//! From the past into the present over gRPC, with a real query service over a real store.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod candles;
mod page;
mod subscribe;
mod world;
