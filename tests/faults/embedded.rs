//! What a crash of `ledgerflux up` costs, where the bus is in its memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domain::{Decimal, parse_number};
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

const BARS: &str = "SELECT product, open_ts_event - open_ts_event % 60000000000 AS minute, tick_count, \
    CAST(open_price AS TEXT) AS open_price, CAST(close_price AS TEXT) AS close_price, \
    CAST(min_price AS TEXT) AS min_price, CAST(max_price AS TEXT) AS max_price, \
    CAST(sum_price AS TEXT) AS sum_price, CAST(sum_volume AS TEXT) AS sum_volume FROM price_stats_1min";
/// Lines that would hold whatever happened: nobody sees what the bus in the process accepts, and its rejects end with it.
const NOT_SEEN: [&str; 2] = ["lost", "rejects"];
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
    lines.retain(|line| !NOT_SEEN.contains(&line.check));
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
const GAPS: &str = "SELECT product, run, first_trade_id, last_trade_id, repaired_count FROM gaps";

async fn evidence(url: &str) -> Evidence {
    let mut connection = sqlx::AnyConnection::connect(url).await.expect("the database");
    let rows = sqlx::query(ROWS).fetch_all(&mut connection).await.expect("the ticks");
    let gaps = sqlx::query(GAPS).fetch_all(&mut connection).await.expect("the gaps");
    let bars = sqlx::query(BARS).fetch_all(&mut connection).await.expect("the bars");
    let bars: BTreeMap<_, _> = bars.iter().map(bar).collect();
    let stored: Vec<Row> = rows.iter().map(row).collect();
    let anew = bars_of(&stored);
    let minutes: BTreeSet<_> = bars.keys().chain(anew.keys()).collect();
    Evidence {
        gaps: gaps.iter().map(gap).collect(),
        bars: minutes.len() as u64,
        bars_that_differ: minutes.iter().filter(|minute| bars.get(minute) != anew.get(minute)).count() as u64,
        latest_that_differ: support::count(url, LATEST).await.unsigned_abs(),
        stored,
        ..Evidence::default()
    }
}

/// A product and the start of a minute.
type Minute = (String, i64);

/// What the trades of a minute add up to.
#[derive(PartialEq)]
struct Bar {
    trades: u64,
    open: Decimal,
    close: Decimal,
    low: Decimal,
    high: Decimal,
    prices: Decimal,
    sizes: Decimal,
}

fn bar(row: &AnyRow) -> (Minute, Bar) {
    let bar = Bar {
        trades: number(row, "tick_count"),
        open: decimal(row, "open_price"),
        close: decimal(row, "close_price"),
        low: decimal(row, "min_price"),
        high: decimal(row, "max_price"),
        prices: decimal(row, "sum_price"),
        sizes: decimal(row, "sum_volume"),
    };
    ((row.get("product"), row.get("minute")), bar)
}

/// The bars as history has them.
fn bars_of(stored: &[Row]) -> BTreeMap<Minute, Bar> {
    let mut minutes: BTreeMap<Minute, Vec<&Row>> = BTreeMap::new();
    for row in stored {
        let minute = row.ts_event - row.ts_event.rem_euclid(60_000_000_000);
        minutes.entry((row.product.clone(), minute)).or_default().push(row);
    }
    let bar = |mut rows: Vec<&Row>| {
        rows.sort_by_key(|row| (row.ts_event, row.trade_id, row.sequence));
        let prices = || rows.iter().map(|row| row.price);
        Some(Bar {
            trades: rows.len() as u64,
            open: rows.first()?.price,
            close: rows.last()?.price,
            low: prices().min()?,
            high: prices().max()?,
            prices: prices().sum(),
            sizes: rows.iter().map(|row| row.size).sum(),
        })
    };
    minutes.into_iter().filter_map(|(minute, rows)| Some((minute, bar(rows)?))).collect()
}

fn row(row: &AnyRow) -> Row {
    Row {
        product: row.get("product"),
        trade_id: number(row, "trade_id"),
        run: u32::try_from(number(row, "run")).expect("a run"),
        sequence: row.get::<Option<i64>, _>("sequence").and_then(|sequence| u64::try_from(sequence).ok()),
        ts_event: row.get("ts_event"),
        price: decimal(row, "price"),
        size: decimal(row, "volume"),
        side: row.get("side"),
    }
}

fn gap(row: &AnyRow) -> Gap {
    Gap {
        product: row.get("product"),
        run: u32::try_from(number(row, "run")).expect("a run"),
        first: number(row, "first_trade_id"),
        last: number(row, "last_trade_id"),
        repaired: number(row, "repaired_count"),
    }
}

fn decimal(row: &AnyRow, column: &str) -> Decimal {
    parse_number(row.get::<&str, _>(column)).expect("a number")
}

fn number(row: &AnyRow, column: &str) -> u64 {
    u64::try_from(row.get::<i64, _>(column)).expect("a number that is not negative")
}
