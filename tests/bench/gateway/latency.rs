//! From the tick entering the gateway to the client's socket.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{LOSSLESS, ROUNDS, Rounds, TICKS_PER_SECOND, child::Child, clients::Counts};

const CLIENTS: u32 = 100;
const LENGTH: Duration = Duration::from_secs(5);
/// The predecessor at 100 ticks/s with 10 clients, from the feed to the client, in milliseconds.
const PREDECESSOR: [f64; 2] = [5.04, 45.9];

/// How late the last tick may come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway and the clients whose latency is measured.
pub(crate) struct Bench {
    pub(crate) gateway: Child,
    pub(crate) address: String,
    clients: Child,
}

/// Percentiles of several rounds, in milliseconds.
pub(crate) struct Latency {
    pub(crate) p50: Rounds,
    pub(crate) p99: Rounds,
    max: Rounds,
}

impl Bench {
    pub(crate) fn start() -> Self {
        let mut gateway = Child::start(&["serve"]);
        let address = gateway.hear();
        let mut clients = Child::start(&["clients", &address, &CLIENTS.to_string(), "fast", LOSSLESS]);
        assert_eq!(clients.hear(), "connected");
        let mut bench = Self { gateway, address, clients };
        // Warms everything up.
        bench.round(Duration::from_secs(1));
        bench
    }

    pub(crate) fn measure(&mut self) -> Latency {
        let (mut p50, mut p99, mut max) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let counts = self.round(LENGTH);
            p50.push(counts.p50_ms);
            p99.push(counts.p99_ms);
            max.push(counts.max_ms);
        }
        Latency { p50: Rounds::of(p50), p99: Rounds::of(p99), max: Rounds::of(max) }
    }

    fn round(&mut self, length: Duration) -> Counts {
        self.clients.ask("start latency");
        let published = self.gateway.ask(&format!("publish {TICKS_PER_SECOND} {}", length.as_millis()));
        let asked = published.parse::<u64>().unwrap() * u64::from(CLIENTS);
        let told = Instant::now();
        // Every tick comes to every client, however late.
        while self.clients.ask("count").parse::<u64>().unwrap() < asked {
            assert!(told.elapsed() < PATIENCE, "not every tick came to every client");
            sleep(Duration::from_millis(50));
        }
        Counts::parse(&self.clients.ask("stop"))
    }
}

impl Latency {
    pub(crate) fn print(&self, what: &str) {
        println!("  {what}");
        println!("    p50 {} ms", self.p50.row(3));
        println!("    p99 {} ms", self.p99.row(3));
        println!("    max {} ms", self.max.row(3));
    }
}

pub(crate) fn measure() {
    println!("\nlatency: {CLIENTS} clients, every tick of 20 products at {TICKS_PER_SECOND} ticks/s");
    let latency = Bench::start().measure();
    latency.print("from the bus to the client's socket (goal: p50 below 1 ms, p99 below 5 ms)");
    let [p50, p99] = PREDECESSOR;
    println!(
        "  the predecessor with 10 clients at 100 ticks/s: p50 {p50} ms, p99 {p99} ms; {:.0} and {:.0} times that",
        p50 / latency.p50.median(),
        p99 / latency.p99.median()
    );
}
