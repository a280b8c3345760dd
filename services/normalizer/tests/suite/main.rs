//! A shard on a real broker and on the embedded one: owners die, lose and take over, ingestors lose trades and die, and
//! nothing is lost, repeated or rejected by mistake.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;
mod legs;
mod shard;
