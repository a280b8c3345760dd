//! The exchanges that `docs/streaming.md` shows, as they are written there, against a real gateway.

use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Client, Gateway, Publisher, config};

/// One line of an exchange: what the client sends, or what comes at some time after it.
enum Line {
    Sent(String),
    Received(Value),
}

/// The blocks marked `ws`, each with the line it begins at.
fn exchanges() -> Vec<(usize, Vec<Line>)> {
    let page = std::fs::read_to_string(testkit::workspace_root().join("docs/streaming.md")).unwrap();
    let mut exchanges = Vec::new();
    let mut open: Option<(usize, Vec<Line>)> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line) {
            (None, "```ws") => open = Some((number + 1, Vec::new())),
            (Some(_), "```") => exchanges.extend(open.take()),
            (Some((_, lines)), line) => match line.split_once(' ') {
                Some(("→", sent)) => lines.push(Line::Sent(sent.into())),
                Some(("←", received)) => {
                    let value = serde_json::from_str(received);
                    lines.push(Line::Received(
                        value.unwrap_or_else(|error| panic!("line {}: {error}", number + 1)),
                    ));
                }
                _ => panic!("line {}: neither sent nor received", number + 1),
            },
            (None, _) => {}
        }
    }
    exchanges
}

/// Whether `actual` is what `shown` shows: every member that is shown is there, texts are equal, and numbers and what is
/// shown as `…` are of the same kind.
fn is_shown(shown: &Value, actual: &Value) -> bool {
    match (shown, actual) {
        (Value::Object(shown), Value::Object(actual)) => {
            shown.iter().all(|(name, shown)| actual.get(name).is_some_and(|actual| is_shown(shown, actual)))
        }
        (Value::String(shown), Value::String(actual)) => {
            shown == actual || (shown == "…" && !actual.is_empty())
        }
        (Value::Number(_), Value::Number(_)) => true,
        (shown, actual) => shown == actual,
    }
}

async fn play(client: &mut Client, lines: &[Line], token: &str) {
    for line in lines {
        match line {
            Line::Sent(text) => client.send(&text.replace("TOKEN", token)).await,
            Line::Received(shown) => {
                // Whatever is not shown may come in between, but not for ever.
                let mut others = Vec::new();
                loop {
                    let actual = client.json().await;
                    if is_shown(shown, &actual) {
                        break;
                    }
                    others.push(actual);
                    assert!(others.len() < 1_000, "{shown} did not come, but {:#?}", &others[..5]);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exchange_happens_as_it_is_shown() {
    let gateway = Gateway::start(config()).await;
    let mut first = gateway.publisher("BTC-USD").await;
    first.publish([1]).await;
    gateway.tell_epoch(&first.instrument).await;
    let bus = gateway.bus.clone();
    let _market = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut publisher = Publisher::on(&bus, "BTC-USD").await;
        for sequence in 24_370_129_000.. {
            publisher.publish([sequence]).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }));
    // The token that an example resumes with.
    let mut client = gateway.websocket("/ws").await;
    client.send(r#"{"op":"subscribe","products":["BTC-USD"],"want":"lossless"}"#).await;
    let token = loop {
        if let Some(token) = client.json().await["data"]["token"].as_str() {
            break token.to_owned();
        }
    };
    let exchanges = exchanges();
    assert!(exchanges.len() >= 5, "{} exchanges are shown", exchanges.len());
    for (line, exchange) in &exchanges {
        println!("the exchange at line {line}");
        play(&mut gateway.websocket("/ws").await, exchange, &token).await;
    }
    gateway.stop().await;
}
