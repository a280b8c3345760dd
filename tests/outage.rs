//! What is away at the start: each role says so in one clear line, is not ready and says why, and goes on by itself when
//! it comes back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use support::{SOON, START, http_get, ledgerflux, recording, stored, tickers};
use testkit::{NatsServer, Postgres, Scratch, eventually};

/// Long enough for a first attempt to fail, short of the time of a retry.
const MOMENT: Duration = Duration::from_secs(2);

async fn waits_for(ops: &str, what: &str) {
    eventually(SOON, || async {
        let (status, body) = http_get(ops, "/ready").await;
        if status == 503 && body.contains(what) { Ok(()) } else { Err(format!("{status} {body}")) }
    })
    .await;
    assert_eq!(http_get(ops, "/health").await.0, 200, "it is alive all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_and_a_database_that_come_back() {
    let mut nats = NatsServer::start().await;
    let postgres = Postgres::start().await;
    let database = postgres.create_database().await;
    nats.stop().await;

    let mut snapshotter = ledgerflux()
        .args([
            "snapshotter",
            "--shard-id",
            "0",
            "--shards",
            "1",
            "--nats",
            &nats.url(),
            "--database",
            &database,
        ])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"])
        .spawn();
    let ops = snapshotter.address("ops", START).await;
    waits_for(&ops, "broker").await;
    tokio::time::sleep(MOMENT).await;
    let told = snapshotter.stderr().lines().filter(|line| line.contains("broker")).count();
    assert!((1..=2).contains(&told), "one clear line, not {told}:\n{}", snapshotter.stderr());

    nats.restart().await;
    // The broker is there, the tables are not yet.
    waits_for(&ops, "migrate").await;
    let mut migrate = ledgerflux().args(["migrate", "--database", &database]).spawn();
    assert!(migrate.wait(SOON).await.success(), "{}", migrate.stderr());
    support::ready(&ops).await;

    postgres.stop().await;
    let mut query = ledgerflux()
        .args([
            "query",
            "--shards",
            "1",
            "--nats",
            &nats.url(),
            "--database",
            &database,
            "--listen",
            "127.0.0.1:0",
        ])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"])
        .spawn();
    let query_ops = query.address("ops", START).await;
    waits_for(&query_ops, "database").await;
    postgres.restart().await;
    support::ready(&query_ops).await;

    assert!(query.terminate(SOON).await.success(), "{}", query.stderr());
    assert!(snapshotter.terminate(SOON).await.success(), "{}", snapshotter.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_shard_count_is_refused_and_both_are_named() {
    let nats = NatsServer::start().await;
    let url = nats.url();
    let start = |shards: &'static str| {
        ledgerflux()
            .args(["normalizer", "--shard-id", "0", "--shards", shards, "--nats", &url])
            .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"])
            .spawn()
    };
    let mut four = start("4");
    four.output_with("ops=", START).await;
    let ops = four.address("ops", START).await;
    waits_for(&ops, "snapshotter").await;
    let mut eight = start("8");
    assert!(!eight.wait(SOON).await.success());
    let told = eight.stderr();
    assert!(told.contains('4') && told.contains('8') && told.contains("shard"), "{told}");
    assert!(four.terminate(SOON).await.success(), "{}", four.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_comes_late_is_waited_for() {
    let data = Scratch::new();
    // A port that was free a moment ago: the exchange will come up there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let exchange = listener.local_addr().unwrap().to_string();
    drop(listener);
    let file = recording("2021-04-17-ticker.jsonl");
    let mut expected = tickers(&file);
    expected.sort();
    let mut products: Vec<&str> = expected.iter().map(|row| row.product.as_str()).collect();
    products.dedup();

    let mut up = ledgerflux()
        .args([
            "up",
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
        ])
        .args(["--print-addresses", "--keep", "forever", "--products", &products.join(",")])
        .args(["--feed", &format!("ws://{exchange}"), "--data-dir"])
        .arg(data.path())
        .spawn();
    // A mute exchange does not take the service away: it is told, and everything else is ready.
    support::ready(&up.address("ops", START).await).await;

    let mut simulator = ledgerflux()
        .args(["simulator", "--speed", "max", "--listen", &exchange, "--ops-listen", "127.0.0.1:0"])
        .args(["--print-addresses", "--replay"])
        .arg(&file)
        .spawn();
    simulator.address("feed", START).await;
    let url = format!("sqlite://{}?mode=rwc", data.path().join("ledgerflux.db").display());
    eventually(SOON, || async {
        let rows = support::count(&url, "SELECT COUNT(*) FROM tick_history").await;
        if rows == 107 { Ok(()) } else { Err(format!("{rows} ticks stored")) }
    })
    .await;
    assert_eq!(stored(&url).await, expected);
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
    assert!(simulator.terminate(SOON).await.success(), "{}", simulator.stderr());
}
