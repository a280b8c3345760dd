//! Reading work: each message until it is acknowledged, in stream order.

use std::time::Duration;

use domain::{FeedEvent, Instrument, Position, Shard, TickBatch};
use opentelemetry::Context;
use thiserror::Error;
use tokio::time::Instant;

mod overrun;
mod stall;

use overrun::{Chain, Previous};
use stall::Stall;

use crate::{
    BrokerError, Bus, PublishError, Source, StreamKind, Undecodable,
    broker::{DurableSpec, Receipt, WorkConsumer, WorkMessage},
    codec::{self, Payload},
    metrics::{self, ResetCause},
    subjects::Parsed,
};

/// Which work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// The ticks as received, for the normalizer of a shard.
    Raw,
    /// The validated ticks, for the snapshotter of a shard.
    Ticks,
    /// What the feeds say of gaps, of every product, for the snapshotter of a shard.
    Gaps,
}

impl Work {
    /// The stream it is in.
    pub fn stream(self) -> StreamKind {
        match self {
            Self::Raw => StreamKind::Raw,
            Self::Ticks => StreamKind::Ticks,
            Self::Gaps => StreamKind::Events,
        }
    }

    /// The name of the durable consumer, one per role and shard.
    pub(crate) fn durable_name(self, shard: Shard) -> String {
        format!("{}-{shard}", self.role())
    }

    /// The role that does it.
    fn role(self) -> &'static str {
        match self {
            Self::Raw => "normalizer",
            Self::Ticks => "snapshotter",
            Self::Gaps => "ledger",
        }
    }
}

