//! The Python client of the original system, unchanged.

use std::time::Duration;

use tokio::process::Command;

use crate::harness::{Gateway, config};

#[tokio::test]
async fn the_original_client_works_also_before_the_first_tick() {
    let gateway = Gateway::start(config()).await;
    let script = testkit::workspace_root().join("tests/compat/original_client.py");
    let client = Command::new("python3")
        .arg(script)
        .arg(format!("ws://{}/ws", gateway.address))
        .args(["--products", "BTC-USD", "--messages", "6", "--ticks", "5"])
        .kill_on_drop(true)
        .output();
    let ticks = async {
        let mut publisher = gateway.publisher("BTC-USD").await;
        for sequence in 1.. {
            tokio::time::sleep(Duration::from_millis(20)).await;
            publisher.publish([sequence]).await;
        }
    };
    let output = tokio::select! {
        output = client => output.expect("python3 runs"),
        () = ticks => unreachable!("ticks never end"),
    };
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    assert!(told.contains("no data yet") && told.contains("ok: 1 snapshots, 5 ticks"), "{told}");
    gateway.stop().await;
}
