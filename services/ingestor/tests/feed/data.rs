//! What arrives on the bus.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::Bus;
use domain::{FeedState, RejectReason, Tick};
use serde_json::Value;
use testkit::{Scratch, TlsMaterial, eventually};

use crate::support::{Exchange, Ingestor, PATIENCE, config, market, recording, replay, written};

const NAMES: [&str; 3] = ["BTC-USD", "ETH-USD", "ADA-USD"];
const TICKER: &str = r#"{"type":"ticker","sequence":8,"product_id":"BTC-USD","price":"4095","best_bid":"4094.99","best_ask":"4095","side":"buy","time":"2019-04-01T00:00:04.540000Z","trade_id":6,"last_size":"2.0"}"#;

fn by_product(ticks: impl IntoIterator<Item = Tick>) -> BTreeMap<String, Vec<Tick>> {
    let mut products: BTreeMap<String, Vec<Tick>> = BTreeMap::new();
    for tick in ticks {
        products.entry(tick.instrument.product.to_string()).or_default().push(tick);
    }
    products
}

/// The members of a truth line and of a tick that must be equal, digit for digit.
fn said(line: &Value) -> (u64, u64, String, String, String, i64) {
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    let time = domain::UnixNanos::parse_rfc3339(line["time"].as_str().unwrap()).unwrap();
    (
        line["sequence"].as_u64().unwrap(),
        line["trade_id"].as_u64().unwrap(),
        text("price"),
        text("size"),
        text("side"),
        time.nanos(),
    )
}

fn kept(tick: &Tick) -> (u64, u64, String, String, String, i64) {
    let trade = tick.last_trade.as_ref().unwrap();
    (
        tick.sequence.unwrap(),
        trade.trade_id.unwrap(),
        trade.price.to_string(),
        trade.size.to_string(),
        trade.side.unwrap().as_str().to_owned(),
        tick.event_time.nanos(),
    )
}

