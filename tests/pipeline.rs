//! A recorded session through the complete pipeline, as real processes, on both substrates: what comes out of the
//! database is what the exchange sent, to the digit.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use support::{SOON, START, ledgerflux, recording, stored, tickers};
use testkit::{NatsServer, Postgres, Process, Scratch, eventually};

const SESSION: &str = "2021-04-17-mixed.jsonl.gz";

fn expected(file: &Path) -> Vec<support::Row> {
    let mut rows = tickers(file);
    rows.sort();
    rows
}

/// `up` on the embedded default, fed by a recording.
async fn up_replay(data: &Scratch, file: &Path) -> Process {
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
        .args(["--print-addresses", "--speed", "max", "--feed"])
        .arg(format!("replay:{}", file.display()))
        .arg("--data-dir")
        .arg(data.path())
        .spawn();
    support::ready(&up.address("ops", START).await).await;
    up
}

fn sqlite(data: &Scratch) -> String {
    format!("sqlite://{}?mode=rwc", data.path().join("ledgerflux.db").display())
}

/// Waits until the database holds as many ticks, then compares each.
async fn stores_exactly(url: &str, expected: &[support::Row]) {
    eventually(SOON, || async {
        let rows = support::count(url, "SELECT COUNT(*) FROM tick_history").await;
        if rows >= i64::try_from(expected.len()).unwrap() {
            Ok(())
        } else {
            Err(format!("{rows} ticks stored"))
        }
    })
    .await;
    assert_eq!(stored(url).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_session_is_stored_exactly_once_on_the_embedded_default() {
    let data = Scratch::new();
    let expected = expected(&recording(SESSION));
    assert_eq!(expected.len(), 107);

    let mut up = up_replay(&data, &recording(SESSION)).await;
    stores_exactly(&sqlite(&data), &expected).await;
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());

    let mut again = up_replay(&data, &recording(SESSION)).await;
    let ops = again.address("ops", START).await;
    eventually(SOON, || async {
        let (_, metrics) = support::http_get(&ops, "/metrics").await;
        let duplicates = support::counted(&metrics, "ledgerflux_normalizer_duplicates_total");
        if duplicates >= 107 { Ok(()) } else { Err(format!("{duplicates} duplicates recognised")) }
    })
    .await;
    assert!(again.terminate(SOON).await.success(), "{}", again.stderr());
    assert_eq!(stored(&sqlite(&data)).await, expected, "replaying the session again adds nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn single_real_messages_with_quirks_do_no_harm() {
    let data = Scratch::new();
    let expected = expected(&recording("edge-cases.jsonl"));
    assert_eq!(expected.len(), 3);
    let mut up = up_replay(&data, &recording("edge-cases.jsonl")).await;
    stores_exactly(&sqlite(&data), &expected).await;
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_do_not_parse_are_quarantined_and_the_rest_flows() {
    let data = Scratch::new();
    let file = data.path().join("broken.jsonl");
    let good = std::fs::read_to_string(recording("2021-04-17-ticker.jsonl")).unwrap();
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    lines.insert(20, "{\"type\":\"ticker\",\"product_id\":".into());
    lines.insert(40, "not json at all \u{1F4A5}".into());
    // A trade of its own: of one that is stored, a faulty copy is no news.
    let mut faulty: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    for number in ["sequence", "trade_id"] {
        faulty[number] = (faulty[number].as_u64().unwrap() + 1).into();
    }
    faulty["price"] = "-1".into();
    lines.push(faulty.to_string());
    std::fs::write(&file, lines.join("\n")).unwrap();

    let mut up = up_replay(&data, &file).await;
    stores_exactly(&sqlite(&data), &expected(&recording("2021-04-17-ticker.jsonl"))).await;
    let ops = up.address("ops", START).await;
    let (_, metrics) = support::http_get(&ops, "/metrics").await;
    let rejects: Vec<&str> = metrics.lines().filter(|line| line.contains("_rejects_total{")).collect();
    for (reason, count) in [("undecodable", " 2"), ("not_positive", " 1")] {
        assert!(
            rejects.iter().any(|line| line.contains(reason) && line.ends_with(count)),
            "{reason}: {rejects:?}"
        );
    }
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
}

/// One process for each role and shard, on a real broker and a real database.
struct Cluster {
    nats: NatsServer,
    postgres: Postgres,
    database: String,
    roles: Vec<Process>,
}

impl Cluster {
    async fn start() -> Self {
        let nats = NatsServer::start().await;
        let postgres = Postgres::start().await;
        let database = postgres.create_database().await;
        let mut migrate = ledgerflux().args(["migrate", "--database", &database]).spawn();
        assert!(migrate.wait(START).await.success(), "{}", migrate.stderr());
        let mut cluster = Self { nats, postgres, database, roles: Vec::new() };
        for shard in ["0", "1", "2", "3"] {
            cluster.role("snapshotter", &["--shard-id", shard], true).await;
            cluster.role("normalizer", &["--shard-id", shard], false).await;
        }
        cluster
    }

    async fn role(&mut self, role: &str, arguments: &[&str], database: bool) -> usize {
        let mut command = ledgerflux().arg(role).args(["--nats", &self.nats.url()]).args(arguments);
        command = command.args(["--ops-listen", "127.0.0.1:0", "--print-addresses"]);
        if database {
            command = command.args(["--database", &self.database]);
        }
        self.roles.push(command.spawn());
        self.roles.len() - 1
    }

    async fn ready(&mut self) {
        for role in &mut self.roles {
            support::ready(&role.address("ops", START).await).await;
        }
    }

    async fn stop(mut self) {
        for role in &mut self.roles {
            assert!(role.terminate(SOON).await.success(), "{}", role.stderr());
        }
        drop(self.postgres);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_session_is_stored_exactly_once_by_one_process_per_role() {
    let expected = expected(&recording(SESSION));
    let mut cluster = Cluster::start().await;
    let feed = format!("replay:{}", recording(SESSION).display());
    cluster.role("ingestor", &["--feed", &feed, "--speed", "max"], false).await;
    let query = cluster.role("query", &["--listen", "127.0.0.1:0"], true).await;
    let grpc = cluster.roles[query].address("grpc", START).await;
    cluster.role("gateway", &["--listen", "127.0.0.1:0", "--query", &format!("http://{grpc}")], false).await;
    cluster.ready().await;
    stores_exactly(&cluster.database, &expected).await;

    cluster.role("ingestor", &["--feed", &feed, "--speed", "max"], false).await;
    let mut normalizers = Vec::new();
    for role in &mut cluster.roles {
        normalizers.push(role.address("ops", START).await);
    }
    eventually(SOON, || async {
        let mut duplicates = 0;
        for ops in &normalizers {
            let (_, metrics) = support::http_get(ops, "/metrics").await;
            duplicates += support::counted(&metrics, "ledgerflux_normalizer_duplicates_total");
        }
        if duplicates == 107 { Ok(()) } else { Err(format!("{duplicates} of 107 duplicates recognised")) }
    })
    .await;
    assert_eq!(stored(&cluster.database).await, expected, "replaying the session again adds nothing");
    cluster.stop().await;
}
