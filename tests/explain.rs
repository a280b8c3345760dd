//! `ledgerflux explain` on pipelines that run: a live trade, one that was fetched afterwards, one that is missing, one that
//! was refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use domain::UnixNanos;
use serde_json::Value;
use support::{SOON, START, ledgerflux};
use testkit::{NatsServer, Postgres, Process, Scratch, eventually};

async fn simulator(data: &Scratch, faults: &[&str]) -> (Process, String) {
    let mut simulator = ledgerflux()
        .args(["simulator", "--generate", "--rate", "200", "--listen", "127.0.0.1:0"])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses", "--truth"])
        .arg(data.join("truth.jsonl"))
        .args(faults.iter().flat_map(|fault| ["--fault", *fault]))
        .spawn();
    let feed = format!("ws://{}", simulator.address("feed", START).await);
    (simulator, feed)
}

async fn up(data: &Scratch, feed: &str, arguments: &[&str]) -> Process {
    let mut up = ledgerflux()
        .args(["up", "--feed", feed, "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses", "--data-dir"])
        .arg(data.join("up"))
        .args(arguments)
        .spawn();
    support::ready(&up.address("ops", START).await).await;
    up
}

/// Where it looks.
struct Explain {
    arguments: Vec<String>,
}

impl Explain {
    fn new(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
    }

    /// Whether it succeeded, and what it said.
    async fn run(&self, product: &str, number: u64, more: &[&str]) -> (bool, String, String) {
        let mut process = ledgerflux()
            .args(["explain", product, &number.to_string()])
            .args(&self.arguments)
            .args(more)
            .spawn();
        let success = process.wait(SOON).await.success();
        (success, process.stdout(), process.stderr())
    }

    async fn text(&self, product: &str, number: u64, more: &[&str]) -> String {
        let (success, out, err) = self.run(product, number, more).await;
        assert!(success, "{err}");
        out
    }

    async fn json(&self, product: &str, number: u64, more: &[&str]) -> Value {
        let out = self.text(product, number, &[&["--json"], more].concat()).await;
        serde_json::from_str(&out).expect(&out)
    }
}

/// The trades of the ground truth that a fault kept back; `None`: those that came live.
fn truth(data: &Scratch, product: &str, kept_by: Option<&str>) -> Vec<Value> {
    let text = std::fs::read_to_string(data.join("truth.jsonl")).unwrap();
    let trades = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    trades
        .filter(|trade| trade["product"] == product && trade["kept_by"].as_str() == kept_by)
        .filter(|trade| kept_by.is_some() || trade["sent"] == true)
        .collect()
}

async fn reaches(database: &str, sql: &'static str, wanted: i64) {
    eventually(SOON, || async {
        let found = support::count(database, sql).await;
        if found >= wanted { Ok(()) } else { Err(format!("{found} of {wanted}: {sql}")) }
    })
    .await;
}

fn id(trade: &Value) -> u64 {
    trade["trade_id"].as_u64().unwrap()
}

