//! Whether ticks that are being made come out at every exit, and how long that takes after an outage.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proto::v1::{GetLatestPriceRequest, market_data_service_client::MarketDataServiceClient};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::{
    check::Line,
    evidence::Seen,
    roles,
    subscribers::{Watched, now},
};

/// The promise: live again within this after the end of any outage.
pub(crate) const LIVE_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait before giving up, so that a figure is told even when the promise is broken.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(90);
/// How far the newest stored tick may be behind for the whole to count as live.
const LAG_MAX_NS: i64 = 1_000_000_000;
const POLL_INTERVAL: Duration = Duration::from_millis(25);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// A subscriber that hears nothing for so long after the end of the load has heard everything.
const QUIET: Duration = Duration::from_millis(500);

/// Who follows the live stream, and what they are called.
pub(crate) type Clients<'a> = [&'a Watched<Seen>; 3];
pub(crate) const CLIENTS: [&str; 3] = ["websocket", "grpc", "resuming"];

/// Knows where to look, and what it has measured.
pub(crate) struct Life {
    database: String,
    products: Vec<String>,
    connection: Option<PgConnection>,
    /// How long it took to be live again, by fault.
    pub(crate) recoveries: BTreeMap<String, Vec<Duration>>,
}

impl Life {
    pub(crate) fn new(database: &str, products: Vec<String>) -> Self {
        Self { database: database.to_owned(), products, connection: None, recoveries: BTreeMap::new() }
    }

    /// Waits until every process is ready and each product's ticks of after this call are stored, answered and streamed. Says
    /// how long that took and what came last.
    pub(crate) async fn await_live(
        &mut self,
        fault: &str,
        since: Instant,
        ops: &[(String, String)],
        query: &str,
        subscribers: Clients<'_>,
    ) -> (Duration, String) {
        let from = now();
        let mut last = "nothing".to_owned();
        while let Err(missing) = self.missing(from, ops, query, subscribers).await {
            assert!(since.elapsed() < GIVEN_UP_AFTER, "not live {GIVEN_UP_AFTER:?} after {fault}: {missing}");
            last = missing;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        (since.elapsed(), last)
    }

    async fn missing(
        &mut self,
        from: i64,
        ops: &[(String, String)],
        query: &str,
        subscribers: Clients<'_>,
    ) -> Result<(), String> {
        let stored = self.newest_stored().await?;
        let all_after = |newest: &BTreeMap<String, i64>| {
            self.products
                .iter()
                .find(|product| newest.get(*product).is_none_or(|time| *time <= from))
                .cloned()
        };
        if let Some(product) = all_after(&stored) {
            return Err(format!("no new tick of {product} is stored"));
        }
        let newest = stored.values().max().copied().unwrap_or_default();
        let behind = now() - newest;
        if behind > LAG_MAX_NS {
            return Err(format!("what is stored is {behind} ns behind"));
        }
        for (subscriber, name) in subscribers.into_iter().zip(CLIENTS) {
            if let Some(product) = all_after(&subscriber.lock().newest) {
                return Err(format!("no new tick of {product} over {name}"));
            }
        }
        answered(query, &self.products[0], from).await?;
        for (name, address) in ops {
            if name == "simulator" {
                continue;
            }
            let (status, body) = roles::get(address, "/ready").await?;
            if status != 200 {
                return Err(format!("{name} is not ready: {body}"));
            }
        }
        Ok(())
    }

    /// The newest event time of each product in `latest_prices`.
    async fn newest_stored(&mut self) -> Result<BTreeMap<String, i64>, String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => in_time(PgConnection::connect(&self.database)).await?,
        };
        let query = sqlx::query("SELECT product, ts_event FROM latest_prices");
        let rows = in_time(query.fetch_all(&mut connection)).await?;
        self.connection = Some(connection);
        Ok(rows.iter().map(|row| (row.get("product"), row.get("ts_event"))).collect())
    }

    /// Waits until the subscribers have heard everything.
    pub(crate) async fn await_quiet(&self, subscribers: Clients<'_>) {
        let heard = || subscribers.map(|subscriber| subscriber.lock().ticks);
        let (mut before, mut since) = (heard(), Instant::now());
        while since.elapsed() < QUIET {
            tokio::time::sleep(POLL_INTERVAL).await;
            if heard() != before {
                (before, since) = (heard(), Instant::now());
            }
        }
    }

    /// Whether every outage was over within `limit`.
    pub(crate) fn verdict(&self, limit: Duration) -> Line {
        let all: Vec<Duration> = self.recoveries.values().flatten().copied().collect();
        let worst = all.iter().max().copied().unwrap_or_default();
        let late = all.iter().filter(|took| **took > limit).count();
        let told = format!(
            "{} outages, live again after {:.2} s (median), {:.2} s (worst), {late} later than {limit:?}",
            all.len(),
            median(&all).as_secs_f64(),
            worst.as_secs_f64(),
        );
        Line { check: "recovered", ok: late == 0, told }
    }
}

/// The middle one, the upper one of two.
pub(crate) fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

async fn in_time<T>(call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, String> {
    let answer = tokio::time::timeout(CALL_TIMEOUT, call).await;
    answer.map_err(|_| "the database does not answer".to_owned())?.map_err(|error| error.to_string())
}

async fn answered(query: &str, product: &str, from: i64) -> Result<(), String> {
    let call = async {
        let mut client = MarketDataServiceClient::connect(format!("http://{query}"))
            .await
            .map_err(|error| error.to_string())?;
        let request = GetLatestPriceRequest { product: product.to_owned(), ..Default::default() };
        let answer = client.get_latest_price(request).await.map_err(|status| status.to_string())?;
        let time = answer.into_inner().latest_price.and_then(|price| price.last_trade_time);
        let time = time.map_or(0, |time| time.seconds * 1_000_000_000 + i64::from(time.nanos));
        if time > from { Ok(()) } else { Err(format!("query's newest {product} is old")) }
    };
    tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(|_| "query does not answer".to_owned())?
}
