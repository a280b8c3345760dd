//! The newest of what the bus holds: snapshots, batches, gaps, statuses.

use std::collections::{BTreeMap, HashMap};

use domain::{
    EventKind, FeedEvent, Gap, Instrument, RejectedTick, RoleStatus, Snapshot, TickBatch, UnixNanos,
};

use crate::{
    BrokerError, Bus, RecoveredRefusals, StreamKind,
    broker::Stored,
    codec,
    headers::{self, RAW_EPOCH, REFUSED},
    metrics,
    subjects::Parsed,
};

impl Bus {
    /// The snapshot of each product that `LF_SNAPSHOTS` holds.
    pub async fn last_snapshots(&self) -> Result<Vec<Snapshot>, BrokerError> {
        self.last_of(StreamKind::Snapshots).await
    }

    /// The newest live batch of each product that `LF_TICKS` still holds, with its sequence there, in stream order.
    pub async fn last_batches(&self) -> Result<Vec<(u64, TickBatch)>, BrokerError> {
        let stored = self.broker.last_per_subject(StreamKind::Ticks).await?;
        let newest = self.newest_batches(&stored).into_iter();
        Ok(newest.map(|newest| (newest.stream_sequence, newest.batch)).collect())
    }

    /// The newest gap of each product that was told, as far as `LF_EVENTS` goes back, with its message, in stream order.
    pub(crate) async fn newest_gaps(&self) -> Result<Vec<(Stored, Gap)>, BrokerError> {
        let gap_of = |(stored, event): (Stored, FeedEvent)| match event.kind {
            EventKind::Gap(gap) => Some((stored, gap)),
            _ => None,
        };
        Ok(self.last_events("gap").await?.into_iter().filter_map(gap_of).collect())
    }

    /// What was said last of each product itself: its currencies, increments and status.
    pub async fn last_product_details(&self) -> Result<Vec<FeedEvent>, BrokerError> {
        Ok(self.last_events("product").await?.into_iter().map(|(_, event)| event).collect())
    }

    /// The last event of a kind of each product, in stream order.
    async fn last_events(&self, name: &str) -> Result<Vec<(Stored, FeedEvent)>, BrokerError> {
        let stored = self.broker.last_per_subject(StreamKind::Events).await?.into_iter();
        let is_wanted = |stored: &Stored| matches!(self.subjects.parse(&stored.subject), Some(Parsed::Event(kind, _)) if kind == name);
        let wanted = stored.filter(is_wanted);
        Ok(wanted
            .filter_map(|stored| decoded(StreamKind::Events, &stored).map(|event| (stored, event)))
            .collect())
    }

    /// What the last reject of each product for each reason says of the trades that were refused.
    pub(crate) async fn last_refused(&self) -> Result<Vec<RecoveredRefusals>, BrokerError> {
        let stored = self.broker.last_per_subject(StreamKind::Rejects).await?;
        let recovered = |stored: &Stored| {
            let trades = headers::parse_refused(stored.headers.get(REFUSED)?)?;
            let reject: RejectedTick = decoded(StreamKind::Rejects, stored)?;
            let received = reject.tick.as_ref().map_or(reject.time, |tick| tick.receive_time);
            Some(RecoveredRefusals { instrument: reject.instrument?, trades, received })
        };
        Ok(stored.iter().filter_map(recovered).collect())
    }

    /// How many refused messages `LF_REJECTS` holds of each product; those that name none are left out.
    pub async fn reject_counts(&self) -> Result<BTreeMap<Instrument, u64>, BrokerError> {
        let mut counts = BTreeMap::new();
        for (subject, count) in self.broker.count_per_subject(StreamKind::Rejects).await? {
            if let Some(Parsed::Reject(_, Some(instrument))) = self.subjects.parse(&subject) {
                *counts.entry(instrument).or_default() += count;
            }
        }
        Ok(counts)
    }

    /// What each instance of each role said of itself within the last minute.
    pub async fn statuses(&self) -> Result<Vec<RoleStatus>, BrokerError> {
        self.last_of(StreamKind::Status).await
    }

    async fn last_of<T: codec::Payload>(&self, stream: StreamKind) -> Result<Vec<T>, BrokerError> {
        let stored = self.broker.last_per_subject(stream).await?;
        Ok(stored.iter().filter_map(|stored| decoded(stream, stored)).collect())
    }

    /// Of the last messages of `LF_TICKS`, the newest live batch of each product. A product may have several after
    /// the shard count was changed; the highest position counts.
    pub(crate) fn newest_batches(&self, stored: &[Stored]) -> Vec<NewestBatch> {
        let mut newest: HashMap<Instrument, NewestBatch> = HashMap::new();
        for stored in stored {
            let Some(Parsed::Tick(..)) = self.subjects.parse(&stored.subject) else {
                continue;
            };
            let Some(batch) = decoded::<TickBatch>(StreamKind::Ticks, stored) else {
                continue;
            };
            let known = newest.get(&batch.instrument).map(|newest| last_position(&newest.batch));
            if known.is_none_or(|known| known < last_position(&batch)) {
                let raw_epoch = stored.headers.get(RAW_EPOCH).and_then(|epoch| epoch.parse().ok());
                let found = NewestBatch {
                    stream_sequence: stored.sequence,
                    raw_epoch: raw_epoch.map(UnixNanos::new),
                    batch,
                };
                newest.insert(found.batch.instrument.clone(), found);
            }
        }
        let mut newest: Vec<_> = newest.into_values().collect();
        newest.sort_by_key(|newest| newest.stream_sequence);
        newest
    }
}

/// The newest live batch of a product.
pub(crate) struct NewestBatch {
    pub(crate) stream_sequence: u64,
    /// When the `LF_RAW` was created that it was made from, where it says so.
    pub(crate) raw_epoch: Option<UnixNanos>,
    pub(crate) batch: TickBatch,
}

fn last_position(batch: &TickBatch) -> Option<domain::Position> {
    batch.ticks.last().and_then(domain::Tick::position)
}

/// Decodes what only we write. What cannot be decoded is counted and told, and does not stop the start.
pub(crate) fn decoded<T: codec::Payload>(stream: StreamKind, stored: &Stored) -> Option<T> {
    match codec::decode(stored) {
        Ok(content) => Some(content),
        Err(error) => {
            metrics::undecodable(stream);
            tracing::error!(why = %error.why, "{error}");
            None
        }
    }
}
