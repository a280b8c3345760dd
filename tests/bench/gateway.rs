//! How many WebSocket clients the gateway serves, how fast, and what each of them costs; beside a bare broadcast of the same
//! bytes to the same clients. `make bench-gateway` runs it; `ARGS="-- latency"` runs one part.
//!
//! The gateway, the bare server and the clients are processes of their own that share the machine, over real sockets on
//! loopback. Ticks enter the gateway as in production: published on the (embedded) bus and followed by its live feed.
//! Read the ratios: they come from one run on one machine, and whatever else the machine does hits both sides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::cast_precision_loss)]
#![allow(
    clippy::disallowed_methods,
    reason = "the process that measures has no executor whose thread could be blocked"
)]

#[path = "gateway/bare.rs"]
mod bare;
#[path = "gateway/child.rs"]
mod child;
#[path = "gateway/clients.rs"]
mod clients;
#[path = "gateway/fan_out.rs"]
mod fan_out;
#[path = "gateway/grpc.rs"]
mod grpc;
#[path = "gateway/idle.rs"]
mod idle;
#[path = "gateway/latency.rs"]
mod latency;
#[path = "gateway/market.rs"]
mod market;
#[path = "gateway/server.rs"]
mod server;
#[path = "gateway/slow.rs"]
mod slow;

use std::time::Duration;

/// As the binary: what a client costs depends on it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How often everything is measured.
const ROUNDS: usize = 3;
/// How long each measurement takes.
const WINDOW: Duration = Duration::from_secs(3);
/// What the issue asks for.
const TICKS_PER_SECOND: u32 = 200;
/// Every tick of every product.
const LOSSLESS: &str = r#"{"op":"subscribe","products":["*"],"want":"lossless"}"#;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve"] => server::run(),
        ["bare", gateway] => bare::run(gateway),
        ["stuck-grpc", address, count, policy] => grpc::run(address, count, policy),
        ["clients", address, count, pace, subscribe] => clients::run(address, count, pace, subscribe),
        only => measure(only),
    }
}

fn measure(only: &[&str]) {
    let parts: [(&str, fn()); 4] = [
        ("fan-out", fan_out::measure),
        ("latency", latency::measure),
        ("idle", idle::measure),
        ("slow", slow::measure),
    ];
    for (name, part) in parts {
        if only.is_empty() || only.contains(&name) {
            part();
        }
    }
}

/// The middle of several rounds, with how far they lie apart.
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    pub(crate) fn row(&self, digits: usize) -> String {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        format!("{:>10.digits$} (min {least:.digits$}, max {most:.digits$})", self.median())
    }
}
