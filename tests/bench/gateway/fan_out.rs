//! Every tick to every client: 1,000 of them on 20 products, beside the bare broadcast.

use std::{thread::sleep, time::Duration};

use crate::{LOSSLESS, ROUNDS, Rounds, TICKS_PER_SECOND, WINDOW, child::Child, clients::Counts};

const CLIENTS: u32 = 1_000;
/// What the predecessor's gateway delivers to 100 clients, messages a second.
const PREDECESSOR: f64 = 10_744.0;
/// Ticks a second; the last ones are beyond what the machine can do.
const RATES: [u32; 4] = [TICKS_PER_SECOND, 800, 3_200, 6_400];
/// How long clients may take to read what was sent before.
const SETTLE: Duration = Duration::from_secs(2);

/// A server with its clients.
struct Side {
    server: Child,
    clients: Child,
}

/// What one measurement gave.
struct Delivered {
    per_second: f64,
    /// Processor time of the server for each message, in microseconds.
    server_us: f64,
    clients_us: f64,
    closes: f64,
    closed: String,
}

impl Side {
    fn of(server: Child, address: &str) -> Self {
        let mut clients = Child::start(&["clients", address, &CLIENTS.to_string(), "fast", LOSSLESS]);
        assert_eq!(clients.hear(), "connected");
        Self { server, clients }
    }

    fn deliver(&mut self, rate: u32) -> Delivered {
        let processor = |side: &Self| [side.server.processor_seconds(), side.clients.processor_seconds()];
        let before = processor(self);
        self.clients.ask("start");
        self.server.tell(&format!("publish {rate} {}", WINDOW.as_millis()));
        // What the server says at the end comes late when it is overloaded.
        sleep(WINDOW);
        let counts = Counts::parse(&self.clients.ask("stop"));
        let after = processor(self);
        self.server.hear();
        sleep(SETTLE);
        let per_message = |at: usize| (after[at] - before[at]) / counts.ticks.max(1.0) * 1e6;
        Delivered {
            per_second: counts.ticks / WINDOW.as_secs_f64(),
            server_us: per_message(0),
            clients_us: per_message(1),
            closes: counts.closes,
            closed: counts.closed,
        }
    }
}

pub(crate) fn measure() {
    println!("\nfan-out: {CLIENTS} clients, every tick of 20 products to each, messages/s delivered");
    let mut gateway = Child::start(&["serve"]);
    let address = gateway.hear();
    let mut bare = Child::start(&["bare", &address]);
    assert_eq!(bare.hear(), "collecting");
    gateway.ask("publish 1000 1500");
    assert_eq!(bare.hear(), "collected");
    let bare_address = bare.hear();
    let mut sides = [Side::of(gateway, &address), Side::of(bare, &bare_address)];
    let mut best = [0.0f64, 0.0];
    for rate in RATES {
        let mut figures: [Vec<f64>; 2] = Default::default();
        let mut costs: [Vec<f64>; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (at, side) in sides.iter_mut().enumerate() {
                let delivered = side.deliver(rate);
                figures[at].push(delivered.per_second);
                costs[at].push(delivered.server_us);
                if delivered.closes > 0.0 {
                    println!("  {} clients were closed: {}", delivered.closes, delivered.closed);
                }
                if at == 0 && delivered.clients_us > 2.0 {
                    println!("  (the clients took {:.1} µs for each message)", delivered.clients_us);
                }
            }
        }
        let [ours, bare] = figures.map(Rounds::of);
        let [our_cost, bare_cost] = costs.map(Rounds::of);
        best = [best[0].max(ours.median()), best[1].max(bare.median())];
        println!("  asked {:>9}/s at {rate} ticks/s", rate * CLIENTS);
        println!("    gateway        {}, {:.2} µs of processor each", ours.row(0), our_cost.median());
        println!("    bare broadcast {}, {:.2} µs of processor each", bare.row(0), bare_cost.median());
        println!("    gateway / bare {:.2}", ours.median() / bare.median());
    }
    let [ours, bare] = best;
    println!("  at most: gateway {ours:.0}/s, bare {bare:.0}/s, ratio {:.2}", ours / bare);
    println!(
        "  the predecessor: {PREDECESSOR:.0}/s to 100 clients; the gateway delivers {:.0} times that",
        ours / PREDECESSOR
    );
}
