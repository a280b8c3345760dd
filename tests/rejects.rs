//! What was refused, as an operator meets it: listed, shown, corrected and submitted again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bus::{Bus, ServerUrl};
use domain::{Decimal, Instrument, Quote, RejectReason, RejectedTick, Tick, TickFlags, Trade, UnixNanos};
use serde_json::Value;
use support::{SOON, START, ledgerflux};
use testkit::{NatsServer, Scratch, eventually};

fn quote(price: i64) -> Option<Quote> {
    Some(Quote { price: Decimal::new(price, 2), size: None })
}

fn tick(product: &str, trade_id: u64) -> Tick {
    let time = UnixNanos::from_seconds(1_700_000_000).unwrap();
    Tick {
        instrument: Instrument::new("coinbase", product).unwrap(),
        run: 0,
        sequence: Some(10 + trade_id),
        event_time: time,
        receive_time: time,
        last_trade: Some(Trade {
            price: Decimal::new(5_000_010, 3),
            size: Decimal::ONE,
            side: None,
            trade_id: Some(trade_id),
        }),
        best_bid: quote(500_000),
        best_ask: quote(500_002),
        day: None,
        flags: TickFlags::default(),
    }
}

fn reject(reason: RejectReason, tick: Option<Tick>, identity: &str) -> RejectedTick {
    RejectedTick {
        instrument: tick.as_ref().map(|tick| tick.instrument.clone()),
        raw: if tick.is_none() { b"{\"type\":\"ticker\",\"price\":\xff}".to_vec() } else { Vec::new() },
        raw_length: 26,
        tick,
        reason,
        detail: "a line\nand \u{1b}[31manother".into(),
        source: "test/1".into(),
        time: UnixNanos::now(),
        identity: identity.into(),
    }
}

/// Runs `ledgerflux rejects` and returns whether it succeeded, and what it said.
async fn rejects(url: &str, arguments: &[&str]) -> (bool, String, String) {
    let mut command = ledgerflux().arg("rejects").args(arguments);
    if !url.is_empty() {
        command = command.args(["--nats", url]);
    }
    let mut process = command.spawn();
    let success = process.wait(SOON).await.success();
    (success, process.stdout(), process.stderr())
}

async fn listed(url: &str, arguments: &[&str]) -> Vec<Value> {
    let (success, out, err) = rejects(url, &[&["list"], arguments].concat()).await;
    assert!(success, "{err}");
    out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_are_listed_shown_corrected_and_stored_once() {
    let nats = NatsServer::start().await;
    let (url, data) = (nats.url(), Scratch::new());
    let mut up = ledgerflux()
        // Nothing listens there: no tick comes but those that are submitted.
        .args(["up", "--feed", "ws://127.0.0.1:9", "--shards", "3", "--nats", &url, "--print-addresses"])
        .args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .args(["--keep", "forever", "--data-dir"])
        .arg(data.path())
        .spawn();
    support::ready(&up.address("ops", START).await).await;
    assert!(listed(&url, &[]).await.is_empty());

    let crossed = Tick { best_bid: quote(600_000), ..tick("BTC-USD", 7) };
    let config = bus::Config { nats: Some(ServerUrl::new(&url).unwrap()), ..bus::Config::default() };
    let bus = Bus::connect(&config).await.unwrap();
    bus.publish_reject(&reject(RejectReason::CrossedBook, Some(crossed), "5/0")).await.unwrap();
    bus.publish_reject(&reject(RejectReason::Undecodable, None, "5/1")).await.unwrap();
    bus.publish_reject(&reject(RejectReason::OutOfOrder, Some(tick("ETH-USD", 9)), "6/0")).await.unwrap();

    let ids = async |arguments: &[&str]| -> Vec<u64> {
        listed(&url, arguments).await.iter().map(|line| line["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids(&[]).await, [1, 2, 3]);
    assert_eq!(ids(&["--reason", "crossed_book"]).await, [1]);
    assert_eq!(ids(&["--product", "eth-usd", "--since", "1h"]).await, [3]);
    assert_eq!(ids(&["--until", "1h"]).await, [0; 0]);
    assert_eq!(ids(&["--limit", "1"]).await, [1]);
    assert_eq!(ids(&["--limit", "2", "--after", "1"]).await, [2, 3]);
    let (success, _, told) = rejects(&url, &["list", "--reason", "rumour"]).await;
    assert!(!success && told.contains("crossed_book"), "{told}");

    let (success, shown, told) = rejects(&url, &["show", "1"]).await;
    assert!(success, "{told}");
    let mut shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["tick"]["lastTrade"]["price"], "5000.010", "to the digit");
    let (_, frame, _) = rejects(&url, &["show", "2"]).await;
    assert!(frame.contains("hex 7b2274"), "{frame}");
    let (success, _, told) = rejects(&url, &["show", "99"]).await;
    assert!(!success && told.contains("no reject 99"), "{told}");

    // As it was it would only be refused again; and what could not be read must be written first.
    let (success, _, told) = rejects(&url, &["resubmit", "1"]).await;
    assert!(!success && told.contains("best_bid") && told.contains("--file"), "{told}");
    let (success, _, told) = rejects(&url, &["resubmit", "2"]).await;
    assert!(!success && told.contains("--file"), "{told}");

    let file = data.path().join("tick.json");
    shown["tick"]["bestBid"]["price"] = "4999.99".into();
    std::fs::write(&file, shown["tick"].to_string()).unwrap();
    let file = file.to_str().unwrap();
    let (success, out, told) = rejects(&url, &["resubmit", "1", "--file", file, "--dry-run"]).await;
    assert!(success && out.contains("would be"), "{told}");
    for _ in 0..2 {
        let (success, out, told) = rejects(&url, &["resubmit", "1", "--file", file]).await;
        assert!(success && out.contains("trade 7 of coinbase:BTC-USD"), "{out}{told}");
    }
    let (success, _, told) = rejects(&url, &["resubmit", "3"]).await;
    assert!(success, "{told}");
    let database = format!("sqlite://{}?mode=rwc", data.path().join("ledgerflux.db").display());
    let stored = async || support::count(&database, "SELECT COUNT(*) FROM tick_history").await;
    eventually(SOON, || async { stored().await >= 2 }).await;
    // The drain works off whatever is still on its way.
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
    assert_eq!(stored().await, 2, "each once");
    let corrected =
        "SELECT COUNT(*) FROM tick_history WHERE trade_id = 7 AND bid = '4999.99' AND price = '5000.010'";
    assert_eq!(support::count(&database, corrected).await, 1);
    assert_eq!(ids(&[]).await, [1, 2, 3], "the rejects stay where they are, and no other came");
}

#[tokio::test]
async fn without_a_broker_it_says_where_the_rejects_are() {
    let (success, _, told) = rejects("", &["list"]).await;
    assert!(!success && told.contains("--nats") && told.contains("in its memory"), "{told}");
}
