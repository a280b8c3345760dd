//! Replays over real sockets.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{Client, Exchange, data, frames, recorded, replay, truth};
use simulator::{Config, Speed};

const PRODUCTS_2021: [&str; 10] = [
    "BAND-BTC", "BAND-GBP", "CRV-EUR", "DASH-BTC", "NMR-EUR", "NU-GBP", "SKL-BTC", "SKL-GBP", "SKL-USD",
    "YFI-BTC",
];

fn written(folder: &tempfile::TempDir, lines: &[String]) -> PathBuf {
    let path = folder.path().join("recording.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

/// A ticker of `product` at `second` of a day in 2021.
fn ticker(product: &str, number: u64, second: u64) -> String {
    format!(
        r#"{{"type":"ticker","sequence":{},"product_id":"{product}","price":"1.50","time":"2021-04-17T00:00:{second:02}.000000Z","trade_id":{number},"last_size":"2"}}"#,
        number * 10
    )
}

#[tokio::test]
async fn a_whole_recording_arrives_verbatim_and_the_truth_has_its_tickers() {
    let folder = tempfile::tempdir().unwrap();
    let path = data("2021-04-17-mixed.jsonl.gz");
    let truth_path = folder.path().join("truth.jsonl");
    let config = Config { truth: Some(truth_path.clone()), ..replay(&path, Speed::Max) };
    let products = simulator::recorded_products(&path).await.unwrap();
    assert_eq!(products.iter().map(|product| product.as_str()).collect::<Vec<_>>(), PRODUCTS_2021);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &PRODUCTS_2021, &["ticker", "heartbeat"]).await;
    let lines = recorded(&path);
    assert_eq!(lines.len(), 9_943);
    assert_eq!(client.texts(lines.len()).await, lines);
    // Afterwards heartbeats go on with the last numbers of the recording.
    let last =
        lines.iter().rev().find(|line| line.contains(r#""type":"ticker""#) && line.contains("SKL-USD"));
    let last: serde_json::Value = serde_json::from_str(last.unwrap()).unwrap();
    loop {
        let heartbeat = client.next().await;
        assert_eq!(heartbeat["type"], "heartbeat");
        if heartbeat["product_id"] == "SKL-USD" {
            assert_eq!(heartbeat["last_trade_id"], last["trade_id"]);
            assert!(heartbeat["sequence"].as_u64() >= last["sequence"].as_u64());
            break;
        }
    }
    exchange.stop().await;
    let truth = truth(&truth_path);
    let tickers: Vec<&String> = lines.iter().filter(|line| line.contains(r#""type":"ticker""#)).collect();
    assert_eq!(frames(&truth), tickers);
    assert_eq!(truth.len(), 107);
    assert_eq!(truth[0]["price"], "14.7775");
    assert_eq!((&truth[0]["size"], &truth[0]["side"]), (&"0.04".into(), &"buy".into()));
}

#[tokio::test]
async fn a_message_of_more_than_a_megabyte_passes() {
    let path = data("2026-07-07-mixed.jsonl.gz");
    let exchange = Exchange::start(replay(&path, Speed::Max)).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD", "ETH-USD"], &["matches"]).await;
    let lines = recorded(&path);
    let longest = lines.iter().map(String::len).max().unwrap();
    assert!(longest > 1_000_000);
    assert_eq!(client.texts(lines.len()).await, lines);
    exchange.stop().await;
}

#[tokio::test]
async fn only_products_that_were_not_asked_for_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        ticker("BTC-USD", 1, 0),
        "{broken".to_owned(),
        r#"{"type":"status","products":[]}"#.to_owned(),
        ticker("ETH-USD", 1, 0),
        ticker("BTC-USD", 2, 0),
    ];
    let path = written(&folder, &lines);
    let exchange = Exchange::start(replay(&path, Speed::Max)).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let expected: Vec<_> = [0, 1, 2, 4].map(|index| lines[index].clone()).to_vec();
    assert_eq!(client.texts(4).await, expected);
    exchange.stop().await;
}

#[tokio::test]
async fn the_recorded_time_divided_by_the_factor_passes() {
    let folder = tempfile::tempdir().unwrap();
    // 4 s, of which the pause of three years counts as 2 s.
    let lines = [
        ticker("BTC-USD", 1, 0),
        ticker("BTC-USD", 2, 2),
        ticker("BTC-USD", 3, 3).replace("2021-04", "2024-04"),
    ];
    let path = written(&folder, &lines);
    let exchange = Exchange::start(replay(&path, Speed::Factor(8.0))).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let started = Instant::now();
    assert_eq!(client.texts(3).await, lines);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(480), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    exchange.stop().await;
}

#[tokio::test]
async fn a_later_connection_continues_where_the_replay_stands() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..60).map(|second| ticker("BTC-USD", second + 1, second)).collect();
    let path = written(&folder, &lines);
    let exchange = Exchange::start(replay(&path, Speed::Factor(20.0))).await;
    let mut first = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let before = first.texts(10).await;
    drop(first);
    // While nobody is subscribed the replay stands still, whoever else is connected.
    let _idle = Client::connect(&exchange.url).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut second = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let next = second.text().await;
    let position = lines.iter().position(|line| *line == next).unwrap();
    // Had it gone on, some 30 lines would be gone.
    assert!((before.len()..before.len() + 20).contains(&position), "{position}");
    assert_eq!(second.texts(lines.len() - position - 1).await, lines[position + 1..]);
    exchange.stop().await;
}

#[tokio::test]
async fn a_reader_that_sleeps_loses_nothing_and_two_clients_get_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..30_000).map(|number| ticker("BTC-USD", number, 0)).collect();
    let path = written(&folder, &lines);
    let exchange = Exchange::start(replay(&path, Speed::Max)).await;
    let mut slow = Client::connect(&exchange.url).await;
    let mut quick = Client::connect(&exchange.url).await;
    slow.subscribe(&["BTC-USD"], &["ticker"]).await;
    slow.next().await;
    quick.subscribe(&["BTC-USD"], &["ticker"]).await;
    quick.next().await;
    let (first, second) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            slow.texts(lines.len()).await
        },
        async {
            let start = quick.text().await;
            let position = lines.iter().position(|line| *line == start).unwrap();
            let rest = quick.texts(lines.len() - position - 1).await;
            assert_eq!(rest, lines[position + 1..]);
            rest.len()
        }
    );
    assert_eq!(first, lines);
    assert!(second > 0);
    exchange.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_disconnected_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..60_000).map(|number| ticker("BTC-USD", number, 0)).collect();
    let path = written(&folder, &lines);
    let config = Config { stall_timeout: Duration::from_millis(300), ..replay(&path, Speed::Max) };
    let exchange = Exchange::start(config).await;
    let mut dead = Client::connect(&exchange.url).await;
    dead.subscribe(&["BTC-USD"], &["ticker"]).await;
    let mut reader = Client::connect(&exchange.url).await;
    reader.subscribe(&["BTC-USD"], &["ticker"]).await;
    reader.next().await;
    let last = lines.last().unwrap();
    while reader.text().await != *last {}
    exchange.stop().await;
    let mut read: usize = 0;
    while dead.try_text().await.is_some() {
        read += 1;
    }
    assert!(read < lines.len(), "it was disconnected in the middle");
}