/// The names of the hops, whose times only rise.
fn hops(tick: &Value) -> Vec<String> {
    let hops = tick["hops"].as_array().unwrap();
    assert!(
        hops[0]["after_ns"].is_null() && hops[1..].iter().all(|hop| hop["after_ns"].as_i64() >= Some(0)),
        "{hops:?}"
    );
    let time = |hop: &Value| UnixNanos::parse_rfc3339(hop["time"].as_str().unwrap()).unwrap();
    for pair in hops.windows(2) {
        assert_eq!(time(&pair[1]).nanos() - time(&pair[0]).nanos(), pair[1]["after_ns"].as_i64().unwrap());
    }
    hops.iter().map(|hop| hop["hop"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_told_of_live_fetched_missing_and_refused_trades() {
    let (nats, postgres) = (NatsServer::start().await, Postgres::start().await);
    let database = postgres.create_database().await;
    let data = Scratch::new();
    let (mut exchange, feed) = simulator(
        &data,
        &[
            "drop:after_ticks=60,count=5,products=BTC-USD,name=fetched",
            "drop:after_ticks=60,count=3,products=ETH-USD,name=lost",
            "rest_gone:after_ticks=60,count=3,products=ETH-USD",
            "corrupt:after_ticks=60,count=1,products=ADA-USD,how=number,name=broken",
            "rest_gone:after_ticks=60,count=1,products=ADA-USD",
        ],
    )
    .await;
    let url = nats.url();
    let mut up = up(&data, &feed, &["--nats", &url, "--database", &database]).await;
    reaches(&database, "SELECT COUNT(*) FROM gaps WHERE product = 'BTC-USD' AND state = 'repaired'", 1).await;
    reaches(&database, "SELECT COUNT(DISTINCT product) FROM gaps", 3).await;
    assert!(exchange.terminate(SOON).await.success(), "{}", exchange.stderr());
    let explain = Explain::new(&["--nats", &url, "--database", &database]);

    let live = truth(&data, "BTC-USD", None);
    let trade = &live[live.len() / 2];
    let told = explain.json("btc-usd", id(trade), &["--by", "trade_id"]).await;
    let tick = &told["ticks"][0];
    assert_eq!((&told["product"], &told["by"]), (&"coinbase:BTC-USD".into(), &"trade_id".into()));
    assert_eq!(told["ticks"].as_array().unwrap().len(), 1);
    for (found, sent) in [("trade_id", "trade_id"), ("sequence", "sequence")] {
        assert_eq!(tick[found], trade[sent]);
    }
    for member in ["price", "size", "side"] {
        assert_eq!(tick["trade"][member], trade[member]);
    }
    assert_eq!(hops(tick), ["exchange", "received", "normalised", "stored"]);
    // The exchange writes six digits, whatever they are.
    let time = |text: &Value| UnixNanos::parse_rfc3339(text.as_str().unwrap()).unwrap();
    assert_eq!(time(&tick["hops"][0]["time"]), time(&trade["time"]));
    assert_eq!((&tick["backfilled"], &tick["gap"]), (&Value::Bool(false), &Value::Null));
    assert_eq!((&tick["shard"], &tick["shards"]), (&2.into(), &4.into()));
    assert_eq!(tick["ticks"]["subject"], "lf.tick.2.coinbase.BTC-USD");
    assert!(
        tick["ticks"]["stream_sequence"].as_u64() >= Some(1)
            && tick["raw"]["stream_sequence"].as_u64() >= Some(1)
    );
    assert!(tick["ticks"]["index"].as_u64() < tick["ticks"]["batch_ticks"].as_u64());
    assert!(!tick["session"]["id"].as_str().unwrap().is_empty());
    assert!(tick["bar"]["tick_count"].as_u64() >= Some(1));
    assert_eq!((&told["absent"], &told["untold"]), (&Value::Null, &Value::Array(Vec::new())));

    // Of a number alone it says what it was; it may be the trade_id of one tick and the sequence of another.
    let sequence = trade["sequence"].as_u64().unwrap();
    let both = explain.json("coinbase:BTC-USD", sequence, &[]).await;
    let ticks = both["ticks"].as_array().unwrap();
    let by_sequence: Vec<_> = ticks.iter().filter(|tick| tick["found_by"] == "sequence").collect();
    assert_eq!((by_sequence.len(), &by_sequence[0]["trade_id"]), (1, &trade["trade_id"]));
    let text = explain.text("BTC-USD", sequence, &["--by", "sequence"]).await;
    for part in
        ["found by sequence", "normalised", "connection", "LF_RAW", "tick ", "shard        2 of 4", "bar "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }

    let fetched = &truth(&data, "BTC-USD", Some("fetched"))[2];
    let told = explain.json("BTC-USD", id(fetched), &["--by", "trade_id"]).await;
    let tick = &told["ticks"][0];
    assert_eq!((&tick["backfilled"], &tick["sequence"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(tick["ticks"]["subject"], "lf.fill.2.coinbase.BTC-USD");
    assert_eq!((&tick["gap"]["state"], &tick["gap"]["cause"]), (&"repaired".into(), &"batched".into()));
    assert!(tick["gap"]["first_trade_id"].as_u64() <= Some(id(fetched)));
    assert_eq!(hops(tick).last().map(String::as_str), Some("stored"));

    let lost = &truth(&data, "ETH-USD", Some("lost"))[0];
    let told = explain.json("ETH-USD", id(lost), &["--by", "trade_id"]).await;
    assert_eq!(told["ticks"], Value::Array(Vec::new()));
    assert_eq!(told["absent"]["gap"]["first_trade_id"].as_u64(), Some(id(lost)));
    assert_ne!(told["absent"]["gap"]["state"], "repaired");
    assert_eq!(told["absent"]["rejects"], Value::Array(Vec::new()));
    assert!(explain.text("ETH-USD", id(lost), &["--by", "trade_id"]).await.contains("lies in"));

    let broken = &truth(&data, "ADA-USD", Some("broken"))[0];
    let told = explain.json("ADA-USD", id(broken), &["--by", "trade_id"]).await;
    assert_eq!(told["absent"]["rejects"].as_array().unwrap().len(), 1, "{told}");
    assert!(told["absent"]["gap"].is_object());
    let text = explain.text("ADA-USD", id(broken), &["--by", "trade_id"]).await;
    assert!(text.contains("ledgerflux rejects show"), "{text}");

    let text = explain.text("ADA-USD", 1, &[]).await;
    assert!(text.contains("nothing is known of it") && text.contains("oldest trade"), "{text}");
    let (success, _, told) = explain.run("DOGE-USD", 1, &[]).await;
    assert!(!success && told.contains("DOGE-USD") && told.contains("coinbase:ETH-USD"), "{told}");
    let (success, _, told) = explain.run("BTC USD", 1, &[]).await;
    assert!(!success && told.contains("is no product"), "{told}");

    // The database alone knows less, and says so.
    let alone = Explain::new(&["--database", &database]);
    let told = alone.json("BTC-USD", id(trade), &["--by", "trade_id"]).await;
    assert_eq!(hops(&told["ticks"][0]), ["exchange", "received", "stored"]);
    assert!(told["untold"][0].as_str().unwrap().contains("--nats"));
    assert!(told["ticks"][0]["session"].is_null() && told["ticks"][0]["ticks"]["stream_sequence"].is_u64());
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_up_stores_in_its_own_directory_is_explained_while_it_runs() {
    let data = Scratch::new();
    let (mut exchange, feed) =
        simulator(&data, &["drop:after_ticks=60,count=5,products=BTC-USD,name=fetched"]).await;
    let mut up = up(&data, &feed, &[]).await;
    let database = format!("sqlite://{}?mode=rwc", data.join("up").join("ledgerflux.db").display());
    reaches(&database, "SELECT COUNT(*) FROM gaps WHERE state = 'repaired'", 1).await;
    let directory = data.join("up");
    let explain = Explain::new(&["--data-dir", directory.to_str().unwrap()]);
    let trade = stored_live(&database).await;
    for is_running in [true, false] {
        if !is_running {
            assert!(exchange.terminate(SOON).await.success(), "{}", exchange.stderr());
            assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
            let fetched = id(&truth(&data, "BTC-USD", Some("fetched"))[0]);
            let told = explain.json("BTC-USD", fetched, &["--by", "trade_id"]).await;
            assert_eq!(told["ticks"][0]["backfilled"], true);
            assert_eq!(told["ticks"][0]["gap"]["state"], "repaired");
        }
        let told = explain.json("BTC-USD", trade, &["--by", "trade_id"]).await;
        let tick = &told["ticks"][0];
        assert_eq!((&tick["trade_id"], &tick["backfilled"]), (&trade.into(), &Value::Bool(false)));
        assert_eq!(hops(tick), ["exchange", "received", "stored"]);
        assert!(tick["bar"].is_object() && told["untold"][0].as_str().unwrap().contains("in its memory"));
    }

    // Nothing is made where nothing was.
    let nowhere = data.join("nowhere");
    let (success, _, told) =
        Explain::new(&["--data-dir", nowhere.to_str().unwrap()]).run("BTC-USD", 1, &[]).await;
    assert!(!success && told.contains("--data-dir") && told.contains("nowhere"), "{told}");
    assert!(!nowhere.exists());
}

/// The number of a trade that came live.
async fn stored_live(database: &str) -> u64 {
    let sql = "SELECT MIN(trade_id) FROM tick_history WHERE product = 'BTC-USD' AND sequence IS NOT NULL";
    u64::try_from(support::count(database, sql).await).unwrap()
}
