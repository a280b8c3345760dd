//! What a browser and an operator ask for.

use std::{num::NonZeroU32, time::Duration};

use bus::Bus;
use gateway::{Config, FeedLabel};
use runtime::{Readiness, RoleContext, Shutdown};
use serde_json::Value;
use testkit::Process;
use tokio::{net::TcpListener, time::timeout};

use crate::harness::{Gateway, PATIENCE, config};

/// All that a browser may do with the page: load files from where it came from, and call there.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The files that the page names.
async fn parts(gateway: &Gateway) -> Vec<String> {
    let html = gateway.get("/").await;
    let targets = html.split(['<', '>']).filter(|tag| tag.starts_with("script ") || tag.starts_with("link "));
    let targets = targets.filter_map(|tag| tag.split_once("src=\"").or_else(|| tag.split_once("href=\"")));
    targets.map(|(_, rest)| rest.split('"').next().unwrap().trim_start_matches('.').to_owned()).collect()
}

#[tokio::test]
async fn the_page_comes_with_a_strict_policy() {
    let gateway = Gateway::start(config()).await;
    let parts = parts(&gateway).await;
    assert_eq!(parts.len(), 3, "run `make page`: {parts:?}");
    for (path, kind) in
        [("/", "text/html"), ("js", "text/javascript"), ("css", "text/css"), ("svg", "image/svg")]
    {
        let path = parts.iter().find(|part| part.ends_with(path)).map_or(path, String::as_str);
        let answer = gateway.get(path).await;
        let head = answer.split_once("\r\n\r\n").unwrap().0.to_lowercase();
        assert!(
            head.starts_with("http/1.1 200 ") && head.contains(&format!("content-type: {kind}")),
            "{head}"
        );
        let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
        assert_eq!(policy, Some(POLICY), "{path}");
        for also in [
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
        ] {
            assert!(head.lines().any(|line| line == also), "{path}: {also} is missing in\n{head}");
        }
    }
    assert!(gateway.get("/../Cargo.toml").await.starts_with("HTTP/1.1 404 "));
    let post = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        gateway.address
    );
    assert!(gateway.http(&post).await.starts_with("HTTP/1.1 405 "));
    gateway.stop().await;
}

#[tokio::test]
async fn an_unchanged_file_is_not_sent_again() {
    let gateway = Gateway::start(config()).await;
    let path = parts(&gateway).await.remove(0);
    let answer = gateway.get(&path).await;
    let tag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let again = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nif-none-match: {tag}\r\nconnection: close\r\n\r\n",
        gateway.address
    );
    assert!(gateway.http(&again).await.starts_with("HTTP/1.1 304 "));
    gateway.stop().await;
}

#[tokio::test]
async fn the_page_is_told_what_the_data_is() {
    let label = FeedLabel::Replay { file: "session.jsonl.gz".into() };
    let gateway = Gateway::start(Config { feed_label: label, ..config() }).await;
    gateway.publisher("ETH-USD").await.publish([1]).await;
    gateway.publisher("BTC-USD").await.publish([1]).await;
    let info = testkit::eventually(crate::harness::PATIENCE, || async {
        let info = body(&gateway.get("/info.json").await);
        (info["products"].as_array().unwrap().len() == 2).then_some(info)
    })
    .await;
    assert_eq!((info["feed"].as_str(), info["file"].as_str()), (Some("replay"), Some("session.jsonl.gz")));
    assert_eq!(info["products"][0]["product"], "BTC-USD");
    assert!(info["version"].is_string());
    gateway.stop().await;
}

#[tokio::test]
async fn health_and_readiness_are_answered_here_too() {
    let gateway = Gateway::start(config()).await;
    assert!(gateway.get("/health").await.starts_with("HTTP/1.1 200 "));
    let ready = gateway.get("/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert_eq!(body(&ready)["ready"], true);
    // Metrics have a port of their own.
    assert!(gateway.get("/metrics").await.starts_with("HTTP/1.1 404 "));
    gateway.stop().await;
}

#[tokio::test]
async fn it_is_not_ready_before_anything_runs_nor_while_the_bus_cannot_be_followed() {
    let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
    let other = readiness.latch("other");
    other.set_ready();
    assert!(readiness.is_ready());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    // Without streams there is nothing to follow yet.
    let bus = Bus::embedded(&bus::Config::default());
    let ctx = RoleContext::new(readiness.clone(), shutdown.clone());
    let role = gateway::run(config(), listener, bus.clone(), ctx);
    assert!(!readiness.is_ready());
    let running = tokio::spawn(role);
    let told = || async {
        let waiting = readiness.report().waiting;
        waiting.iter().any(|latch| latch.reason.contains("the stream cannot be followed"))
    };
    testkit::eventually(PATIENCE, told).await;
    bus.ensure_streams().await.unwrap();
    timeout(PATIENCE, readiness.ready()).await.expect("the gateway becomes ready");
    shutdown.request();
    timeout(PATIENCE, running).await.expect("the gateway drains").unwrap().unwrap();
}

/// In a real browser, as `gateway/web/browser/load.mjs` says.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_updates_a_second_do_not_freeze_the_page() {
    let unlimited = NonZeroU32::new(1_000_000).unwrap();
    let rate = live::Rate { per_second: unlimited, burst: unlimited };
    let gateway = Gateway::start(Config { rate, ..config() }).await;
    let mut publishers = Vec::new();
    for number in 0..20 {
        publishers.push(gateway.publisher(&format!("P{number:02}-USD")).await);
    }
    let publishing = tokio::spawn(async move {
        for start in (1..).step_by(32) {
            for publisher in &mut publishers {
                publisher.publish(start..start + 32).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let root = testkit::workspace_root();
    let mut browser = Process::builder("node")
        .arg(root.join("gateway/web/browser/load.mjs"))
        .arg(format!("http://{}/", gateway.address))
        .arg(root.join("target/screenshots"))
        .arg("10000")
        .spawn();
    let status = browser.wait(Duration::from_secs(90)).await;
    assert!(status.success(), "{}\n{}", browser.stdout(), browser.stderr());
    publishing.abort();
    gateway.stop().await;
}
