//! What clients that do not read cost everybody else.

use std::time::Duration;

use crate::{LOSSLESS, child::Child, latency::Bench};

const CONFLATE: &str = r#"{"op":"subscribe","products":["*"]}"#;
/// Enough ticks to fill the socket of a client that does not read.
const FILL_PER_SECOND: u32 = 2_000;
const FILL: Duration = Duration::from_secs(5);
/// How many clients of gRPC never read, of each policy: enough to see one of them in the memory of a process.
const STUCK_GRPC: usize = 8;
/// What one client that does not read may cost.
const STUCK_MAX_KIB: f64 = 1024.0;

pub(crate) fn measure() {
    println!(
        "\nslow: one client that never reads and one that reads a frame a second, of each policy, \
         and {STUCK_GRPC} of gRPC of each that never read"
    );
    let mut bench = Bench::start();
    let alone = bench.measure();
    alone.print("100 others, alone");
    // The rings grow with it, whoever reads; the first time everything else does too.
    fill(&mut bench);
    let by_rings = fill(&mut bench);
    let mut bad: Vec<Child> =
        [("stuck", LOSSLESS), ("slow", LOSSLESS), ("stuck", CONFLATE), ("slow", CONFLATE)]
            .map(|(pace, subscribe)| Child::start(&["clients", &bench.address, "1", pace, subscribe]))
            .into();
    for policy in ["lossless", "conflate"] {
        bad.push(Child::start(&["stuck-grpc", &bench.address, &STUCK_GRPC.to_string(), policy]));
    }
    for child in &mut bad {
        assert_eq!(child.hear(), "connected");
    }
    let stuck = 4 + 2 * STUCK_GRPC;
    let each = (fill(&mut bench) - by_rings) / stuck as f64;
    println!("  {each:.0} KiB of memory for each of the {stuck} while it does not read");
    let beside = bench.measure();
    beside.print("100 others, beside the slow ones");
    println!("  p99 beside / alone {:.2}", beside.p99.median() / alone.p99.median());
    assert!(each <= STUCK_MAX_KIB, "a client that does not read costs more than {STUCK_MAX_KIB} KiB");
}

/// By how many KiB the gateway grows while that many ticks go through it.
fn fill(bench: &mut Bench) -> f64 {
    let before = bench.gateway.memory_kib();
    bench.gateway.ask(&format!("publish {FILL_PER_SECOND} {}", FILL.as_millis()));
    bench.gateway.memory_kib() - before
}