fn truth(path: &std::path::Path) -> BTreeMap<String, Vec<Value>> {
    let mut products: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["sent"] != true {
            continue;
        }
        products.entry(line["product"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    products
}

#[tokio::test]
async fn every_ticker_that_was_sent_is_on_the_bus_once_and_in_order() {
    let folder = Scratch::new();
    let path = folder.join("truth.jsonl");
    let sending =
        simulator::Config { truth: Some(path.clone()), ..market(&NAMES, simulator::Rate::PerSecond(400)) };
    let exchange = Exchange::start(sending).await;
    let mut ingestor = Ingestor::start(config(&exchange.url(), &NAMES)).await;
    ingestor.ready().await;
    let enough = || async { ingestor.ticks().await > 500 };
    eventually(PATIENCE, enough).await;
    let status = ingestor.bus.statuses().await.unwrap().remove(0);
    assert_eq!((status.role.as_str(), status.feed_state), ("ingestor", Some(FeedState::Live)));
    assert!(status.ready && status.heartbeat_age.unwrap() < Duration::from_secs(5));
    // The exchange goes first, so that everything it sent has been read.
    exchange.stop().await;
    ingestor.waits_because("127.0.0.1").await;
    ingestor.stop().await;
    let batches = ingestor.take_batches().await;
    assert!(batches.iter().all(|batch| batch.session.id.ends_with("-1")), "one connection");
    let ticks = by_product(batches.into_iter().flat_map(|batch| batch.ticks));
    for (product, sent) in truth(&path) {
        let sent: Vec<_> = sent.iter().map(said).collect();
        let kept: Vec<_> = ticks[&product].iter().map(kept).collect();
        // What was still queued in the exchange when it stopped was never on the wire.
        assert!(sent.starts_with(&kept), "{product}");
        assert!(kept.len() > sent.len() / 2, "{product}: {} of {}", kept.len(), sent.len());
    }
}

#[tokio::test]
async fn a_recording_gives_exactly_its_tickers_and_the_rest_is_ignored() {
    let path = recording("2021-04-17-mixed.jsonl.gz");
    let recorded = simulator::recorded_products(&path).await.unwrap();
    let names: Vec<&str> = recorded.iter().map(|product| product.as_str()).collect();
    let exchange = Exchange::start(replay(&path)).await;
    let mut ingestor = Ingestor::start(config(&exchange.url(), &names)).await;
    eventually(PATIENCE, || async { ingestor.ticks().await == 107 }).await;
    ingestor.stop().await;
    let ticks: Vec<Tick> = ingestor.take_batches().await.into_iter().flat_map(|batch| batch.ticks).collect();
    assert_eq!(ticks.len(), 107);
    let first = ticks.iter().find(|tick| tick.sequence == Some(333_938_798)).unwrap();
    assert_eq!(first.best_bid.as_ref().unwrap().price.to_string(), "14.7550");
    assert_eq!(first.event_time.to_string(), "2021-04-17T16:43:30.244075Z");
    exchange.stop().await;
}

#[tokio::test]
async fn frames_that_cannot_be_used_are_kept_with_their_reason_and_the_feed_goes_on() {
    let folder = Scratch::new();
    let lines = [
        "{broken",
        &TICKER.replace("\"4095\"", "\"0.-10000\""),
        r#"{"type":"error","message":"something","reason":"is wrong"}"#,
        &TICKER.replace("2019-04-01T00:00:04.540000Z", "0001-01-01T00:00:00.000000Z"),
        r#"{"type":"brand_new","product_id":"BTC-USD"}"#,
        &TICKER.replace("\"trade_id\"", "\"deal_id\""),
        // A valid line of another product would be left out by the exchange; this one it cannot read.
        &TICKER.replace("BTC-USD", "<b>"),
        TICKER,
    ];
    let exchange = Exchange::start(replay(&written(&folder, &lines))).await;
    let mut ingestor = Ingestor::start(config(&exchange.url(), &["BTC-USD"])).await;
    eventually(PATIENCE, || async { ingestor.ticks().await == 1 }).await;
    let rejects = ingestor.rejects(5).await;
    let reasons: Vec<_> = rejects.iter().map(|reject| reject.reason).collect();
    assert_eq!(
        reasons,
        [
            RejectReason::Undecodable,
            RejectReason::InvalidNumber,
            RejectReason::ImplausibleTime,
            RejectReason::MissingField,
            RejectReason::UnknownProduct,
        ]
    );
    assert_eq!(rejects[0].raw, b"{broken");
    assert_eq!(rejects[1].instrument.as_ref().unwrap().product.as_str(), "BTC-USD");
    assert!(rejects[1].detail.contains("0.-10000"));
    assert!(rejects.iter().all(|reject| reject.source == format!("ingestor/{}", ingestor.ctx.instance)));
    assert!(ingestor.ctx.readiness.is_ready());
    ingestor.stop().await;
    exchange.stop().await;
}

#[tokio::test]
async fn a_bus_that_is_full_holds_the_feed_back_and_nothing_is_lost() {
    let folder = Scratch::new();
    let lines: Vec<String> = (1..=20_000)
        .map(|number| TICKER.replace("\"sequence\":8", &format!("\"sequence\":{number}")))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let exchange = Exchange::start(replay(&written(&folder, &lines))).await;
    let narrow = bus::Config {
        raw_size_max_bytes: Some(200_000),
        raw_buffer_max_ticks: 64,
        publish_timeout: Duration::from_millis(50),
        retry_delay_max: Duration::from_millis(100),
        ..bus::Config::default()
    };
    let mut ingestor =
        Ingestor::start_on(config(&exchange.url(), &["BTC-USD"]), Bus::embedded(&narrow)).await;
    let full = || async {
        let state = ingestor.bus.stream_state(bus::StreamKind::Raw).await.unwrap();
        state.size_bytes > 150_000
    };
    eventually(PATIENCE, full).await;
    let mut sequences = Vec::new();
    while sequences.len() < lines.len() {
        let batches = ingestor.take_batches().await;
        sequences.extend(batches.iter().flat_map(|batch| &batch.ticks).map(|tick| tick.sequence.unwrap()));
    }
    assert!(sequences.iter().copied().eq(1..=20_000));
    ingestor.stop().await;
    exchange.stop().await;
}

#[tokio::test]
async fn the_feed_comes_over_tls_from_an_exchange_whose_certificate_is_trusted() {
    let tls = TlsMaterial::localhost();
    let files = simulator::TlsFiles { certificate: tls.certificate_path(), key: tls.key_path() };
    let sending =
        simulator::Config { tls: Some(files), ..market(&["BTC-USD"], simulator::Rate::PerSecond(50)) };
    let exchange = Exchange::start(sending).await;
    let url = format!("wss://localhost:{}", exchange.address.port());
    let trusting = ingestor::Config { ca_file: Some(tls.certificate_path()), ..config(&url, &["BTC-USD"]) };
    let mut trusting = Ingestor::start(trusting).await;
    trusting.ready().await;
    eventually(PATIENCE, || async { trusting.ticks().await > 10 }).await;
    trusting.stop().await;
    let mut doubting = Ingestor::start(config(&url, &["BTC-USD"])).await;
    doubting.waits_because("certificate").await;
    doubting.stop().await;
    exchange.stop().await;
}
