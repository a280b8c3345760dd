//! The ledger of a shard: which trades are missing, and what becomes of them.

use std::{convert::Infallible, time::Duration};

use bus::{Delivery, Lag, PublishError, Work, WorkReader, fail_point};
use domain::{EventKind, FeedEvent, Gap, GapState, Instrument, RejectReason, RejectedTick, UnixNanos};
use futures::{TryStreamExt as _, stream};
use metrics::{counter, gauge};
use runtime::{Backoff, ErrorChain};
use store::{Store, StoreError};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    metrics as names,
    untold::tell_open_gaps,
    worker::{Error, Worker, bus_error},
    write::undecodable,
};

/// How long a fetched trade waits at most for what was said of its gap before it. Stored without its gap it would be in
/// two places, so that this is far longer than the ledger takes; a drain has its own deadline.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// After how long that is told.
const SETTLE_TOLD: Duration = Duration::from_secs(2);
/// How often it is asked whether that is done.
const SETTLE_INTERVAL: Duration = Duration::from_millis(10);
/// How many repaired gaps are told of at a time.
const REPAIRED_AT_ONCE_MAX: usize = 64;
/// How many gaps a line of the log names.
const TOLD_MAX: usize = 8;

/// Records what is said of the gaps of a shard, and acknowledges it once it is committed.
pub(crate) struct Ledger<'a> {
    worker: &'a Worker,
    reader: WorkReader<FeedEvent>,
}

impl<'a> Ledger<'a> {
    /// Records everything that was said so far, and tells again what nobody but the database knows to be missing.
    pub(crate) async fn recover(worker: &'a Worker) -> Result<Self, Error> {
        let mut ledger = Self { worker, reader: worker.bus.gap_work(worker.shard) };
        ledger.catch_up().await?;
        tell_open_gaps(worker).await?;
        Ok(ledger)
    }

