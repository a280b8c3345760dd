//! The parser against what the exchange really sent: `tests/data` of the workspace, see the index there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use domain::{Decimal, FeedSession, Product, RejectReason, Tick, UnixNanos, validate};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use venues::Moment;
use venues::coinbase::{Action, FrameKind, Session, SessionConfig};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name)
}

fn lines(path: &Path) -> Vec<String> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    BufReader::new(reader).lines().map(Result::unwrap).collect()
}

/// What a session for every product of the recording makes of it.
struct Outcome {
    kinds: BTreeMap<FrameKind, usize>,
    ticks: Vec<Tick>,
    rejects: Vec<(usize, RejectReason)>,
}

fn run(lines: &[String]) -> Outcome {
    let products = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["product_id"].as_str().map(Product::new))
        .map(Result::unwrap)
        .collect::<std::collections::BTreeSet<_>>();
    let config = SessionConfig { products: products.into_iter().collect(), ..SessionConfig::default() };
    let now = Moment { wall: UnixNanos::parse_rfc3339("2026-11-01T00:00:00Z").unwrap(), ..Moment::default() };
    let feed = FeedSession { id: "test-1".into(), started: now.wall };
    let mut outcome = Outcome { kinds: BTreeMap::new(), ticks: Vec::new(), rejects: Vec::new() };
    let mut session = Session::open(&config, feed, now, &mut Vec::new());
    for (index, line) in lines.iter().enumerate() {
        let mut actions = Vec::new();
        let kind = session.handle(line.as_bytes(), now, &mut actions);
        *outcome.kinds.entry(kind).or_default() += 1;
        for action in actions {
            match action {
                Action::Emit(tick) => outcome.ticks.push(tick),
                Action::Quarantine(rejected) => outcome.rejects.push((index, rejected.reason)),
                // Nobody answers in a recording; what it says of trades that it does not hold is true.
                Action::Confirmed | Action::Overdue(..) => {}
                other => panic!("line {index}: {other:?}"),
            }
        }
    }
    outcome
}

/// Compares with an independent reading: serde_json's own values and text, digit for digit.
fn assert_equal(tick: &Tick, line: &str) {
    let sent: Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| sent[name].as_str().map(str::to_owned);
    let said = |number: Option<Decimal>| number.map(|number| number.to_string());
    let trade = tick.last_trade.clone().unwrap();
    assert_eq!(Some(tick.instrument.product.as_str().to_owned()), text("product_id"));
    assert_eq!(tick.sequence, sent["sequence"].as_u64());
    assert_eq!(trade.trade_id, sent["trade_id"].as_u64());
    assert_eq!(said(Some(trade.price)), text("price"));
    assert_eq!(said(Some(trade.size)), text("last_size"));
    assert_eq!(trade.side.map(|side| side.as_str().to_owned()), text("side"));
    let time =
        time::OffsetDateTime::parse(&text("time").unwrap(), &time::format_description::well_known::Rfc3339);
    assert_eq!(i128::from(tick.event_time.nanos()), time.unwrap().unix_timestamp_nanos());
    for (quote, price, size) in
        [(&tick.best_bid, "best_bid", "best_bid_size"), (&tick.best_ask, "best_ask", "best_ask_size")]
    {
        let quote = quote.clone().unwrap();
        assert_eq!(said(Some(quote.price)), text(price));
        assert_eq!(said(quote.size), text(size));
    }
    let day = tick.day.clone().unwrap();
    for (number, name) in [
        (day.open_24h, "open_24h"),
        (day.high_24h, "high_24h"),
        (day.low_24h, "low_24h"),
        (day.volume_24h, "volume_24h"),
        (day.volume_30d, "volume_30d"),
    ] {
        assert_eq!(said(number), text(name), "{name}");
    }
}

fn assert_all_tickers_equal(lines: &[String]) -> Outcome {
    let outcome = run(lines);
    let tickers: Vec<&String> = lines.iter().filter(|line| line.contains(r#""type":"ticker""#)).collect();
    assert_eq!(outcome.ticks.len(), tickers.len());
    for (tick, line) in outcome.ticks.iter().zip(tickers) {
        assert_equal(tick, line);
        assert_eq!(validate(&mut tick.clone()), Ok(()), "{line}");
    }
    outcome
}

#[test]
fn the_session_of_2021_gives_its_107_tickers() {
    let outcome = assert_all_tickers_equal(&lines(&data("2021-04-17-mixed.jsonl.gz")));
    assert_eq!(outcome.ticks.len(), 107);
    assert_eq!(outcome.rejects, []);
    let kinds = [
        (FrameKind::Ticker, 107),
        (FrameKind::Subscriptions, 3),
        (FrameKind::LastMatch, 10),
        (FrameKind::Match, 97),
        (FrameKind::Snapshot, 10),
        (FrameKind::L2Update, 9_719),
    ];
    assert_eq!(outcome.kinds, BTreeMap::from(kinds));
    assert!(outcome.ticks.iter().all(|tick| tick.best_bid.as_ref().unwrap().size.is_none()));
}

#[test]
fn the_session_of_2026_has_no_tickers_and_is_read_through() {
    let outcome = run(&lines(&data("2026-07-07-mixed.jsonl.gz")));
    assert_eq!((outcome.ticks.len(), outcome.rejects.len()), (0, 0));
    assert_eq!(outcome.kinds.values().sum::<usize>(), 2_456);
    assert_eq!(outcome.kinds[&FrameKind::Heartbeat], 118);
}

#[test]
fn edge_cases_pass_or_are_ignored() {
    let outcome = assert_all_tickers_equal(&lines(&data("edge-cases.jsonl")));
    assert_eq!(outcome.ticks.len(), 3, "2019 with 8 decimals, 2021 with short ones, 2022 with sizes");
    assert_eq!(outcome.rejects, []);
    assert_eq!(outcome.kinds[&FrameKind::L2Update], 3, "also the one from the year 1");
}

#[test]
fn the_products_of_2021_are_all_read() {
    let body = std::fs::read(data("products-2021-04-17.json")).unwrap();
    let list = venues::coinbase::rest::parse_products(&body).unwrap();
    assert_eq!((list.products.len(), list.faults.len()), (162, 0));
    let skl = &list.products[0];
    assert_eq!((skl.product.as_str(), skl.display_name.as_str()), ("SKL-EUR", "SKL/EUR"));
    assert_eq!(
        (skl.base_increment.to_string(), skl.quote_increment.to_string()),
        ("0.1".into(), "0.0001".into())
    );
    assert!(list.products.iter().all(|product| product.status == "online"));
}

/// Any other recordings: `LEDGERFLUX_RECORDINGS=folder cargo test -p venues -- --ignored`.
#[test]
#[ignore = "needs a folder of recordings in LEDGERFLUX_RECORDINGS"]
fn further_recordings_give_all_their_tickers() {
    let folder = std::env::var_os("LEDGERFLUX_RECORDINGS").expect("LEDGERFLUX_RECORDINGS names a folder");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains(".jsonl") {
            assert_all_tickers_equal(&lines(&path));
        }
    }
}
