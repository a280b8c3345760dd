//! Getting one batch to the broker, whole or in parts, until all of it is acknowledged or filed as refused.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use domain::{FeedSession, RejectReason, RejectedTick, TickBatch, UnixNanos};
use opentelemetry::Context;

use crate::{
    BrokerError, Bus, StreamKind,
    broker::{Outgoing, PublishFailure},
    fail_point, metrics,
    publish::outgoing,
};

/// Of so many failures of one message in a row, one is logged.
const LOG_EVERY: u32 = 10;

/// A batch on its way.
pub(super) struct Departure {
    pub(super) bus: Bus,
    pub(super) subject: String,
    pub(super) context: Context,
    /// How many ticks of this publisher the broker never took.
    pub(super) refused_ticks: Arc<AtomicU64>,
}

/// A batch or a part of one, and the message id that goes with exactly these ticks.
struct Part {
    batch: TickBatch,
    id: String,
}

impl Departure {
    /// Returns when everything in the batch is acknowledged, in order; what the broker never takes is filed as a reject.
    pub(super) async fn deliver(&self, batch: TickBatch, id: String) {
        // The next part is the last one.
        let mut parts = vec![Part { batch, id }];
        while let Some(part) = parts.pop() {
            let id = Some(part.id.clone());
            let message = outgoing(StreamKind::Raw, &self.subject, &part.batch, &self.context, id);
            let Err(error) = self.publish(&message, part.batch.ticks.len()).await else {
                continue;
            };
            match part.halves() {
                Ok([first, second]) => {
                    metrics::raw_split();
                    parts.extend([second, first]);
                }
                Err(part) => self.refuse(*part, message.payload.len(), &error).await,
            }
        }
    }

    /// Repeats a message until the broker has it. The error: it is larger than what the broker takes.
    async fn publish(&self, message: &Outgoing, ticks: usize) -> Result<(), BrokerError> {
        let mut delays = self.bus.retry_delays();
        let mut reconnections = self.bus.reconnections();
        let mut failures = 0u32;
        loop {
            match self.bus.broker.publish(message).await {
                Ok(published) => {
                    fail_point::pass("ingestor-published");
                    metrics::published(message.stream, message.payload.len(), ticks, published.duplicate);
                    if failures > 0 {
                        tracing::info!(subject = %message.subject, failures, "published after all");
                    }
                    return Ok(());
                }
                Err(failure) => {
                    metrics::publish_failed(message.stream, failure.cause());
                    if let PublishFailure::TooLarge(error) = failure {
                        return Err(error);
                    }
                    if failures.is_multiple_of(LOG_EVERY) {
                        log(message, &failure, failures);
                    }
                    failures = failures.saturating_add(1);
                }
            }
            if reconnections.or_after(delays.next_delay()).await {
                delays.reset();
            }
        }
    }

    /// Files what is too large though it cannot be made smaller, so that what comes after it can go on.
    async fn refuse(&self, part: Part, size_bytes: usize, why: &BrokerError) {
        let Part { batch: TickBatch { ticks, session, instrument, .. }, id } = part;
        for tick in ticks {
            metrics::raw_refused();
            let earlier = self.refused_ticks.fetch_add(1, Ordering::Relaxed);
            // One is news, the thousandth is not.
            if (earlier + 1).is_power_of_two() {
                let (subject, ticks) = (&self.subject, earlier + 1);
                tracing::error!(
                    subject,
                    ticks,
                    cause = cause(why),
                    "ticks refused as too large for the broker"
                );
            }
            let reject = RejectedTick {
                instrument: Some(instrument.clone()),
                tick: Some(tick),
                raw: Vec::new(),
                raw_length: 0,
                reason: RejectReason::Unstorable,
                detail: format!("the broker does not take a message of {size_bytes} bytes: {}", cause(why)),
                source: source(&session),
                time: UnixNanos::now(),
                identity: id.clone(),
            };
            self.file(reject).await;
        }
    }

    async fn file(&self, reject: RejectedTick) {
        let mut delays = self.bus.retry_delays();
        loop {
            match self.bus.publish_reject(&reject).await {
                Ok(()) => return,
                Err(error) if error.is_retryable() => tokio::time::sleep(delays.next_delay()).await,
                Err(error) => {
                    let identity = &reject.identity;
                    tracing::error!(%error, identity, "a refused tick cannot be filed as a reject");
                    return;
                }
            }
        }
    }
}

