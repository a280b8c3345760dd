//! The Python client of the original system, unchanged.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::harness::{Gateway, PATIENCE, config};

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
