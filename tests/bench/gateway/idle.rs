//! What clients cost that only are there.

use crate::{child::Child, latency::Bench};

const CLIENTS: u32 = 10_000;

pub(crate) fn measure() {
    let kinds = [
        ("connected", ""),
        (
            "subscribed to a quiet product",
            r#"{"op":"subscribe","products":["QUIET-USD"],"want_events":true}"#,
        ),
    ];
    for (what, subscribe) in kinds {
        println!("\nidle: {CLIENTS} clients that are {what}");
        let mut bench = Bench::start();
        let alone = bench.measure();
        alone.print("100 others, alone");
        let before = bench.gateway.memory_kib();
        let mut idle = Child::start(&["clients", &bench.address, &CLIENTS.to_string(), "fast", subscribe]);
        assert_eq!(idle.hear(), "connected");
        let each = (bench.gateway.memory_kib() - before) / f64::from(CLIENTS);
        println!("  memory for each: {each:.1} KiB (goal: below 16)");
        let beside = bench.measure();
        beside.print("100 others, beside the idle ones");
        println!("  p99 beside / alone {:.2}", beside.p99.median() / alone.p99.median());
    }
}
