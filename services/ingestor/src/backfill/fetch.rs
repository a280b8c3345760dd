//! From a range of missing trades to ticks on the bus.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bus::{Bus, Work};
use domain::{BATCH_TICKS_MAX, FeedSession, Instrument, Tick, TickBatch, UnixNanos};
use metrics::counter;
use runtime::{Backoff, ErrorChain, LogGate};
use tracing::{debug, error, warn};
use venues::coinbase::rest::{GapFetch, RestTrade, parse_trades, trades_path};

use super::wanted::Job;
use crate::metrics::BACKFILLED;
use crate::rest::{AskError, Rest};

const PUBLISH_DELAY_MIN: Duration = Duration::from_millis(100);
const PUBLISH_DELAY_MAX: Duration = Duration::from_secs(5);
const FAILURE_PERIOD: Duration = Duration::from_secs(60);
/// With more messages than this waiting for a worker of the shard, it is behind.
const BEHIND_MESSAGES: u64 = 100;
/// For how long what is fetched at a time lets the others go first, at most.
const GIVE_WAY_MAX: Duration = Duration::from_secs(5);
const GIVE_WAY_INTERVAL: Duration = Duration::from_millis(100);

/// What came of a job.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The exchange has answered. What it has is published.
    Answered {
        /// The trades of the job, ascending.
        trades: Vec<u64>,
        /// What it has not got of the range that was asked for.
        absent: Vec<RangeInclusive<u64>>,
    },
    /// The exchange has failed; nothing is known.
    Failed,
}

/// Fetches and publishes.
pub(super) async fn fetch(bus: &Bus, rest: &Rest, feed: &FeedSession, job: &Job) -> Fetched {
    static FAILURES: LogGate = LogGate::new(FAILURE_PERIOD);
    let (product, range) = (&job.instrument.product, &job.range);
    match ask(rest, job).await {
        Ok((trades, absent)) => {
            let ids: Vec<u64> = trades.keys().copied().collect();
            debug!(%product, ?range, trades = ids.len(), "missing trades were fetched");
            give_way(bus, &job.instrument).await;
            publish(bus, feed, &job.instrument, trades.into_values()).await;
            Fetched::Answered { trades: ids, absent }
        }
        Err(error) if error.is_retryable() => {
            if let Some(swallowed) = FAILURES.pass(Instant::now()) {
                warn!(%product, ?range, error = %ErrorChain(&error), swallowed, "missing trades cannot be fetched now");
            }
            Fetched::Failed
        }
        Err(error) => {
            // The exchange has understood the request and has nothing to give: a product that it does not know, say.
            warn!(%product, ?range, error = %ErrorChain(&error), "the exchange has not got the missing trades");
            Fetched::Answered { trades: Vec::new(), absent: vec![range.clone()] }
        }
    }
}

type Trades = BTreeMap<u64, RestTrade>;

/// The missing trades by number, and what the exchange has not got.
async fn ask(rest: &Rest, job: &Job) -> Result<(Trades, Vec<RangeInclusive<u64>>), AskError> {
    let mut plan = GapFetch::new(*job.range.start(), *job.range.end());
    let (mut trades, mut absent) = (Trades::new(), Vec::new());
    while let Some(request) = plan.next() {
        let path = trades_path(&job.instrument.product, request.limit, Some(request.after));
        let page = rest.ask(&path, |body| plan.take(parse_trades(body)?)).await?;
        absent.extend(page.absent);
        let wanted = page.trades.into_iter().filter(|trade| job.wants(trade.trade_id));
        trades.extend(wanted.map(|trade| (trade.trade_id, trade)));
    }
    Ok((trades, absent))
}

/// Waits while the shard of the product is behind: after an outage of the broker or the database what is live has waited for
/// long enough, and what is missing can wait a little longer.
async fn give_way(bus: &Bus, instrument: &Instrument) {
    let shard = bus.shards().shard_of(instrument);
    let is_behind = async || {
        for work in [Work::Ticks, Work::Raw] {
            // Of a broker that does not answer whoever publishes will hear.
            if bus.lag(work, shard).await.is_ok_and(|lag| lag.pending_messages > BEHIND_MESSAGES) {
                return true;
            }
        }
        false
    };
    let since = Instant::now();
    while since.elapsed() < GIVE_WAY_MAX && is_behind().await {
        tokio::time::sleep(GIVE_WAY_INTERVAL).await;
    }
}

async fn publish(
    bus: &Bus,
    feed: &FeedSession,
    instrument: &Instrument,
    trades: impl Iterator<Item = RestTrade>,
) {
    let now = UnixNanos::now();
    let ticks: Vec<Tick> = trades.map(|trade| trade.to_tick(instrument, now)).collect();
    for chunk in ticks.chunks(BATCH_TICKS_MAX) {
        let batch = TickBatch {
            instrument: instrument.clone(),
            ticks: chunk.to_vec(),
            session: feed.clone(),
            heartbeat: None,
            raw_sequence: None,
            normalised_at: None,
        };
        deliver(bus, &batch).await;
    }
}

/// Repeats until the broker has it. It is not in a hurry, and holds nobody up but the next fill.
async fn deliver(bus: &Bus, batch: &TickBatch) {
    static FAILURES: LogGate = LogGate::new(FAILURE_PERIOD);
    let number = |tick: Option<&Tick>| tick.and_then(Tick::trade_id).unwrap_or_default();
    let id = format!("{}-{}", number(batch.ticks.first()), number(batch.ticks.last()));
    let mut backoff = Backoff::new(PUBLISH_DELAY_MIN, PUBLISH_DELAY_MAX);
    while let Err(error) = bus.publish_raw_fill(batch, &id).await {
        if !error.is_retryable() {
            error!(error = %ErrorChain(&error), trades = id, "fetched trades cannot be published");
            return;
        }
        if let Some(swallowed) = FAILURES.pass(Instant::now()) {
            warn!(error = %ErrorChain(&error), swallowed, "fetched trades wait for the broker");
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
    let product = batch.instrument.product.to_string();
    counter!(BACKFILLED, "product" => product)
        .increment(u64::try_from(batch.ticks.len()).unwrap_or(u64::MAX));
}
