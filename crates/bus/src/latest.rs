//! The newest of what the bus holds: snapshots, batches, gaps, statuses.

use std::collections::HashMap;

use domain::{EventKind, FeedEvent, Gap, Instrument, RoleStatus, Snapshot, TickBatch, UnixNanos};

use crate::{
    BrokerError, Bus, StreamKind, broker::Stored, codec, headers::RAW_EPOCH, metrics, subjects::Parsed,
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

    /// The newest gap that was announced of each product, as far as `LF_EVENTS` goes back, in stream order.
    pub async fn last_gaps(&self) -> Result<Vec<Gap>, BrokerError> {
        let stored = self.broker.last_per_subject(StreamKind::Events).await?;
        let is_gap = |stored: &&Stored| matches!(self.subjects.parse(&stored.subject), Some(Parsed::Event(kind, _)) if kind == "gap");
        let events = stored.iter().filter(is_gap);
        let events = events.filter_map(|stored| decoded::<FeedEvent>(StreamKind::Events, stored));
        Ok(events
            .filter_map(|event| match event.kind {
                EventKind::Gap(gap) => Some(gap),
                _ => None,
            })
            .collect())
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
