//! What a crash of `ledgerflux up` costs, where the bus is in its memory.

use std::time::{Duration, Instant};

use domain::parse_number;
use sqlx::{Connection as _, Row as _, any::AnyRow};
use testkit::{Process, Proxy, Scratch, eventually};

use crate::{
    check::{self, Rules},
    evidence::{Evidence, Gap, Row},
    live::Life,
    support::{self, SOON, START, ledgerflux},
    truth::Truth,
    world::{self, Setup, Verdict},
};

const MISSTATED: &str = "SELECT COALESCE((SELECT SUM(tick_count) FROM price_stats_1min), 0) \
    - (SELECT COUNT(*) FROM tick_history)";
const LATEST: &str = "SELECT COUNT(*) FROM latest_prices l WHERE l.last_seq <> \
    (SELECT MAX(sequence) FROM tick_history t WHERE t.product = l.product AND t.run = l.run)";

/// Kills it several times under load, and compares in the end.
pub(crate) async fn crashes(setup: &Setup, rules: Rules) -> (Verdict, Vec<(String, Vec<Duration>)>) {
    let (data, scratch) = (Scratch::new(), Scratch::new());
    let url = format!("sqlite://{}?mode=rwc", data.path().join("ledgerflux.db").display());
    let truth_file = scratch.join("truth.jsonl");
    let exchange = ledgerflux().arg("simulator").args(world::exchange_arguments(setup));
    let exchange = exchange.args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    let mut exchange = exchange.args(["--print-addresses", "--truth"]).arg(&truth_file).spawn();
    let feed = exchange.address("feed", START).await;
    let proxy = Proxy::start(feed.trim_start_matches("ws://")).await;

    let mut rng = fastrand::Rng::with_seed(setup.seed);
    let mut up = start(setup, &data, &proxy).await;
    let mut times = Vec::new();
    stored_anew(&url).await;
    for _ in 0..setup.count.min(5) {
        tokio::time::sleep(Duration::from_secs(2).mul_f64(rng.f64())).await;
        up.kill().await;
        let since = Instant::now();
        up = start(setup, &data, &proxy).await;
        stored_anew(&url).await;
        times.push(since.elapsed());
        println!("    kill -9 up: stores again after {:.2} s", since.elapsed().as_secs_f64());
    }
    tokio::time::sleep(setup.calm).await;
    assert!(exchange.terminate(SOON).await.success(), "{}", exchange.stderr());
    // An orderly end loses nothing: what is in memory is stored before.
    let drained = up.terminate(SOON).await.success();

    let mut truth = Truth::default();
    truth.add_file(&truth_file);
    let (mut lines, sums) = check::check(&truth, &evidence(&url).await, rules);
    let mut life = Life::new("", Vec::new());
    life.recoveries.insert("kill -9 up".into(), times);
    lines.push(life.verdict(rules.live_within));
    lines.push(check::Line { check: "drain", ok: drained, told: "up ended in good order".into() });
    (Verdict { lines, sums, events: Default::default() }, life.recoveries.into_iter().collect())
}

async fn start(setup: &Setup, data: &Scratch, exchange: &Proxy) -> Process {
    let products = world::products(setup.products).join(",");
    let mut up = ledgerflux()
        .args(["up", "--keep", "forever", "--print-addresses", "--listen", "127.0.0.1:0"])
        .args(["--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--products", &products])
        .args(["--feed", &format!("ws://{}", exchange.address()), "--data-dir"])
        .arg(data.path())
        .spawn();
    support::ready(&up.address("ops", START).await).await;
    up
}

/// Waits until ticks are stored that were made after this call.
async fn stored_anew(url: &str) {
    let from = crate::subscribers::now();
    eventually(SOON, || async {
        let newest = support::count(url, "SELECT COALESCE(MAX(ts_event), 0) FROM tick_history").await;
        if newest > from { Ok(()) } else { Err(format!("{newest} is the newest")) }
    })
    .await;
}

const ROWS: &str = "SELECT product, trade_id, run, sequence, ts_event, CAST(price AS TEXT) AS price, \
    CAST(volume AS TEXT) AS volume, side FROM tick_history ORDER BY product, run, sequence";
const GAPS: &str = "SELECT product, first_trade_id, last_trade_id, repaired_count FROM gaps";

async fn evidence(url: &str) -> Evidence {
    let mut connection = sqlx::AnyConnection::connect(url).await.expect("the database");
    let rows = sqlx::query(ROWS).fetch_all(&mut connection).await.expect("the ticks");
    let gaps = sqlx::query(GAPS).fetch_all(&mut connection).await.expect("the gaps");
    let minutes = support::count(url, "SELECT COUNT(*) FROM price_stats_1min").await;
    Evidence {
        stored: rows.iter().map(row).collect(),
        gaps: gaps.iter().map(gap).collect(),
        bars: u64::try_from(minutes).expect("a count"),
        bars_that_differ: support::count(url, MISSTATED).await.unsigned_abs(),
        latest_that_differ: support::count(url, LATEST).await.unsigned_abs(),
        ..Evidence::default()
    }
}

fn row(row: &AnyRow) -> Row {
    let decimal = |column: &str| parse_number(row.get::<&str, _>(column)).expect("a number");
    Row {
        product: row.get("product"),
        trade_id: number(row, "trade_id"),
        run: u32::try_from(number(row, "run")).expect("a run"),
        sequence: row.get::<Option<i64>, _>("sequence").and_then(|sequence| u64::try_from(sequence).ok()),
        ts_event: row.get("ts_event"),
        price: decimal("price"),
        size: decimal("volume"),
        side: row.get("side"),
    }
}

fn gap(row: &AnyRow) -> Gap {
    Gap {
        product: row.get("product"),
        first: number(row, "first_trade_id"),
        last: number(row, "last_trade_id"),
        repaired: number(row, "repaired_count"),
    }
}

fn number(row: &AnyRow, column: &str) -> u64 {
    u64::try_from(row.get::<i64, _>(column)).expect("a number that is not negative")
}