/// Why no work came.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The consumer could not be brought to its first unacknowledged message.
    #[error("the consumer cannot be reset")]
    Reset(#[source] BrokerError),
    /// The broker gave no messages. The next call starts again with what was not acknowledged.
    #[error("no messages can be fetched")]
    Fetch(#[source] BrokerError),
    /// Messages were gone before they were read, and the event that tells so could not be published. The next call starts
    /// again and tells it.
    #[error("messages that are gone cannot be told of")]
    Overrun(#[source] PublishError),
}

/// One message of work. It comes again until it is acknowledged.
#[derive(Debug)]
pub struct Delivery<T = TickBatch> {
    /// Where it stands in its stream.
    pub stream_sequence: u64,
    /// Whether its ticks come from the live feed; events are always live.
    pub source: Source,
    /// Its subject.
    pub subject: String,
    /// What it says, or why that cannot be read.
    pub content: Result<T, Undecodable>,
    /// The trace of whoever published it.
    pub context: Context,
    /// Whether this message was given out before, as far as is known.
    pub redelivered: bool,
    /// Whether it does not follow upon what was given out of its product before: messages in between left the stream unread, or
    /// it does not name the one before it.
    pub detached: bool,
    receipt: Receipt,
    previous: Option<Previous>,
}

/// How far behind a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Messages that the worker was not given yet.
    pub pending_messages: u64,
    /// Messages that it was given and has not acknowledged.
    pub unacknowledged: u64,
    /// How much of what the stream may hold is waiting for this worker, in percent, estimated from the average size
    /// of a message.
    pub percent_of_limit: u64,
    /// The newest message that the stream has had, whoever is to read it.
    pub last_sequence: u64,
    /// Everything up to this message is acknowledged or gone.
    pub done: u64,
}

impl Lag {
    /// Whether everything up to this message of the stream is acknowledged, whatever has come since.
    pub fn is_done_up_to(&self, sequence: u64) -> bool {
        self.done >= sequence || self.pending_messages + self.unacknowledged == 0
    }
}

/// Reads the work of a shard, strictly in stream order.
///
/// At the start, after an error, and when a message comes again out of order, the durable consumer is set back to
/// the first message that was not acknowledged, and everything from there on comes again. So what an owner who died
/// had in hand comes before anything newer.
///
/// Messages that left the stream unread are told as an overrun of their product before anything newer of it is given out.
/// A consumer that gives nothing though messages wait for it is made anew.
#[derive(Debug)]
pub struct WorkReader<T = TickBatch> {
    work: Work,
    bus: Bus,
    consumer: WorkConsumer,
    /// Why the consumer has to be reset before the next fetch.
    reset: Option<ResetCause>,
    /// The last message given out since the reset.
    last: u64,
    /// The highest message given out by this reader.
    highest: u64,
    chain: Chain,
    stall: Stall,
    /// Came from the consumer and were not given out yet: the caller may stop waiting at any time.
    arrived: Vec<Delivery<T>>,
}

impl Bus {
    /// The raw ticks of a shard, for its normalizer, or the validated ones, for its snapshotter. Nothing is asked of the
    /// broker before the first fetch.
    pub fn work(&self, work: Work, shard: Shard) -> WorkReader {
        self.reader(work, shard)
    }

    /// The events that say which trades are missing and what becomes of them, for the snapshotter of a shard. Those of the
    /// products of other shards come too: a subject of an event does not name the shard.
    pub fn gap_work(&self, shard: Shard) -> WorkReader<FeedEvent> {
        self.reader(Work::Gaps, shard)
    }

    fn reader<T>(&self, work: Work, shard: Shard) -> WorkReader<T> {
        WorkReader {
            work,
            bus: self.clone(),
            consumer: self.broker.work_consumer(self.durable(work, shard)),
            reset: Some(ResetCause::Start),
            last: 0,
            highest: 0,
            chain: Chain::new(work, shard),
            stall: Stall::new(self.durable(work, shard), self.config.stalled_after),
            arrived: Vec::new(),
        }
    }

    /// How far behind the worker of a shard is. A worker that never ran has everything before it.
    pub async fn lag(&self, work: Work, shard: Shard) -> Result<Lag, BrokerError> {
        self.lag_of_messages(work, shard, 0).await
    }

    /// The same, where the messages that wait are known to be larger than the average of the stream: at least `bytes_min` each.
    pub async fn lag_of_messages(
        &self,
        work: Work,
        shard: Shard,
        bytes_min: u64,
    ) -> Result<Lag, BrokerError> {
        let backlog = self.broker.backlog(&self.durable(work, shard)).await?;
        let state = self.broker.stream_state(work.stream()).await?;
        let waiting = u128::from(backlog.pending.saturating_add(backlog.unacknowledged));
        let average = u128::from(state.size_bytes) / u128::from(state.messages.max(1));
        let percent =
            waiting * average.max(u128::from(bytes_min)) * 100 / u128::from(state.size_bytes_max.max(1));
        Ok(Lag {
            pending_messages: backlog.pending,
            unacknowledged: backlog.unacknowledged,
            percent_of_limit: u64::try_from(percent).unwrap_or(u64::MAX),
            last_sequence: state.last_sequence,
            done: backlog.done,
        })
    }

    pub(crate) fn durable(&self, work: Work, shard: Shard) -> DurableSpec {
        DurableSpec {
            stream: work.stream(),
            name: work.durable_name(shard),
            filters: match work {
                Work::Raw => self.subjects.raw_filters(shard),
                Work::Ticks => self.subjects.tick_filters(shard),
                Work::Gaps => self.subjects.gap_filters(),
            },
            ack_wait: self.config.ack_wait,
            unacknowledged_max: self.config.unacknowledged_messages_max,
        }
    }
}

impl WorkReader {
    /// Tells where each product of the shard stands in what is stored, so that losses are measured by it.
    #[must_use]
    pub fn with_stored(mut self, stored: impl IntoIterator<Item = (Instrument, Position)>) -> Self {
        self.chain.set_stored(stored.into_iter().collect());
        self
    }
}

#[allow(private_bounds, reason = "the kinds of content are those that the bus gives readers for")]
impl<T: Payload> WorkReader<T> {
    /// Waits up to `wait` for work and returns what is there, 1 to `max_messages` messages; none when the time is
    /// over. May be cancelled without losing anything. After an error the caller waits a little before it asks
    /// again.
    pub async fn fetch(
        &mut self,
        max_messages: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery<T>>, FetchError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(cause) = self.reset {
                self.start(cause).await?;
            }
            if self.arrived.is_empty() {
                let left = until.saturating_duration_since(Instant::now());
                let wait = left.min(self.stall.look_every());
                let messages = self.consumer.fetch(max_messages, wait).await.map_err(|error| {
                    self.reset = Some(ResetCause::FetchError);
                    FetchError::Fetch(error)
                })?;
                let none = messages.is_empty();
                self.arrived = self.in_order(messages);
                if none && self.stall.is_found(&self.bus).await {
                    self.reset = Some(ResetCause::Stalled);
                    continue;
                }
                if none && Instant::now() >= until {
                    return Ok(Vec::new());
                }
            }
            self.tell_overruns().await?;
            if !self.arrived.is_empty() {
                self.stall.moved();
                return Ok(std::mem::take(&mut self.arrived));
            }
        }
    }

    async fn start(&mut self, cause: ResetCause) -> Result<(), FetchError> {
        let anew = matches!(cause, ResetCause::Stalled);
        let acknowledged = self.consumer.reset(anew).await.map_err(FetchError::Reset)?;
        metrics::consumer_reset(self.work.stream(), cause);
        self.chain.begin(acknowledged);
        self.stall.moved();
        self.arrived.clear();
        self.reset = None;
        self.last = 0;
        Ok(())
    }

    /// Tells of the messages that were gone before those that have arrived; never after anything newer was acknowledged.
    async fn tell_overruns(&mut self) -> Result<(), FetchError> {
        let outcome = self.chain.tell(&self.bus, &mut self.arrived).await;
        outcome.inspect_err(|_| {
            self.reset = Some(ResetCause::FetchError);
            self.arrived.clear();
        })
    }

    /// Starts again with what was not acknowledged, at the next fetch.
    pub fn restart(&mut self) {
        self.reset = Some(ResetCause::Asked);
    }

    /// Says that the effect of these messages is durable: they do not come again.
    ///
    /// After an error some of them may come again.
    pub async fn ack(&self, deliveries: &[Delivery<T>]) -> Result<(), BrokerError> {
        if deliveries.is_empty() {
            return Ok(());
        }
        let receipts: Vec<&Receipt> = deliveries.iter().map(|delivery| &delivery.receipt).collect();
        self.consumer.ack(&receipts).await
    }

    /// The messages up to the first one that is out of order; from there on everything comes again after a reset.
    fn in_order(&mut self, messages: Vec<WorkMessage>) -> Vec<Delivery<T>> {
        let stream = self.work.stream();
        let mut deliveries = Vec::with_capacity(messages.len());
        let mut again = 0;
        for message in messages {
            let sequence = message.stored.sequence;
            if sequence <= self.last {
                tracing::info!(
                    stream = stream.label(),
                    sequence,
                    last = self.last,
                    "redelivered out of order"
                );
                self.reset = Some(ResetCause::OutOfOrder);
                break;
            }
            let redelivered = message.deliveries > 1 || sequence <= self.highest;
            again += usize::from(redelivered);
            self.last = sequence;
            self.highest = self.highest.max(sequence);
            deliveries.push(self.delivery(message, redelivered));
        }
        if again > 0 {
            metrics::redelivered(stream, again);
        }
        deliveries
    }

    fn delivery(&self, message: WorkMessage, redelivered: bool) -> Delivery<T> {
        let stored = message.stored;
        let content = codec::decode(&stored);
        let previous = Previous::of(&stored.headers);
        if content.is_err() {
            metrics::undecodable(self.work.stream());
        }
        Delivery {
            stream_sequence: stored.sequence,
            source: source(&self.bus, &stored.subject),
            subject: stored.subject.to_string(),
            content,
            context: stored.headers.trace_context(),
            redelivered,
            detached: previous.is_none(),
            receipt: message.receipt,
            previous,
        }
    }
}

/// What a subject of `LF_RAW` or `LF_TICKS` says about the ticks on it.
pub(crate) fn source(bus: &Bus, subject: &str) -> Source {
    match bus.subjects.parse(subject) {
        Some(Parsed::RawFill(..) | Parsed::Fill(..)) => Source::Fill,
        _ => Source::Live,
    }
}

#[cfg(test)]
mod tests;
