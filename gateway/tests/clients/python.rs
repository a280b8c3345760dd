//! Clients in Python: that of the original system, unchanged, and one of gRPC.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::harness::{Gateway, PATIENCE, config, config_with};

/// Where no query service is.
const NOBODY: &str = "http://127.0.0.1:1";

#[tokio::test]
async fn the_original_client_works_also_before_the_first_tick() {
    let gateway = Gateway::start(config()).await;
    let mut client = Command::new("python3")
        .arg(testkit::workspace_root().join("tests/compat/original_client.py"))
        .arg(format!("ws://{}/ws", gateway.address))
        .args(["--products", "BTC-USD", "--messages", "6", "--ticks", "5"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 runs");
    let mut told = BufReader::new(client.stdout.take().unwrap()).lines();
    let first = timeout(PATIENCE, told.next_line()).await.expect("it prints").unwrap().unwrap();
    assert!(first.contains("no data yet"), "{first}");
    let ticks = async {
        let mut publisher = gateway.publisher("BTC-USD").await;
        for sequence in 1.. {
            publisher.publish([sequence]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let status = tokio::select! {
        status = timeout(PATIENCE, client.wait()) => status.expect("it ends").unwrap(),
        () = ticks => unreachable!("ticks never end"),
    };
    assert!(status.success(), "{status}");
    let mut last = String::new();
    while let Some(line) = told.next_line().await.unwrap() {
        last = line;
    }
    assert_eq!(last, "ok: 1 snapshots, 5 ticks");
    gateway.stop().await;
}

#[tokio::test]
async fn grpcio_subscribes_and_is_told_errors_with_their_details() {
    let gateway = Gateway::start(config_with(&[("query", NOBODY)])).await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([1]).await;
    let root = testkit::workspace_root();
    let tools = root.join(".tools");
    assert!(tools.join("grpcio").is_dir(), "`python3 scripts/tools.py` fetches grpcio");
    let libraries =
        std::env::join_paths(["grpcio", "typing-extensions"].map(|library| tools.join(library))).unwrap();
    let mut client = Command::new("python3")
        .arg(root.join("tests/compat/grpc_client.py"))
        .arg(gateway.address.to_string())
        .args(["--product", "BTC-USD", "--ticks", "5"])
        .env("PYTHONPATH", libraries)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 runs");
    let mut told = BufReader::new(client.stdout.take().unwrap()).lines();
    let first = timeout(PATIENCE, told.next_line()).await.expect("it prints").unwrap();
    assert_eq!(first.as_deref(), Some("subscribed"));
    let ticks = async {
        for sequence in 2.. {
            publisher.publish([sequence]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let status = tokio::select! {
        status = timeout(PATIENCE, client.wait()) => status.expect("it ends").unwrap(),
        () = ticks => unreachable!("ticks never end"),
    };
    assert!(status.success(), "{status}");
    assert_eq!(told.next_line().await.unwrap().as_deref(), Some("ok: 5 ticks"));
    gateway.stop().await;
}
