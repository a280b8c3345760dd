//! `ledgerflux watch` in a pipe and on a pseudo terminal, with gateways that die and come back and one that asks for keys.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod apart;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use apart::Apart;
use domain::parse_number;
use serde_json::Value;
use support::{SOON, START, demo, demo_at, ledgerflux};
use testkit::{Process, Scratch, eventually, workspace_root};

fn lines(watch: &Process) -> Vec<Value> {
    watch.stdout().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A 64-bit number, which is a text in the JSON of protobuf.
fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

fn has_checkpoint(watch: &Process) -> bool {
    lines(watch).iter().any(|line| line["event"]["resumeToken"].is_string())
}

/// What is said of the connection and of the stream, in order; of repetitions only the first.
fn told(watch: &Process) -> Vec<String> {
    let kinds = ["STREAM_EVENT_KIND_LIVE", "STREAM_EVENT_KIND_NOT_RECOVERED"];
    let said = lines(watch).into_iter().filter_map(|line| {
        let said = line["connection"]["state"].as_str().or(line["event"]["kind"].as_str())?;
        (line["connection"].is_object() || kinds.contains(&said)).then(|| said.to_owned())
    });
    let mut told: Vec<String> = said.collect();
    told.dedup();
    told
}

fn count(watch: &Process, member: &str) -> usize {
    lines(watch).iter().filter(|line| line[member].is_object()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn into_a_pipe_go_exact_lines() {
    let data = Scratch::new();
    let mut demo = demo(&data).await;
    let address = demo.address("gateway", START).await;
    let mut short = ledgerflux().args(["watch", "btc-usd", "--server", &address, "--count", "5"]).spawn();
    assert!(short.wait(SOON).await.success(), "{}", short.stderr());
    let five = lines(&short);
    assert_eq!(five.len(), 5, "{five:?}");
    let snapshot = &five[0]["snapshot"]["snapshot"];
    assert_eq!(snapshot["product"], "BTC-USD");
    parse_number(snapshot["state"]["lastTrade"]["price"].as_str().expect("a price is a text")).unwrap();
    let sequences: Vec<u64> =
        five.iter().filter_map(|line| number(&line["tick"]["tick"]["sequence"])).collect();
    assert!(sequences.len() >= 3 && sequences.is_sorted_by(|a, b| a < b), "{five:?}");

    // A reader that has enough is no failure.
    let pipe = "\"$0\" watch --server \"$1\" | head -n 2 >&2; echo ${PIPESTATUS[0]}";
    let mut pipe =
        Process::builder("bash").args(["-c", pipe, env!("CARGO_BIN_EXE_ledgerflux"), &address]).spawn();
    assert!(pipe.wait(SOON).await.success(), "{}", pipe.stderr());
    assert_eq!(pipe.stdout().trim(), "0", "{}", pipe.stderr());

    let mut refused = ledgerflux().args(["watch", "no product", "--server", &address]).spawn();
    assert_eq!(refused.wait(SOON).await.code(), Some(1), "{}", refused.stderr());
    assert!(refused.stderr().contains("NO PRODUCT"), "{}", refused.stderr());
    assert!(demo.terminate(SOON).await.success(), "{}", demo.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_while_the_market_goes_on_costs_no_trade_and_repeats_none() {
    let mut world = Apart::start().await;
    let mut first = world.gateway("127.0.0.1:0").await;
    let address = first.address("gateway", START).await;
    let mut watch = ledgerflux().args(["watch", "--server", &address]).spawn();
    eventually(SOON, || async { count(&watch, "tick") > 5 && has_checkpoint(&watch) }).await;
    // Some more, so that the token is older than what has come.
    let before = count(&watch, "tick");
    eventually(SOON, || async { count(&watch, "tick") > before + 20 }).await;
    first.kill().await;
    eventually(SOON, || async { count(&watch, "connection") > 0 }).await;
    let before = count(&watch, "tick");
    let mut second = world.gateway(&address).await;
    eventually(SOON, || async { count(&watch, "tick") > before + 50 }).await;
    assert!(watch.terminate(SOON).await.success(), "{}", watch.stderr());

    assert_eq!(told(&watch), ["STREAM_EVENT_KIND_LIVE", "lost", "resumed", "STREAM_EVENT_KIND_LIVE"]);
    let lines = lines(&watch);
    let mut newest = BTreeMap::new();
    let mut trades: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for line in &lines {
        let tick = &line["tick"]["tick"];
        if let Some(sequence) = number(&tick["sequence"]) {
            assert!(line["tick"]["skipped"].is_null(), "left out: {line}");
            let product = tick["product"].as_str().unwrap().to_owned();
            let before = newest.insert(product.clone(), sequence);
            assert!(before.is_none_or(|before| before < sequence), "a step back: {line}");
            trades.entry(product).or_default().insert(number(&tick["lastTrade"]["tradeId"]).unwrap());
        }
    }
    assert_eq!(trades.len(), 3);
    let mut missing: Vec<(&String, u64)> = Vec::new();
    for (product, trades) in &trades {
        let all = *trades.first().unwrap()..=*trades.last().unwrap();
        missing.extend(all.filter(|id| !trades.contains(id)).map(|id| (product, id)));
    }
    // What the exchange left out is known as missing, a moment after the trade behind it at the latest.
    let waiting = Instant::now();
    while !missing.is_empty() {
        let gaps = world.gaps().await;
        let lies_in =
            |product: &String, id| gaps.iter().any(|gap| gap.0 == *product && (gap.1..=gap.2).contains(&id));
        missing.retain(|(product, id)| !lies_in(product, *id));
        assert!(waiting.elapsed() < SOON, "neither sent nor known as missing: {missing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(second.terminate(SOON).await.success(), "{}", second.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_is_a_table_that_survives_a_dead_gateway_and_gives_the_terminal_back() {
    let data = Scratch::new();
    let mut first = demo(&data).await;
    let address = first.address("gateway", START).await;
    let mut person = Process::builder("python3")
        .arg(workspace_root().join("tests/terminal/watch.py"))
        .args([env!("CARGO_BIN_EXE_ledgerflux"), &address])
        .spawn();
    person.output_with("kill the gateway", SOON).await;
    // A token is nothing to go on from when the bus dies as well, and a pipe is told so too. This one began after the person's,
    // who has a token by then.
    let mut pipe = ledgerflux().args(["watch", "--server", &address]).spawn();
    eventually(SOON, || async { has_checkpoint(&pipe) }).await;
    first.kill().await;
    person.output_with("start the gateway", SOON).await;
    let mut second = demo_at(&data, &address, &[]).await;
    assert!(person.wait(SOON).await.success(), "{}\n{}", person.stdout(), person.stderr());
    eventually(SOON, || async { told(&pipe).iter().any(|told| told == "restarted") }).await;
    let (live, not_recovered) = ("STREAM_EVENT_KIND_LIVE", "STREAM_EVENT_KIND_NOT_RECOVERED");
    eventually(SOON, || async { told(&pipe).last().is_some_and(|told| told == live) }).await;
    assert_eq!(told(&pipe), [live, "lost", not_recovered, "restarted", live]);
    assert!(pipe.terminate(SOON).await.success(), "{}", pipe.stderr());
    assert!(second.terminate(SOON).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_comes_from_the_environment_and_its_end_is_the_end() {
    let data = Scratch::new();
    let file = data.join("keys.toml").display().to_string();
    let mut create = ledgerflux()
        .args(["keys", "create", "--keys", &file, "--name", "w", "--products", "BTC-USD"])
        .spawn();
    assert!(create.wait(SOON).await.success(), "{}", create.stderr());
    let key = create.stdout().lines().find(|line| line.starts_with("lf_")).expect("the key").to_owned();
    let mut demo = demo_at(&data, "127.0.0.1:0", &["--keys", &file]).await;
    let address = demo.address("gateway", START).await;

    let watch = |key: &str| ledgerflux().args(["watch", "--server", &address]).env("LEDGERFLUX_KEY", key);
    for (key, told) in [("", "a key or token is needed"), ("lf_00000000_0", "nobody has this key")] {
        let mut refused = watch(key).spawn();
        assert_eq!(refused.wait(SOON).await.code(), Some(1), "{}", refused.stderr());
        assert!(refused.stderr().contains(told) && refused.stdout().is_empty(), "{}", refused.stderr());
    }
    let mut allowed = watch(&key).spawn();
    eventually(SOON, || async { count(&allowed, "tick") > 3 }).await;
    let products = lines(&allowed)
        .into_iter()
        .filter_map(|line| line["tick"]["tick"]["product"].as_str().map(str::to_owned));
    assert_eq!(products.collect::<BTreeSet<_>>(), BTreeSet::from(["BTC-USD".to_owned()]));
    let id = key.split('_').nth(1).unwrap();
    let mut revoke = ledgerflux().args(["keys", "revoke", "--keys", &file, id]).spawn();
    assert!(revoke.wait(SOON).await.success(), "{}", revoke.stderr());
    assert_eq!(allowed.wait(SOON).await.code(), Some(1));
    assert!(allowed.stderr().contains("revoked"), "{}", allowed.stderr());
    assert!(!allowed.stderr().contains(&key) && !allowed.stdout().contains(&key));
    assert!(demo.terminate(SOON).await.success());
}

#[tokio::test]
async fn who_cannot_be_reached_and_what_cannot_be_asked_for_is_said_at_once() {
    let mut nobody = ledgerflux().args(["watch", "--server", "127.0.0.1:1"]).spawn();
    assert_eq!(nobody.wait(SOON).await.code(), Some(1));
    assert!(nobody.stderr().contains("cannot connect to http://127.0.0.1:1"), "{}", nobody.stderr());
    let mut wrong = ledgerflux().args(["watch", "--server", "ftp://host"]).spawn();
    assert_eq!(wrong.wait(SOON).await.code(), Some(2));
    let mut help = ledgerflux().args(["watch", "--help"]).spawn();
    assert!(help.wait(SOON).await.success());
    for part in
        ["PRODUCTS", "--server", "--count", "--conflate", "LEDGERFLUX_KEY", "Examples:", "Exit codes:"]
    {
        assert!(help.stdout().contains(part), "{part} is missing in\n{}", help.stdout());
    }
}
