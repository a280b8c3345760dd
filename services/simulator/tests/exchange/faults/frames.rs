//! What happens to messages on their way.

use std::time::{Duration, Instant};

use super::{assert_complete, faulty, ids, kept, read_until};
use crate::support::{Client, Exchange, Http, frames, market, replay, script, truth, truth_faults};
use simulator::{Config, Error, Rate, Speed};
use venues::coinbase::rest::parse_trades;

/// Tickers of a recording: made up, numbered from 1.
fn lines(count: u64) -> Vec<String> {
    let line = |number: u64| {
        format!(
            r#"{{"type":"ticker","sequence":{},"product_id":"BTC-USD","price":"1.50","side":"buy","time":"2021-04-17T00:00:00.000000Z","trade_id":{number},"last_size":"2"}}"#,
            number * 10
        )
    };
    (1..=count).map(line).collect()
}

fn recording(folder: &tempfile::TempDir, lines: &[String], faults: &[&str]) -> Config {
    let path = folder.path().join("recording.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    Config {
        faults: script(faults),
        truth: Some(folder.path().join("truth.jsonl")),
        ..replay(&path, Speed::Max)
    }
}

#[tokio::test]
async fn dropped_tickers_are_missing_told_by_heartbeats_and_found_in_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = faulty(&["BTC-USD"], &folder, &["drop:after_ticks=50,count=20"]);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker", "heartbeat"]).await;
    let (tickers, _) =
        read_until(&mut client, |tickers, _| tickers.values().any(|list| list.len() > 150)).await;
    let got = ids(&tickers["BTC-USD"]);
    let missing: Vec<u64> = (got[0]..*got.last().unwrap()).filter(|id| !got.contains(id)).collect();
    assert_eq!(missing.len(), 20);
    assert_eq!(missing[19] - missing[0], 19, "in one piece");
    let mut http = Http::connect(&exchange.url).await;
    let page = http.get(&format!("/products/BTC-USD/trades?limit=20&after={}", missing[19] + 1)).await;
    let found: Vec<u64> =
        parse_trades(&page.body).unwrap().iter().rev().map(|trade| trade.trade_id).collect();
    assert_eq!(found, missing);
    exchange.stop().await;
    let expected: Vec<_> = missing.into_iter().map(|id| (id, "drop".to_owned(), false)).collect();
    assert_eq!(kept(&path), expected);
    let event = |event: &str| ("drop".to_owned(), event.to_owned());
    assert_eq!(truth_faults(&path), [event("began"), event("ended")]);
    assert_complete(&path);
}

#[tokio::test]
async fn a_mute_product_has_heartbeats_that_tell_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["BTC-USD", "ETH-USD"];
    let (config, path) = faulty(&names, &folder, &["mute:after_ticks=50,products=BTC-USD,for=3s"]);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &names, &["ticker", "heartbeat"]).await;
    let mut told = 0;
    let (tickers, _) = read_until(&mut client, |tickers, heartbeats| {
        let count = |name| tickers.get(name).map_or(0, Vec::len);
        let newest = |name: &str| tickers.get(name).and_then(|list| list.last());
        if let (Some(ticker), Some(heartbeat)) = (newest("BTC-USD"), heartbeats.get("BTC-USD")) {
            let ahead = heartbeat["last_trade_id"].as_u64() > ticker["trade_id"].as_u64();
            let after = heartbeat["sequence"].as_u64() > ticker["sequence"].as_u64();
            told += u32::from(ahead && after);
        }
        // After the fault its tickers come again.
        count("BTC-USD") > 150 && count("ETH-USD") > 450
    })
    .await;
    assert!(told > 0, "heartbeats went on and were ahead");
    let got = ids(&tickers["BTC-USD"]);
    let jumps = got.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert_eq!(jumps, 1);
    let others = ids(&tickers["ETH-USD"]);
    assert!(others.windows(2).all(|pair| pair[1] == pair[0] + 1));
    exchange.stop().await;
    let kept = kept(&path);
    assert!(kept.len() > 100 && kept.iter().all(|(_, fault, sent)| fault == "mute" && !sent), "{kept:?}");
    assert_complete(&path);
}

