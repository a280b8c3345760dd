//! Clients that mean harm, many of them and again and again: nobody else notices, and the memory of the gateway stays what it
//! was. What each of them is told is tested among the clients; here it is only seen that they are all got rid of.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod floods;
#[allow(dead_code, reason = "shared with the clients")]
#[path = "../clients/harness.rs"]
mod harness;
#[allow(dead_code, reason = "shared with the clients")]
#[path = "../clients/http2.rs"]
mod http2;
#[allow(dead_code, reason = "shared with the clients")]
#[path = "../clients/raw.rs"]
mod raw;
mod sockets;
mod strangers;
mod stuck;
mod witness;

/// That of the binary: it gives memory back, so that what is in use can be told from what was.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