    /// Records what was said before now. What is said meanwhile can wait: there may be no end of it.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Error> {
        let mut lag = lag(self.worker).await?;
        let said = lag.last_sequence;
        while !lag.is_done_up_to(said) {
            let deliveries = self.fetch().await?;
            self.record(&deliveries).await?;
            lag = self::lag(self.worker).await?;
        }
        Ok(())
    }

    /// The same at the end, when the work was stopped wherever it was: what it had in hand would come again only after the time
    /// for an acknowledgement.
    pub(crate) async fn finish(&mut self) -> Result<(), Error> {
        self.reader.restart();
        self.catch_up().await
    }

    /// Records what is said, also while the database is away for a time, until something else fails.
    pub(crate) async fn work(&mut self) -> Result<Infallible, Error> {
        loop {
            let deliveries = self.fetch().await?;
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
            let mut told = false;
            while let Err(error) = self.record(&deliveries).await {
                match error {
                    // A fault of schema or rights is nobody's gap: it is waited for like a database that is away.
                    Error::Store(error) if !error.is_of_rows() => {
                        let shard = self.worker.shard;
                        counter!(names::RETRIES, "shard" => shard.to_string()).increment(1);
                        if !told && !error.is_retryable() {
                            told = true;
                            warn!(%shard, error = %ErrorChain(&error), "gaps are not recorded; trying until they are");
                        }
                        tracing::debug!(%shard, error = %ErrorChain(&error), "a gap is not recorded yet");
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    error => return Err(error),
                }
            }
        }
    }

    async fn fetch(&mut self) -> Result<Vec<Delivery<FeedEvent>>, Error> {
        let config = &self.worker.config;
        self.reader.fetch(config.fetch_messages_max, config.fetch_wait).await.map_err(bus_error)
    }

    /// Doing it again changes nothing.
    async fn record(&self, deliveries: &[Delivery<FeedEvent>]) -> Result<(), Error> {
        // A feed that mixes up or drops a little all the time makes thousands of gaps: those that follow upon each other are
        // one transaction.
        for alike in deliveries.chunk_by(|one, next| gap_of(one).is_some() && gap_of(next).is_some()) {
            if !self.record_together(alike).await? {
                for delivery in alike {
                    self.record_alone(delivery).await?;
                }
            }
        }
        fail_point::pass("ledger-committed");
        self.reader.ack(deliveries).await.map_err(bus_error)
    }

    /// Whether these are several gaps, and all are recorded.
    async fn record_together(&self, alike: &[Delivery<FeedEvent>]) -> Result<bool, Error> {
        let gaps: Vec<Gap> =
            alike.iter().filter_map(gap_of).filter(|gap| self.is_ours(&gap.instrument)).cloned().collect();
        if gaps.len() < 2 {
            return Ok(false);
        }
        match self.worker.store.record_gaps(&gaps).await {
            Ok(recorded) => self.tell("gap", &recorded).await.map(|()| true),
            // One of them is at fault. Alone it shows which.
            Err(error) if error.is_of_rows() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn record_alone(&self, delivery: &Delivery<FeedEvent>) -> Result<(), Error> {
        match &delivery.content {
            Ok(event) => self.record_event(delivery, event).await,
            Err(what) => {
                let reject = undecodable(delivery, what, "events", &self.worker.source(), UnixNanos::now());
                self.refuse(reject).await
            }
        }
    }

    fn is_ours(&self, instrument: &Instrument) -> bool {
        self.worker.bus.shards().shard_of(instrument) == self.worker.shard
    }

    async fn tell(&self, event: &str, gaps: &[Gap]) -> Result<(), Error> {
        info!(shard = %self.worker.shard, event, gaps = %Told(gaps), "the ledger has changed");
        publish_repaired(self.worker, gaps).await.map_err(bus_error)
    }

    async fn record_event(&self, delivery: &Delivery<FeedEvent>, event: &FeedEvent) -> Result<(), Error> {
        if !self.is_ours(&event.instrument) {
            return Ok(());
        }
        let store = &self.worker.store;
        let recorded = match &event.kind {
            EventKind::Gap(gap) => store.record_gap(gap).await,
            EventKind::Repaired(gap) if gap.state == GapState::Unrepairable => store.give_up_gap(gap).await,
            // What was repaired is known from the trades themselves.
            _ => return Ok(()),
        };
        match recorded {
            Ok(gaps) => self.tell(event.kind.name(), &gaps).await,
            Err(error) if error.is_of_rows() => {
                self.refuse(unrecordable(delivery, event, &error, &self.worker.source())).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn refuse(&self, reject: RejectedTick) -> Result<(), Error> {
        self.worker.reporter.update(|status| status.rejected += 1);
        let labels =
            [("shard", self.worker.shard.to_string()), ("reason", reject.reason.as_str().to_owned())];
        counter!(names::REJECTS, &labels).increment(1);
        warn!(shard = %self.worker.shard, reason = reject.reason.as_str(), detail = reject.detail, "refused");
        self.worker.bus.publish_reject(&reject).await.map_err(bus_error)
    }
}

/// Waits, but not for ever, until everything is recorded that was said of gaps before now: a fetched trade finds its gap.
pub(crate) async fn settled(worker: &Worker) -> Result<(), Error> {
    let since = Instant::now();
    let mut told = false;
    let mut lag = lag(worker).await?;
    let said = lag.last_sequence;
    while !lag.is_done_up_to(said) && since.elapsed() < SETTLE_MAX {
        if !told && since.elapsed() > SETTLE_TOLD {
            told = true;
            worker.latch.set_waiting("the database has not yet recorded what was said of gaps");
        }
        tokio::time::sleep(SETTLE_INTERVAL).await;
        lag = self::lag(worker).await?;
    }
    if told {
        worker.latch.set_ready();
    }
    Ok(())
}

async fn lag(worker: &Worker) -> Result<Lag, Error> {
    worker.bus.lag(Work::Gaps, worker.shard).await.map_err(bus_error)
}

/// Tells of those of `gaps` that are repaired. Said again, the broker takes it for the same.
pub(crate) async fn publish_repaired(worker: &Worker, gaps: &[Gap]) -> Result<(), PublishError> {
    let repaired = gaps.iter().filter(|gap| gap.state == GapState::Repaired).map(|gap| FeedEvent {
        instrument: gap.instrument.clone(),
        time: UnixNanos::now(),
        source: worker.source(),
        kind: EventKind::Repaired(gap.clone()),
    });
    stream::iter(repaired.map(Ok))
        .try_for_each_concurrent(REPAIRED_AT_ONCE_MAX, |event| async move {
            worker.bus.publish_event(&event).await.map(|_| ())
        })
        .await
}

fn gap_of(delivery: &Delivery<FeedEvent>) -> Option<&Gap> {
    match delivery.content.as_ref().ok()?.kind {
        EventKind::Gap(ref gap) => Some(gap),
        _ => None,
    }
}

/// Brings the metrics of all gaps that are stored up to date.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) async fn measure(store: &Store) -> Result<(), StoreError> {
    let totals = store.gap_totals().await?;
    for totals in totals.chunk_by(|one, other| one.instrument == other.instrument) {
        let Some(product) = totals.first().map(|first| first.instrument.product.to_string()) else {
            continue;
        };
        for (state, label) in STATES {
            let totals = totals.iter().find(|totals| totals.state == state);
            let labels = [("product", product.clone()), ("state", label.to_owned())];
            gauge!(names::GAPS, &labels).set(totals.map_or(0, |totals| totals.gaps) as f64);
            gauge!(names::MISSING_TRADES, &labels)
                .set(totals.map_or(0, |totals| totals.missing_trades) as f64);
        }
        let repaired: u64 = totals.iter().map(|totals| totals.repaired_trades).sum();
        gauge!(names::REPAIRED_TRADES, "product" => product).set(repaired as f64);
    }
    Ok(())
}

const STATES: [(GapState, &str); 3] =
    [(GapState::Open, "open"), (GapState::Repaired, "repaired"), (GapState::Unrepairable, "unrepairable")];

/// The reject of an event that the database refuses whatever else is stored.
fn unrecordable(
    delivery: &Delivery<FeedEvent>,
    event: &FeedEvent,
    why: &StoreError,
    source: &str,
) -> RejectedTick {
    RejectedTick {
        instrument: Some(event.instrument.clone()),
        tick: None,
        raw: Vec::new(),
        raw_length: 0,
        reason: RejectReason::Unstorable,
        detail: format!("{}: {}", event.identity(), ErrorChain(why)),
        source: source.to_owned(),
        time: UnixNanos::now(),
        identity: format!("events/{}", delivery.stream_sequence),
    }
}

/// Gaps in a line of the log.
struct Told<'a>(&'a [Gap]);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, gap) in self.0.iter().take(TOLD_MAX).enumerate() {
            let (first, last, state) = (gap.first_trade_id, gap.last_trade_id, gap.state);
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {first}-{last} {state:?} {}", gap.instrument, gap.repaired_count)?;
        }
        match self.0.len().checked_sub(TOLD_MAX) {
            Some(more) if more > 0 => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}
