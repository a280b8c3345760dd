//! What is away at the start: each role says so in one clear line, is not ready and says why, and goes on by itself when
//! it comes back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{SOON, START, http_get, ledgerflux, recording, stored, tickers};
use testkit::{NatsServer, Postgres, Scratch, eventually};

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
    eventually(SOON, || async {
        let (_, metrics) = http_get(&ops, "/metrics").await;
        let attempts = support::counted(&metrics, "ledgerflux_runtime_retries_total");
        if attempts >= 3 { Ok(()) } else { Err(format!("{attempts} attempts")) }
    })
    .await;
    let log = snapshotter.stderr();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("connect to the broker")).collect();
    assert_eq!(told.len(), 1, "one clear line for the same failure again and again:\n{log}");

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

/// Ticks stored so far.
async fn ticks(url: &str) -> i64 {
    support::count(url, "SELECT COUNT(*) FROM tick_history").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_empty_is_set_up_again() {
    let mut nats = NatsServer::start().await;
    let data = Scratch::new();
    let url = format!("sqlite://{}?mode=rwc", data.path().join("ledgerflux.db").display());
    let mut exchange = ledgerflux()
        .args(["simulator", "--generate", "--rate", "2000", "--listen", "127.0.0.1:0"])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"])
        .spawn();
    let feed = format!("ws://{}", exchange.address("feed", START).await);
    let mut up = ledgerflux()
        .args(["up", "--feed", &feed, "--nats", &nats.url(), "--listen", "127.0.0.1:0"])
        .args([
            "--grpc-listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
            "--print-addresses",
            "--data-dir",
        ])
        .arg(data.path())
        .spawn();
    let ops = up.address("ops", START).await;
    support::ready(&ops).await;
    eventually(SOON, || async { ticks(&url).await > 5_000 }).await;
    let grpc = up.address("grpc", START).await;
    let gateway = up.address("gateway", START).await;

    for wipe in 1..=2 {
        nats.wipe().await;
        let before = ticks(&url).await;
        eventually(SOON, || async {
            let now = ticks(&url).await;
            let enough = now > before + 10_000;
            if enough { Ok(()) } else { Err(format!("wipe {wipe}: {now} ticks stored, {before} before")) }
        })
        .await;
        support::ready(&ops).await;
        // Whoever follows the streams goes on with the new ones: what is served moves.
        for address in [&grpc, &gateway] {
            let served = support::latest_price(address, "BTC-USD").await.sequence;
            eventually(SOON, || async { support::latest_price(address, "BTC-USD").await.sequence > served })
                .await;
        }
    }
    let doubled =
        "SELECT COUNT(*) FROM (SELECT 1 FROM tick_history GROUP BY product, trade_id HAVING COUNT(*) > 1)";
    assert_eq!(support::count(&url, doubled).await, 0);
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
    exchange.terminate(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_newest_state_is_there_before_any_new_tick() {
    let data = Scratch::new();
    let url = format!("sqlite://{}?mode=rwc", data.path().join("ledgerflux.db").display());
    let up = |feed: &str| {
        ledgerflux()
            .args(["up", "--feed", feed, "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
            .args(["--ops-listen", "127.0.0.1:0", "--print-addresses", "--data-dir"])
            .arg(data.path())
            .spawn()
    };
    let mut first = up("simulated");
    support::ready(&first.address("ops", START).await).await;
    eventually(SOON, || async { ticks(&url).await > 50 }).await;
    first.kill().await;

    // Nothing listens there: the feed stays away.
    let mut second = up("ws://127.0.0.1:9");
    support::ready(&second.address("ops", START).await).await;
    let grpc = second.address("grpc", START).await;
    let gateway = second.address("gateway", START).await;
    for product in ["BTC-USD", "ETH-USD", "ADA-USD"] {
        let newest = format!("SELECT MAX(sequence) FROM tick_history WHERE product = '{product}'");
        let newest = support::count(&url, Box::leak(newest.into_boxed_str())).await;
        for address in [&grpc, &gateway] {
            let latest = support::latest_price(address, product).await;
            assert_eq!(latest.sequence, u64::try_from(newest).ok(), "{product} at {address}");
        }
    }
    assert!(second.terminate(SOON).await.success(), "{}", second.stderr());
}
