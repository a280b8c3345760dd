//! What a client meets besides the data, and the generated market, over real sockets.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::{Client, Exchange, PATIENCE, frames, market, truth};
use domain::{Product, UnixNanos, validate};
use runtime::{Readiness, RoleContext, Shutdown};
use simulator::{Config, Error, Rate, Source};
use tokio::net::TcpListener;
use venues::coinbase::{Instruments, Message, parse};

#[tokio::test]
async fn a_client_that_does_not_subscribe_is_disconnected() {
    let config =
        Config { subscribe_timeout: Duration::from_millis(200), ..market(&["BTC-USD"], Rate::PerSecond(5)) };
    let exchange = Exchange::start(config).await;
    let mut silent = Client::connect(&exchange.url).await;
    let mut subscribed = Client::subscribed(&exchange.url, &["BTC-USD"], &["heartbeat"]).await;
    assert_eq!(silent.try_text().await, None);
    assert_eq!(subscribed.next().await["type"], "heartbeat");
    exchange.stop().await;
}

#[tokio::test]
async fn wrong_requests_get_an_error_and_the_connection_stays() {
    let exchange = Exchange::start(market(&["BTC-USD"], Rate::PerSecond(1))).await;
    let mut client = Client::connect(&exchange.url).await;
    for (request, message, reason) in [
        ("{", "Malformed JSON", "EOF"),
        (r#"{"type":"hello"}"#, "Type has to be either subscribe or unsubscribe", "hello"),
        (
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["rumours"]}"#,
            "Failed to subscribe",
            "rumours",
        ),
        (
            r#"{"type":"subscribe","product_ids":["X-USD"],"channels":["ticker"]}"#,
            "Failed to subscribe",
            "X-USD",
        ),
    ] {
        client.say(request).await;
        let error = client.next().await;
        assert_eq!((&error["type"], &error["message"]), (&"error".into(), &message.into()));
        assert!(error["reason"].as_str().unwrap().contains(reason), "{error}");
    }
    client.subscribe(&["BTC-USD"], &["ticker"]).await;
    let answer = client.next().await;
    assert_eq!(answer["channels"][0]["product_ids"][0], "BTC-USD");
    assert_eq!(client.next().await["type"], "ticker", "the last trade comes at once");
    client.say(r#"{"type":"unsubscribe","channels":["ticker"]}"#).await;
    while client.next().await["type"] != "subscriptions" {}
    exchange.stop().await;
}

#[tokio::test]
async fn a_generated_market_is_sound_and_the_truth_is_what_the_client_got() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truth.jsonl");
    let names = ["BTC-USD", "ETH-USD", "ADA-USD"];
    let config = Config { truth: Some(path.clone()), ..market(&names, Rate::PerSecond(500)) };
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &names, &["ticker", "heartbeat"]).await;
    let instruments = Instruments::new(&names.map(|name| Product::new(name).unwrap()));
    let mut tickers = Vec::new();
    let mut last: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut heartbeats = 0;
    let started = Instant::now();
    while tickers.len() < 600 || heartbeats < 3 {
        let text = client.text().await;
        match parse(text.as_bytes()).unwrap() {
            Message::Ticker(ticker) => {
                let mut tick = ticker.to_tick(&instruments, UnixNanos::now()).unwrap();
                validate(&mut tick).unwrap();
                let (sequence, trade_id) = (tick.sequence.unwrap(), tick.trade_id().unwrap());
                if let Some(before) = last.insert(tick.instrument.product.to_string(), (sequence, trade_id)) {
                    assert!(sequence > before.0);
                    assert_eq!(trade_id, before.1 + 1);
                }
                tickers.push(text);
            }
            Message::Heartbeat(heartbeat) => {
                heartbeats += 1;
                let known = last[heartbeat.product_id.text().unwrap()];
                assert_eq!(heartbeat.last_trade_id.integer(), Some(known.1));
                assert!(heartbeat.sequence.integer().unwrap() > known.0);
            }
            other => panic!("{other:?}"),
        }
    }
    let took = started.elapsed();
    assert!(took > Duration::from_millis(500), "600 tickers at 500/s took {took:?}");
    exchange.shutdown.request();
    while let Some(text) = client.try_text().await {
        if text.contains(r#""type":"ticker""#) {
            tickers.push(text);
        }
    }
    exchange.stop().await;
    let truth = truth(&path);
    // What was queued when the exchange stopped still arrived.
    assert_eq!(frames(&truth), tickers);
}

#[tokio::test]
async fn at_max_the_market_goes_as_fast_as_it_is_read_and_stands_still_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truth.jsonl");
    let config = Config { truth: Some(path.clone()), ..market(&["BTC-USD"], Rate::Max) };
    let exchange = Exchange::start(config).await;
    let read = async |url: &str, count| {
        let mut client = Client::subscribed(url, &["BTC-USD"], &["ticker"]).await;
        client.texts(count).await
    };
    let first = read(&exchange.url, 20_000).await;
    let standing_still = || async {
        let before = std::fs::read(&path).unwrap().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        std::fs::read(&path).unwrap().len() == before
    };
    testkit::eventually(PATIENCE, standing_still).await;
    let second = read(&exchange.url, 1_000).await;
    exchange.stop().await;
    let truth = truth(&path);
    let frames = frames(&truth);
    assert_eq!(frames[..first.len()], first, "no ticker was left out");
    let resumed = frames.iter().position(|frame| *frame == second[0]).unwrap();
    assert_eq!(frames[resumed..resumed + second.len()], second);
    assert!(resumed >= first.len());
}

#[tokio::test]
async fn at_a_rate_a_client_that_does_not_read_is_disconnected_at_once() {
    let config = Config { queue_messages_max: 16, ..market(&["BTC-USD"], Rate::PerSecond(200_000)) };
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    while client.try_text().await.is_some() {}
    exchange.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_an_error_at_the_start() {
    let start = async |config| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ctx = RoleContext::new(Readiness::new(), Shutdown::new());
        simulator::run(config, listener, ctx).await.unwrap_err()
    };
    assert!(matches!(start(market(&[], Rate::Max)).await, Error::NoProducts));
    let truth = Some("/nonexistent/truth".into());
    assert!(matches!(start(Config { truth, ..Config::default() }).await, Error::Truth { .. }));
    let files = simulator::TlsFiles { certificate: "/nonexistent".into(), key: "/nonexistent".into() };
    assert!(matches!(start(Config { tls: Some(files), ..Config::default() }).await, Error::Tls(_)));
    let replay = simulator::ReplayConfig { path: "/nonexistent".into(), speed: simulator::Speed::Max };
    let config = Config { source: Source::Replay(replay), ..Config::default() };
    assert!(matches!(start(config).await, Error::Recording(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_at_the_end_still_arrives() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let path = folder.path().join(format!("truth-{round}.jsonl"));
        let config = Config { truth: Some(path.clone()), ..market(&["BTC-USD"], Rate::PerSecond(5_000)) };
        let exchange = Exchange::start(config).await;
        let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
        let mut tickers = Vec::new();
        while let Some(text) = client.try_text().await {
            if text.contains(r#""type":"ticker""#) {
                tickers.push(text);
            }
            if tickers.len() == 1_000 + round * 37 {
                exchange.shutdown.request();
            }
        }
        exchange.stop().await;
        assert_eq!(frames(&truth(&path)), tickers);
    }
}
