//! `ledgerflux watch` in a pipe and on a pseudo terminal, against a demo that dies and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use domain::parse_number;
use serde_json::Value;
use support::{SOON, START, ledgerflux, ready};
use testkit::{Process, Scratch, eventually, workspace_root};

async fn demo(data: &Scratch, gateway: &str) -> Process {
    let mut demo = ledgerflux()
        .args(["demo", "--listen", gateway, "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .args(["--print-addresses", "--data-dir"])
        .arg(data.path())
        .spawn();
    ready(&demo.address("ops", START).await).await;
    demo
}

fn lines(watch: &Process) -> Vec<Value> {
    watch.stdout().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn into_a_pipe_go_exact_lines_and_a_dead_gateway_is_survived() {
    let data = Scratch::new();
    let mut first = demo(&data, "127.0.0.1:0").await;
    let address = first.address("gateway", START).await;

    let mut short = ledgerflux().args(["watch", "btc-usd", "--server", &address, "--count", "5"]).spawn();
    assert!(short.wait(SOON).await.success(), "{}", short.stderr());
    let five = lines(&short);
    assert_eq!(five.len(), 5, "{five:?}");
    let snapshot = &five[0]["snapshot"]["snapshot"];
    assert_eq!(snapshot["product"], "BTC-USD");
    parse_number(snapshot["state"]["lastTrade"]["price"].as_str().expect("a price is a text")).unwrap();
    let sequence = |line: &Value| line["tick"]["tick"]["sequence"].as_str()?.parse::<u64>().ok();
    let sequences: Vec<u64> = five.iter().filter_map(sequence).collect();
    assert!(sequences.len() >= 3 && sequences.is_sorted_by(|a, b| a < b), "{five:?}");

    let mut long = ledgerflux().args(["watch", "--server", &address]).spawn();
    let ticks = |watch: &Process| lines(watch).iter().filter(|line| line["tick"].is_object()).count();
    let connection = |watch: &Process| {
        let mut lines = lines(watch);
        lines.retain(|line| line["connection"].is_object());
        lines
    };
    let has_checkpoint =
        |watch: &Process| lines(watch).iter().any(|line| line["event"]["resumeToken"].is_string());
    eventually(SOON, || async { ticks(&long) > 5 && has_checkpoint(&long) }).await;
    first.kill().await;
    eventually(SOON, || async { !connection(&long).is_empty() }).await;
    assert_eq!(connection(&long)[0]["connection"]["state"], "lost");
    let before = ticks(&long);
    let mut second = demo(&data, &address).await;
    eventually(SOON, || async { ticks(&long) > before + 5 }).await;
    assert_eq!(connection(&long).last().unwrap()["connection"]["state"], "resumed");
    let mut newest = std::collections::BTreeMap::new();
    for line in lines(&long) {
        if let Some(sequence) = sequence(&line) {
            let before = newest.insert(line["tick"]["tick"]["product"].to_string(), sequence);
            assert!(before.is_none_or(|before| before < sequence), "a step back over the seam: {line}");
        }
    }
    assert!(long.terminate(SOON).await.success(), "{}", long.stderr());
    assert!(second.terminate(SOON).await.success(), "{}", second.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_is_a_table_that_gives_the_terminal_back() {
    let data = Scratch::new();
    let mut demo = demo(&data, "127.0.0.1:0").await;
    let address = demo.address("gateway", START).await;
    let mut person = Process::builder("python3")
        .arg(workspace_root().join("tests/terminal/watch.py"))
        .args([env!("CARGO_BIN_EXE_ledgerflux"), &address])
        .spawn();
    assert!(person.wait(SOON).await.success(), "{}\n{}", person.stdout(), person.stderr());
    assert!(demo.terminate(SOON).await.success());
}

#[tokio::test]
async fn who_cannot_be_reached_and_what_cannot_be_asked_for_is_said_at_once() {
    let mut nobody = ledgerflux().args(["watch", "--server", "127.0.0.1:1"]).spawn();
    assert_eq!(nobody.wait(SOON).await.code(), Some(1));
    assert!(nobody.stderr().contains("cannot connect to http://127.0.0.1:1"), "{}", nobody.stderr());
    let mut wrong = ledgerflux().args(["watch", "--server", "ftp://host"]).spawn();
    assert_eq!(wrong.wait(SOON).await.code(), Some(2));
}