#[tokio::test]
async fn a_product_can_be_mute_altogether() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["BTC-USD", "ETH-USD"];
    let (config, _) = faulty(&names, &folder, &["mute:at=0s,products=BTC-USD,also_heartbeats=true"]);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &names, &["ticker", "heartbeat"]).await;
    let mut heartbeats = 0;
    while heartbeats < 3 {
        let message = client.next().await;
        assert_eq!(message["product_id"], "ETH-USD", "{message}");
        heartbeats += u32::from(message["type"] == "heartbeat");
    }
    exchange.stop().await;
}

#[tokio::test]
async fn each_fault_does_to_tickers_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let lines = lines(100);
    let faults = [
        "duplicate:after_ticks=10,count=2",
        "repeat:after_ticks=20,last=5",
        "reorder:after_ticks=30,count=4,window=2",
        "corrupt:after_ticks=40,count=1,how=number",
        "drop:after_ticks=50,count=3",
        "error:after_ticks=60,message=Whoops,reason=because",
        "oversized:after_ticks=70,bytes=2000",
        "corrupt:after_ticks=80,count=1,how=garbage,name=garbage",
    ];
    let exchange = Exchange::start(recording(&folder, &lines, &faults)).await;
    let mut expected = lines.clone();
    expected[40] = lines[40].replace(r#""price":"1.50""#, r#""price":"0.-1.50""#);
    // From the end, so that the numbers above stay what they are.
    expected.insert(70, "oversized".to_owned());
    expected.insert(60, r#"{"type":"error","message":"Whoops","reason":"because"}"#.to_owned());
    expected.drain(50..53);
    expected.swap(30, 31);
    expected.swap(32, 33);
    expected.splice(20..20, lines[15..20].iter().cloned());
    expected.splice(10..12, [10, 10, 11, 11].map(|index| lines[index].clone()));
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let mut got = client.texts(expected.len()).await;
    let oversized = got.iter().position(|text| text.len() == 2_000).expect("an oversized frame");
    got[oversized] = "oversized".to_owned();
    let garbage = expected.iter().position(|line| *line == lines[80]).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&got[garbage]).is_err(), "{}", got[garbage]);
    expected[garbage] = got[garbage].clone();
    assert_eq!(got, expected);
    exchange.stop().await;
    let path = folder.path().join("truth.jsonl");
    let lost = |id, fault: &str| (id, fault.to_owned(), false);
    let expected =
        [lost(41, "corrupt"), lost(51, "drop"), lost(52, "drop"), lost(53, "drop"), lost(81, "garbage")];
    assert_eq!(kept(&path), expected);
    assert_complete(&path);
}

#[tokio::test]
async fn a_repetition_of_more_than_the_queue_holds_costs_no_connection() {
    let faults = script(&["repeat:after_ticks=200,last=200"]);
    // Room for 0.6 s of the market: a pause of the machine makes no slow client.
    let market = market(&["BTC-USD"], Rate::PerSecond(100));
    let config = Config { faults, queue_messages_max: 64, ..market };
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let mut ids = Vec::new();
    while ids.len() < 450 {
        let message = client.next().await;
        ids.extend(message["trade_id"].as_u64());
    }
    let back: Vec<u64> =
        ids.windows(2).filter(|ids| ids[1] < ids[0]).map(|ids| ids[0] - ids[1] + 1).collect();
    assert_eq!(back, [200], "{ids:?}");
    exchange.stop().await;
}

#[tokio::test]
async fn a_faulty_ticker_can_be_read_and_the_truth_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = faulty(&["BTC-USD"], &folder, &["corrupt:after_ticks=5,count=3,how=crossed"]);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let (tickers, _) =
        read_until(&mut client, |tickers, _| tickers.get("BTC-USD").is_some_and(|list| list.len() > 20))
            .await;
    exchange.stop().await;
    let number =
        |ticker: &serde_json::Value, key: &str| ticker[key].as_str().unwrap().parse::<f64>().unwrap();
    let is_crossed = |ticker: &&serde_json::Value| number(ticker, "best_bid") > number(ticker, "best_ask");
    let tickers = &tickers["BTC-USD"];
    let crossed: Vec<u64> =
        tickers.iter().filter(is_crossed).map(|ticker| ticker["trade_id"].as_u64().unwrap()).collect();
    assert_eq!(crossed.len(), 3);
    let truth = truth(&folder.path().join("truth.jsonl"));
    let told = truth.iter().filter(|line| line["faulty"] == true);
    assert!(told.clone().all(|line| line["sent"] == false && line["kept_by"] == "corrupt"));
    assert_eq!(told.map(|line| line["trade_id"].as_u64().unwrap()).collect::<Vec<_>>(), crossed);
}

