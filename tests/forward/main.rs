//! Calls through a gateway to several instances of query, all of them real processes: the gateway finds the instances under a
//! name that the resolver of the C library looks up at a name server of the test.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod instances;
mod load;
mod names;
#[path = "../support.rs"]
mod support;
mod web;
mod world;
