//! From the past into the present, over gRPC and WebSocket, with a real query service over a real store.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod candles;
mod listing;
mod page;
mod subscribe;
mod websocket;
mod world;