#[tokio::test]
async fn chance_is_the_same_for_the_same_seed() {
    let faults = ["drop:percent=20,name=drop", "corrupt:percent=10,how=cut", "reorder:window=3"];
    let lines = lines(300);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let exchange = Exchange::start(recording(&folder, &lines, &faults)).await;
        let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
        // The last window may wait for a second.
        let mut got = Vec::new();
        while let Some(text) = client.text_within(Duration::from_millis(1_500)).await {
            got.push(text);
        }
        exchange.stop().await;
        let truth = truth(&folder.path().join("truth.jsonl"));
        assert_eq!(truth.len(), 300);
        let whole: Vec<&String> = got.iter().filter(|text| lines.contains(text)).collect();
        assert_eq!(frames(&truth), whole, "in the order in which they went out");
        runs.push(got);
    }
    assert_ne!(runs[0], lines);
    assert_eq!(runs[0], runs[1]);
}

/// Whoever it was late for is gone when it is due.
#[tokio::test]
async fn a_late_ticker_with_which_somebody_was_greeted_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = faulty(&["BTC-USD"], &folder, &["reorder:after_ticks=20,window=1000"]);
    let exchange = Exchange::start(config).await;
    let mut first = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    // The twenty, and then what has gathered for a second.
    first.texts(21).await;
    drop(first);
    let mut second = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let greeting = second.next().await["trade_id"].clone();
    drop(second);
    exchange.stop().await;
    let told = truth(&path).into_iter().find(|line| line["trade_id"] == greeting).unwrap();
    assert_eq!(told["sent"], true, "{told}");
}

#[tokio::test]
async fn a_delay_keeps_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let lines = lines(100);
    let exchange =
        Exchange::start(recording(&folder, &lines, &["delay:after_ticks=10,count=5,by=500ms"])).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    assert_eq!(client.texts(10).await, lines[..10]);
    let started = Instant::now();
    assert_eq!(client.texts(90).await, lines[10..]);
    let took = started.elapsed();
    assert!((Duration::from_millis(450)..Duration::from_secs(10)).contains(&took), "{took:?}");
    exchange.stop().await;
    let truth = truth(&folder.path().join("truth.jsonl"));
    assert_eq!(frames(&truth), lines);
    assert!(truth.iter().all(|line| line["kept_by"].is_null()));
}

#[tokio::test]
async fn sequences_begin_anew_and_trades_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["BTC-USD", "ETH-USD"];
    let faults = ["sequence_reset:after_ticks=20,products=BTC-USD,to=1000"];
    let (config, _) = faulty(&names, &folder, &faults);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &names, &["ticker", "heartbeat"]).await;
    let (tickers, heartbeats) = read_until(&mut client, |tickers, heartbeats| {
        tickers.len() == 2 && tickers.values().all(|list| list.len() > 50) && heartbeats.len() == 2
    })
    .await;
    let sequences = |name: &str| -> Vec<u64> {
        tickers[name].iter().map(|ticker| ticker["sequence"].as_u64().unwrap()).collect()
    };
    let falls = |name| sequences(name).windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!((falls("BTC-USD"), falls("ETH-USD")), (1, 0));
    assert!(*sequences("BTC-USD").last().unwrap() < 1_000_000);
    assert!(ids(&tickers["BTC-USD"]).windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(heartbeats["ETH-USD"]["sequence"].as_u64().unwrap() > 1_000_000);
    exchange.stop().await;
}

#[tokio::test]
async fn a_script_that_does_not_fit_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for faults in ["drop:products=X-USD", "sequence_reset"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ctx = runtime::RoleContext::new(runtime::Readiness::new(), runtime::Shutdown::new());
        let config = recording(&folder, &lines(1), &[faults]);
        assert!(matches!(simulator::run(config, listener, ctx).await, Err(Error::Faults(_))), "{faults}");
    }
}
