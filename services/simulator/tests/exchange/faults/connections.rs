//! What happens to connections and to who subscribes.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::{assert_complete, faulty, ids, kept, read_until};
use crate::support::{Client, End, Exchange, PATIENCE, truth, truth_faults};
use futures::{SinkExt as _, StreamExt as _};
use testkit::eventually;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_connection_ends_as_the_fault_says_and_another_can_be_made() {
    for (how, expected) in [
        ("close", vec![End::Closed(1012)]),
        ("cut", vec![End::Cut]),
        ("reset", vec![End::Broken(ErrorKind::ConnectionReset)]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let fault = format!("disconnect:after_ticks=20,how={how}");
        let (config, path) = faulty(&["BTC-USD"], &folder, &[&fault]);
        let exchange = Exchange::start(config).await;
        let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
        let end = client.end().await;
        assert!(expected.contains(&end), "{how}: {end:?}");
        let mut again = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
        again.texts(20).await;
        exchange.stop().await;
        assert_eq!(truth_faults(&path), [("disconnect".to_owned(), "happened".to_owned())]);
        // The newest of those that were missed is what the new subscriber is told at once.
        let mut kept = kept(&path);
        kept.pop();
        assert!(kept.iter().all(|(_, fault, sent)| fault == "disconnect" && !sent), "{kept:?}");
        assert_complete(&path);
    }
}

#[tokio::test]
async fn what_was_queued_before_a_disconnect_arrives_and_what_follows_is_missing_because_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (config, path) = faulty(&["BTC-USD"], &folder, &["disconnect:after_ticks=200,for=1s"]);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let mut got = Vec::new();
    while let Some(text) = client.try_text().await {
        got.push(serde_json::from_str::<serde_json::Value>(&text).unwrap());
    }
    assert_eq!(got.len(), 201, "the greeting and 200 more");
    let refused = tokio_tungstenite::connect_async(&exchange.url).await.unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    eventually(PATIENCE, || async { tokio_tungstenite::connect_async(&exchange.url).await.is_ok() }).await;
    let mut again = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    again.texts(50).await;
    exchange.stop().await;
    let kept = kept(&path);
    assert!(kept.len() > 300, "{}", kept.len());
    assert_eq!(kept[0].0, ids(&got).last().unwrap() + 1);
    assert!(kept.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
    assert_complete(&path);
}

#[tokio::test]
async fn a_stalled_connection_is_mute_while_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let fault = "stall:after_ticks=200,for=2s,connection=oldest";
    let (config, path) = faulty(&["BTC-USD"], &folder, &[fault]);
    let exchange = Exchange::start(config).await;
    let channels = ["ticker", "heartbeat"];
    let mut oldest = Client::subscribed(&exchange.url, &["BTC-USD"], &channels).await;
    let mut newest = Client::subscribed(&exchange.url, &["BTC-USD"], &channels).await;
    let mut got = Vec::new();
    let silence = loop {
        let asked = Instant::now();
        let text = oldest.text().await;
        if asked.elapsed() > Duration::from_millis(1_200) {
            break asked.elapsed();
        }
        got.push(text);
    };
    assert!(silence > Duration::from_millis(1_700) && silence < Duration::from_secs(10), "{silence:?}");
    let (tickers, _) =
        read_until(&mut newest, |tickers, _| tickers.values().any(|list| list.len() > 1_000)).await;
    let all = ids(&tickers["BTC-USD"]);
    assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1), "nothing is missing here");
    exchange.stop().await;
    let kept = kept(&path);
    assert!(kept.len() > 500 && kept.iter().all(|(_, fault, sent)| fault == "stall" && *sent));
    assert_complete(&path);
}

#[tokio::test]
async fn a_new_connection_can_be_stalled_and_is_answered_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = faulty(&["BTC-USD"], &folder, &["stall:after_ticks=20,for=2s,also_new=true"]);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    client.texts(21).await;
    let mut late = Client::connect(&exchange.url).await;
    late.subscribe(&["BTC-USD"], &["ticker"]).await;
    let asked = Instant::now();
    assert_eq!(late.next().await["type"], "subscriptions");
    assert!(asked.elapsed() > Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(late.next().await["type"], "ticker");
    exchange.stop().await;
}

#[tokio::test]
async fn a_product_is_refused_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["BTC-USD", "ETH-USD"];
    let faults =
        ["refuse:products=ETH-USD,for=1s", "refuse:products=ETH-USD,at=2s,for=1h,how=error,name=error"];
    let (config, path) = faulty(&names, &folder, &faults);
    let exchange = Exchange::start(config).await;
    let mut client = Client::connect(&exchange.url).await;
    client.subscribe(&names, &["ticker"]).await;
    let answer = client.next().await;
    assert_eq!(answer["channels"][0]["product_ids"], serde_json::json!(["BTC-USD"]));
    let answered = async |client: &mut Client, kind: &str| {
        client.subscribe(&["ETH-USD"], &["heartbeat"]).await;
        loop {
            let message = client.next().await;
            if message["type"] != "ticker" && message["type"] != "heartbeat" {
                return (message["type"] == kind).then_some(message);
            }
        }
    };
    // First it is confirmed without, then with, and then the whole request is refused.
    let mut confirmed = 0;
    let refused = loop {
        let answer = answered(&mut client, "error").await;
        confirmed += u32::from(answer.is_none());
        if let Some(refused) = answer {
            break refused;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(confirmed > 5);
    assert_eq!(refused["reason"], "ETH-USD is not a valid product");
    exchange.stop().await;
    let unsent =
        truth(&path).into_iter().filter(|line| line["product"] == "ETH-USD" && line["kept_by"] == "refuse");
    assert!(unsent.count() > 50);
}

#[tokio::test]
async fn a_handshake_can_be_slow() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = faulty(&["BTC-USD"], &folder, &["slow_accept:by=400ms,count=1"]);
    let exchange = Exchange::start(config).await;
    let started = Instant::now();
    Client::connect(&exchange.url).await;
    let first = started.elapsed();
    assert!(first >= Duration::from_millis(400), "{first:?}");
    exchange.stop().await;
}

#[tokio::test]
async fn an_outage_and_a_refusal_of_everything_from_the_start_end_by_themselves() {
    for fault in ["disconnect:for=500ms", "refuse:products=BTC-USD,for=500ms,how=error"] {
        let folder = tempfile::tempdir().unwrap();
        let (config, _) = faulty(&["BTC-USD"], &folder, &[fault]);
        let exchange = Exchange::start(config).await;
        let started = Instant::now();
        eventually(PATIENCE, || async {
            let Ok((mut socket, _)) = tokio_tungstenite::connect_async(&exchange.url).await else {
                return false;
            };
            let request = venues::coinbase::Request::subscribe_text(&["BTC-USD"], &["ticker"]);
            socket.send(Message::text(request)).await.unwrap();
            let answer = socket.next().await.unwrap().unwrap();
            answer.to_text().unwrap().contains("subscriptions")
        })
        .await;
        assert!(started.elapsed() >= Duration::from_millis(450), "{fault}: {:?}", started.elapsed());
        exchange.stop().await;
    }
}
