//! What clients that do not read cost everybody else.

use std::time::Duration;

use crate::{LOSSLESS, child::Child, latency::Bench};

const CONFLATE: &str = r#"{"op":"subscribe","products":["*"]}"#;
/// Enough ticks to fill the socket of a client that does not read.
const FILL_PER_SECOND: u32 = 2_000;
const FILL: Duration = Duration::from_secs(5);

pub(crate) fn measure() {
    println!("\nslow: one client that never reads and one that reads a frame a second, of each policy");
    let mut bench = Bench::start();
    let alone = bench.measure();
    alone.print("100 others, alone");
    let mut bad: Vec<Child> =
        [("stuck", LOSSLESS), ("slow", LOSSLESS), ("stuck", CONFLATE), ("slow", CONFLATE)]
            .map(|(pace, subscribe)| Child::start(&["clients", &bench.address, "1", pace, subscribe]))
            .into();
    for child in &mut bad {
        assert_eq!(child.hear(), "connected");
    }
    // The rings grow to their bound with this, whoever reads.
    bench.gateway.ask(&format!("publish {FILL_PER_SECOND} {}", FILL.as_millis()));
    let before = bench.gateway.memory_kib();
    let beside = bench.measure();
    beside.print("100 others, beside the slow ones");
    let grown = bench.gateway.memory_kib() - before;
    println!("  memory grown by {grown:.0} KiB while their sockets were full");
    println!("  p99 beside / alone {:.2}", beside.p99.median() / alone.p99.median());
}
