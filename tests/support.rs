//! What the end-to-end tests share: recordings as the truth, and what a database holds.
#![allow(dead_code, unreachable_pub, reason = "each test program includes this file and uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{Decimal, UnixNanos, parse_number};
use serde_json::Value;
use sqlx::{Row as _, any::AnyPoolOptions};
use testkit::{Process, ProcessBuilder};

/// How long a started role may take until it serves.
pub const START: Duration = Duration::from_secs(60);
/// How long anything else may take.
pub const SOON: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn ledgerflux() -> ProcessBuilder {
    Process::builder(env!("CARGO_BIN_EXE_ledgerflux"))
}

/// A file of the recorded data.
pub fn recording(name: &str) -> PathBuf {
    testkit::workspace_root().join("tests/data").join(name)
}

/// One tick as the exchange sent it, or as the database holds it: exact numbers, no rounding anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub product: String,
    pub sequence: i64,
    pub trade_id: i64,
    pub ts_event: i64,
    pub price: Decimal,
    pub volume: Decimal,
    pub bid: Decimal,
    pub ask: Decimal,
    pub bid_size: Option<Decimal>,
    pub ask_size: Option<Decimal>,
    pub side: String,
}

/// The tickers of a recording, in order of arrival.
pub fn tickers(file: &Path) -> Vec<Row> {
    let bytes = std::fs::read(file).unwrap();
    let reader: Box<dyn Read> = if file.extension().is_some_and(|extension| extension == "gz") {
        Box::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()))
    } else {
        Box::new(bytes.as_slice())
    };
    BufReader::new(reader)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(&line.unwrap()).ok())
        .filter(|message| message["type"] == "ticker")
        .map(|message| ticker(&message))
        .collect()
}

fn ticker(message: &Value) -> Row {
    let text = |key: &str| message[key].as_str().unwrap().to_owned();
    let number = |key: &str| parse_number(&text(key)).unwrap();
    let optional = |key: &str| message.get(key).map(|value| parse_number(value.as_str().unwrap()).unwrap());
    Row {
        product: text("product_id"),
        sequence: message["sequence"].as_i64().unwrap(),
        trade_id: message["trade_id"].as_i64().unwrap(),
        ts_event: UnixNanos::parse_rfc3339(&text("time")).unwrap().nanos(),
        price: number("price"),
        volume: number("last_size"),
        bid: number("best_bid"),
        ask: number("best_ask"),
        bid_size: optional("best_bid_size"),
        ask_size: optional("best_ask_size"),
        side: text("side"),
    }
}

/// Everything in `tick_history`, sorted.
pub async fn stored(url: &str) -> Vec<Row> {
    sqlx::any::install_default_drivers();
    let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    let rows = sqlx::query(
        "SELECT product, sequence, trade_id, ts_event, CAST(price AS TEXT) AS price, \
         CAST(volume AS TEXT) AS volume, CAST(bid AS TEXT) AS bid, CAST(ask AS TEXT) AS ask, \
         CAST(bid_size AS TEXT) AS bid_size, CAST(ask_size AS TEXT) AS ask_size, side FROM tick_history",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    pool.close().await;
    let mut rows: Vec<Row> = rows
        .iter()
        .map(|row| {
            let number = |column: &str| parse_number(row.get::<String, _>(column).as_str()).unwrap();
            let optional =
                |column: &str| row.get::<Option<String>, _>(column).map(|text| parse_number(&text).unwrap());
            Row {
                product: row.get("product"),
                sequence: row.get("sequence"),
                trade_id: row.get("trade_id"),
                ts_event: row.get("ts_event"),
                price: number("price"),
                volume: number("volume"),
                bid: number("bid"),
                ask: number("ask"),
                bid_size: optional("bid_size"),
                ask_size: optional("ask_size"),
                side: row.get("side"),
            }
        })
        .collect();
    rows.sort();
    rows
}

/// One number that a query returns.
pub async fn count(url: &str, sql: &'static str) -> i64 {
    sqlx::any::install_default_drivers();
    let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    let row = sqlx::query(sql).fetch_one(&pool).await.unwrap();
    pool.close().await;
    row.get(0)
}

/// Fetches `http://address/path` and returns the status and the body.
pub async fn http_get(address: &str, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    let response = String::from_utf8_lossy(&response).into_owned();
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// The sum of a counter over its labels; 0 while there is none.
pub fn counted(metrics: &str, name: &str) -> u64 {
    let of = |line: &str| {
        let value =
            line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?.rsplit(' ').next()?;
        value.parse::<u64>().ok()
    };
    metrics.lines().filter_map(of).sum()
}

/// Waits until the process behind these operations endpoints can do its job.
pub async fn ready(ops: &str) {
    testkit::eventually(START, || async {
        let (status, body) = http_get(ops, "/ready").await;
        if status == 200 { Ok(()) } else { Err(body) }
    })
    .await;
}

/// The latest price of a product, over gRPC.
pub async fn latest_price(address: &str, product: &str) -> proto::v1::LatestPrice {
    use proto::v1::{GetLatestPriceRequest, market_data_service_client::MarketDataServiceClient};
    let mut client = MarketDataServiceClient::connect(format!("http://{address}")).await.unwrap();
    let request = GetLatestPriceRequest { product: product.into(), ..Default::default() };
    client.get_latest_price(request).await.unwrap().into_inner().latest_price.unwrap()
}

/// A demo on free ports that can do its job.
pub async fn demo(data: &testkit::Scratch) -> Process {
    demo_at(data, "127.0.0.1:0", &[]).await
}

/// A demo whose gateway listens on `gateway`, with more arguments.
pub async fn demo_at(data: &testkit::Scratch, gateway: &str, arguments: &[&str]) -> Process {
    let mut demo = ledgerflux()
        .args(["demo", "--listen", gateway, "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .args(["--print-addresses", "--data-dir"])
        .arg(data.path())
        .args(arguments)
        .spawn();
    ready(&demo.address("ops", START).await).await;
    demo
}
