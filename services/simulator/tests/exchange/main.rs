//! The simulator over real sockets, as a client meets it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod protocol;
mod replay;
mod rest;
mod support;