impl Part {
    /// Both halves in order, each with an id of its own that is the same whenever this part is split; the part itself when
    /// it is a single tick or heartbeat. A heartbeat stays behind the ticks.
    fn halves(self) -> Result<[Self; 2], Box<Self>> {
        let ticks = self.batch.ticks.len();
        if ticks + usize::from(self.batch.heartbeat.is_some()) < 2 {
            return Err(Box::new(self));
        }
        let Self { batch: mut first, id } = self;
        let ticks = first.ticks.split_off((ticks / 2).max(1));
        let second = TickBatch { ticks, heartbeat: first.heartbeat.take(), ..without_ticks(&first) };
        Ok([Self { batch: first, id: format!("{id}.0") }, Self { batch: second, id: format!("{id}.1") }])
    }
}

fn without_ticks(batch: &TickBatch) -> TickBatch {
    TickBatch {
        instrument: batch.instrument.clone(),
        ticks: Vec::new(),
        session: batch.session.clone(),
        raw_sequence: batch.raw_sequence,
        normalised_at: batch.normalised_at,
        heartbeat: None,
    }
}

/// Only an ingestor publishes raw ticks; which one, its session tells.
fn source(session: &FeedSession) -> String {
    format!("ingestor/{}", session.id)
}

fn cause(error: &BrokerError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn log(message: &Outgoing, failure: &PublishFailure, failures: u32) {
    let subject = &message.subject;
    match failure {
        PublishFailure::Full => {
            tracing::warn!(%subject, failures, "the stream is full, the publish is repeated")
        }
        PublishFailure::TooLarge(error) | PublishFailure::Unavailable(error) => {
            let cause = cause(error);
            tracing::warn!(%subject, failures, %error, cause, "not acknowledged, the publish is repeated");
        }
        PublishFailure::WrongLastSequence => {
            tracing::warn!(%subject, failures, "refused, the publish is repeated")
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Heartbeat, Instrument, Tick, TickFlags};

    use super::*;

    fn part(ticks: u64) -> Part {
        let instrument = Instrument::new("coinbase", "BTC-USD").unwrap();
        let tick = |sequence| Tick {
            instrument: instrument.clone(),
            run: 0,
            sequence: Some(sequence),
            event_time: UnixNanos::new(0),
            receive_time: UnixNanos::new(0),
            last_trade: None,
            best_bid: None,
            best_ask: None,
            day: None,
            flags: TickFlags::default(),
        };
        let session = FeedSession { id: "host-1".into(), started: UnixNanos::new(0) };
        let ticks = (1..=ticks).map(tick).collect();
        let batch = TickBatch {
            instrument: instrument.clone(),
            ticks,
            session,
            raw_sequence: None,
            normalised_at: None,
            heartbeat: None,
        };
        Part { batch, id: "host-1/7".into() }
    }

    /// The smallest parts: id, sequence of the tick, last trade of the heartbeat.
    fn leaves(part: Part) -> Vec<(String, Option<u64>, Option<u64>)> {
        let (mut parts, mut leaves) = (vec![part], Vec::new());
        while let Some(part) = parts.pop() {
            match part.halves() {
                Ok([first, second]) => parts.extend([second, first]),
                Err(part) => {
                    let tick = part.batch.ticks.first().and_then(|tick| tick.sequence);
                    leaves.push((part.id, tick, part.batch.heartbeat.map(|beat| beat.last_trade_id)));
                }
            }
        }
        leaves
    }

    #[test]
    fn parts_are_in_order_and_have_ids_of_their_own() {
        let ids = ["host-1/7.0.0", "host-1/7.0.1", "host-1/7.1.0", "host-1/7.1.1.0", "host-1/7.1.1.1"];
        let expected: Vec<_> =
            ids.into_iter().zip(1..).map(|(id, tick)| (id.to_owned(), Some(tick), None)).collect();
        assert_eq!(leaves(part(5)), expected);
        assert_eq!(leaves(part(5)), expected, "the same again for a repetition");
    }

    #[test]
    fn a_heartbeat_stays_behind_the_ticks() {
        let with_beat = |ticks| {
            let mut part = part(ticks);
            part.batch.heartbeat = Some(Heartbeat { last_trade_id: 9, time: UnixNanos::new(0) });
            let leaves = leaves(part).into_iter();
            leaves.map(|(_, tick, beat)| (tick, beat)).collect::<Vec<_>>()
        };
        assert_eq!(with_beat(2), [(Some(1), None), (Some(2), None), (None, Some(9))]);
        assert_eq!(with_beat(0), [(None, Some(9))]);
    }
}
