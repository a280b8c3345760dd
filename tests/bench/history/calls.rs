//! How long single calls take.

use std::time::{Duration, Instant};

use proto::{timestamp, v1};

use crate::{
    Latencies,
    load::{self, History},
    service::Service,
};

/// How many calls of a kind are timed, one after another.
const CALLS: u64 = 2_000;
const MINUTE_NS: i64 = 60_000_000_000;
/// Calls for the latest price: so many a second, for so long, over so many connections.
const LATEST_PER_SECOND: u32 = 2_000;
const LATEST_SECONDS: u32 = 10;
const CONNECTIONS: u32 = 8;

/// The first page of any minute, and the state as of any time.
pub(crate) async fn history(service: &Service, history: &History) -> [Latencies; 2] {
    let mut client = service.client().await;
    let span = (history.end_ns() - load::START_NS).unsigned_abs();
    // The same places whenever it runs, spread over products and time.
    let places = (0..CALLS + 100).map(|number| {
        let at = load::START_NS + i64::try_from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % span).unwrap();
        (load::instrument(number % load::PRODUCTS).product.to_string(), at)
    });
    let (mut pages, mut snapshots) = (Vec::new(), Vec::new());
    for (number, (product, at)) in places.enumerate() {
        let from = (at - MINUTE_NS).max(load::START_NS);
        let range = v1::TimeRange {
            start_time: Some(timestamp(domain::UnixNanos::new(from))),
            end_time: Some(timestamp(domain::UnixNanos::new(from + MINUTE_NS))),
        };
        let request = v1::ListTicksRequest {
            product: product.clone(),
            range: Some(v1::list_ticks_request::Range::TimeRange(range)),
            ..Default::default()
        };
        let started = Instant::now();
        let page = client.list_ticks(request).await.unwrap().into_inner();
        let page_took = started.elapsed();
        assert!(page.ticks.len() > 250, "a minute has 277 ticks, this one {}", page.ticks.len());
        let as_of_time = Some(timestamp(domain::UnixNanos::new(at.max(load::START_NS + MINUTE_NS))));
        let request = v1::GetSnapshotRequest { product, as_of_time, ..Default::default() };
        let started = Instant::now();
        let snapshot = client.get_snapshot(request).await.unwrap().into_inner().snapshot.unwrap();
        let snapshot_took = started.elapsed();
        assert!(snapshot.state.unwrap().last_trade.is_some());
        // The first ones plan statements and open connections.
        if number >= 100 {
            pages.push(page_took);
            snapshots.push(snapshot_took);
        }
    }
    let [pages, snapshots] = [pages, snapshots].map(Latencies::of);
    println!("  ListTicks, first page of a minute (277 ticks)  {}", pages.row());
    println!("  GetSnapshot as of a time                       {}", snapshots.row());
    [pages, snapshots]
}

/// The latest price at a fixed rate, whether or not the calls before have been answered.
pub(crate) async fn latest_price(service: &Service) {
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now() + Duration::from_millis(200);
    for connection in 0..CONNECTIONS {
        let client = service.client().await;
        tasks.spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            let mut latencies = Vec::new();
            for number in (connection..LATEST_PER_SECOND * LATEST_SECONDS).step_by(CONNECTIONS as usize) {
                let due = began + Duration::from_secs(1) * number / LATEST_PER_SECOND;
                tokio::time::sleep_until(due.into()).await;
                let mut client = client.clone();
                // From when it is sent: the timer that spaces the calls has a grain of a millisecond. Each call is on its own,
                // so a slow one delays none of those after it.
                let sent = Instant::now();
                calls.spawn(async move {
                    let product = load::instrument(u64::from(number) % load::PRODUCTS).product.to_string();
                    let request = v1::GetLatestPriceRequest { product, ..Default::default() };
                    client.get_latest_price(request).await.unwrap();
                    sent.elapsed()
                });
                while let Some(latency) = calls.try_join_next() {
                    latencies.push(latency.unwrap());
                }
            }
            latencies.extend(calls.join_all().await);
            latencies
        });
    }
    let latencies = Latencies::of(tasks.join_all().await.into_iter().flatten().collect());
    let rate = LATEST_PER_SECOND;
    println!("  GetLatestPrice at {rate} calls/s                 {}", latencies.row());
}
