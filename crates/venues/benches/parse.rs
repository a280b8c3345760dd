//! How fast a ticker frame becomes a tick, beside what serde_json makes of the same frames: an owned struct whose numbers
//! stay text, and a `Value`. Both do less: a tick has checked decimals, a time and an instrument. `make bench-parse` runs it.
//!
//! Read ratios: the contenders take turns within one run, so that whatever else the machine does hits all of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use domain::{Product, Tick, UnixNanos};
use serde::Deserialize;
use serde_json::Value;
use venues::coinbase::{Instruments, Message, parse};

/// How many frames one contender reads in one round.
const ROUND_FRAMES: usize = 200_000;
/// The first round, which fills caches, is not counted.
const ROUNDS: usize = 12;

#[derive(Deserialize)]
#[allow(dead_code, reason = "what is measured is how it is made")]
struct Owned {
    r#type: String,
    sequence: u64,
    product_id: String,
    price: String,
    open_24h: String,
    volume_24h: String,
    low_24h: String,
    high_24h: String,
    volume_30d: String,
    best_bid: String,
    best_bid_size: String,
    best_ask: String,
    best_ask_size: String,
    side: String,
    time: String,
    trade_id: u64,
    last_size: String,
}

/// The tickers of a recording, with the sizes of the book that the exchange has added since.
fn frames() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/2021-04-17-ticker.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let sized = |line: &str| {
        line.replace(r#","best_ask":"#, r#","best_bid_size":"0.61540890","best_ask":"#)
            .replace(r#","side":"#, r#","best_ask_size":"0.18528568","side":"#)
    };
    let tickers = text.lines().filter(|line| line.contains(r#""type":"ticker""#));
    let frames: Vec<String> = tickers.map(sized).collect();
    assert!(!frames.is_empty(), "the recording has no tickers");
    frames
}

fn tick(frame: &str, instruments: &Instruments) -> Tick {
    match parse(frame.as_bytes()).unwrap() {
        Message::Ticker(ticker) => ticker.to_tick(instruments, UnixNanos::new(0)).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Frames a second over one round.
fn round(frames: &[String], mut read: impl FnMut(&str)) -> f64 {
    let started = Instant::now();
    for frame in frames.iter().cycle().take(ROUND_FRAMES) {
        read(frame);
    }
    ROUND_FRAMES as f64 / started.elapsed().as_secs_f64()
}

fn main() {
    let frames = frames();
    let products: Vec<Product> = frames
        .iter()
        .map(|frame| serde_json::from_str::<Owned>(frame).unwrap().product_id)
        .collect::<std::collections::BTreeSet<_>>()
        .iter()
        .map(|name| Product::new(name).unwrap())
        .collect();
    let instruments = Instruments::new(&products);
    let bytes: usize = frames.iter().map(String::len).sum();
    println!("{} tickers of {} products, {} bytes each", frames.len(), products.len(), bytes / frames.len());
    let mut rates = [const { Vec::new() }; 3];
    for number in 0..=ROUNDS {
        let of_round = [
            round(&frames, |frame| drop(black_box(tick(black_box(frame), &instruments)))),
            round(&frames, |frame| drop(black_box(serde_json::from_str::<Owned>(black_box(frame)).unwrap()))),
            round(&frames, |frame| drop(black_box(serde_json::from_str::<Value>(black_box(frame)).unwrap()))),
        ];
        if number > 0 {
            rates.iter_mut().zip(of_round).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    let medians = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        (rates[rates.len() / 2], rates[0], rates[rates.len() - 1])
    });
    let ours = medians[0].0;
    let names = ["frame to tick", "serde_json, owned struct", "serde_json, Value"];
    for (name, (median, least, most)) in names.iter().zip(medians) {
        println!(
            "{name:26} {median:>9.0} frames/s (min {least:.0}, max {most:.0}, {ROUNDS} rounds), {:.2} of the tick's",
            median / ours
        );
    }
}
