//! The query service as its clients meet it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod calls;
mod documented;
mod fixture;
mod history;
mod ledger;
