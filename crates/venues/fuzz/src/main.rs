//! Whatever the exchange sends: no panic, nothing dropped silently, and a number leaves as it came. Run by `make fuzz`.
//!
//! An input is a conversation: its lines are frames, one after another, and blank lines let a second pass; the same bytes are
//! then an answer of the REST API. The recordings under `tests/data` are where the fuzzer begins.
#![no_main]

use std::time::Duration;

use domain::{FeedSession, Product, UnixNanos};
use libfuzzer_sys::fuzz_target;
use venues::Moment;
use venues::coinbase::rest::{GapFetch, parse_products, parse_trades};
use venues::coinbase::{Action, FrameKind, Session, SessionConfig};

fuzz_target!(|input: &[u8]| {
    converse(input);
    answer(input);
});

fn converse(input: &[u8]) {
    let names = ["BTC-USD", "ETH-USD", "BAND-GBP"];
    let config = SessionConfig {
        products: names.iter().filter_map(|name| Product::new(name).ok()).collect(),
        ..SessionConfig::default()
    };
    let mut now = Moment { wall: UnixNanos::new(1_800_000_000_000_000_000), uptime: Duration::from_secs(5) };
    let feed = |number| FeedSession { id: format!("fuzz-{number}"), started: UnixNanos::new(0) };
    let mut actions = Vec::new();
    let mut session = Session::open(&config, feed(0), now, &mut actions);
    for (number, line) in input.split(|byte| *byte == b'\n').enumerate() {
        actions.clear();
        if line.is_empty() {
            now = now.after(Duration::from_secs(1));
            session.tick(now, &mut actions);
        } else {
            let kind = session.handle(line, now, &mut actions);
            check(kind, line, &actions);
        }
        if actions.iter().any(|action| matches!(action, Action::Reconnect(_))) {
            session.reopen(feed(number + 1), now, &mut actions);
        }
    }
}

fn check(kind: FrameKind, frame: &[u8], actions: &[Action]) {
    let mut kept = 0;
    for action in actions {
        match action {
            Action::Emit(tick) => {
                kept += 1;
                let trade = tick.last_trade.as_ref().expect("a tick of a ticker has a trade");
                let text = std::str::from_utf8(frame).expect("a tick comes from text");
                // Escapes may hide the digits; the exchange writes none.
                let number = trade.price.to_string();
                assert!(text.contains('\\') || text.contains(&number), "{number} in {text}");
            }
            Action::Quarantine(rejected) => {
                kept += 1;
                assert!(!rejected.detail.is_empty() && frame.starts_with(&rejected.raw));
            }
            Action::Known(_) => kept += 1,
            _ => {}
        }
    }
    assert!(kept <= 1 && (kept == 1 || kind != FrameKind::Malformed));
}

fn answer(input: &[u8]) {
    // Faults have texts; making them must not fail either.
    if let Err(fault) = parse_products(input) {
        let _ = fault.detail();
    }
    let mut gap = GapFetch::new(1, 2_000);
    match parse_trades(input) {
        Ok(trades) => {
            let _ = gap.take(trades);
        }
        Err(fault) => drop(fault.detail()),
    }
}
