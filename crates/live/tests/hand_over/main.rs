//! From the past into the present: whatever the store's lag, the size of memory, the pace of the market and the restarts, a
//! subscriber is given every tick once and in order, or told that it is not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod laws;
mod reads;
mod starts;
mod world;
