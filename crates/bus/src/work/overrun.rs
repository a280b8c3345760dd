//! Noticing that messages left the stream before their worker read them.
//!
//! A broker that drops old messages does so without a word, and a reader of some subjects of a stream cannot tell from the
//! sequences that come whether one of its own is missing. So every message of `LF_TICKS` names the one before it on its
//! subject. What it names was lost when it was neither stored nor given out and the stream begins behind it. What was
//! stored, the worker says (see [`WorkReader::with_stored`]): what the broker takes for acknowledged includes what aged out
//! after it had been sent to a worker that died.
//!
//! In `LF_RAW` messages name nothing, and need not: it refuses instead of dropping, and keeps without limit of age.

use std::collections::HashMap;

use domain::{EventKind, FeedEvent, Instrument, Position, Shard, UnixNanos};

#[allow(unused_imports, reason = "for the documentation")]
use super::WorkReader;
use super::{Delivery, FetchError, Work};
use crate::{
    Bus,
    headers::{Headers, PREVIOUS},
    metrics,
    subjects::Parsed,
};

/// The message before another one on its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    sequence: u64,
    /// When the stream was created that it stood in.
    epoch: UnixNanos,
    /// The position of its last tick; backfilled ones have none.
    position: Option<Position>,
}

impl Previous {
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let mut parts = headers.get(PREVIOUS)?.split('/');
        let (sequence, epoch) = (parts.next()?.parse().ok()?, UnixNanos::new(parts.next()?.parse().ok()?));
        let position = parts.next().zip(parts.next()).and_then(|(run, sequence)| {
            Some(Position { run: run.parse().ok()?, sequence: sequence.parse().ok()? })
        });
        Some(Self { sequence, epoch, position })
    }
}

/// Which message of each subject was given out last.
#[derive(Debug)]
pub(super) struct Chain {
    work: Work,
    shard: Shard,
    /// Everything up to this message was acknowledged when the reader began.
    acknowledged: u64,
    /// Where each product stood then in what is stored; `None` when nobody said.
    stored: Option<HashMap<Instrument, Position>>,
    /// Bounded by the products of the shard.
    last: HashMap<String, u64>,
}

impl Chain {
    pub(super) fn new(work: Work, shard: Shard) -> Self {
        Self { work, shard, acknowledged: 0, stored: None, last: HashMap::new() }
    }

    pub(super) fn set_stored(&mut self, stored: HashMap<Instrument, Position>) {
        self.stored = Some(stored);
    }

    /// The reader starts anew; what it was given before counts on.
    pub(super) fn begin(&mut self, acknowledged: u64) {
        self.acknowledged = acknowledged;
    }

    /// Publishes an event for each loss before one of `arrived`, marks that one, then takes note of them.
    pub(super) async fn tell<T>(&mut self, bus: &Bus, arrived: &mut [Delivery<T>]) -> Result<(), FetchError> {
        for delivery in arrived {
            if let Some(previous) = delivery.previous {
                delivery.detached |= self.judge(bus, &delivery.subject, previous).await?;
            }
            match self.last.get_mut(&delivery.subject) {
                Some(last) => *last = delivery.stream_sequence,
                None => {
                    self.last.insert(delivery.subject.clone(), delivery.stream_sequence);
                }
            }
        }
        Ok(())
    }

    /// Whether the message before the one at hand was lost.
    async fn judge(&self, bus: &Bus, subject: &str, previous: Previous) -> Result<bool, FetchError> {
        if self.last.get(subject).is_some_and(|last| *last >= previous.sequence) {
            return Ok(false);
        }
        let Some(instrument) = instrument(bus, subject) else { return Ok(false) };
        let is_stored = match (&self.stored, previous.position) {
            (Some(stored), Some(position)) => {
                stored.get(&instrument).is_some_and(|stored| *stored >= position)
            }
            _ => self.acknowledged >= previous.sequence,
        };
        if is_stored {
            return Ok(false);
        }
        let state = bus.stream_state(self.work.stream()).await.map_err(FetchError::Fetch)?;
        // Of another stream, or still there: then it was acknowledged out of order.
        if previous.epoch != state.created || previous.sequence >= state.first_sequence {
            return Ok(false);
        }
        let last = previous.sequence;
        let read = self.last.get(subject).copied().unwrap_or(0);
        // Where the broker counts more as acknowledged than was stored, this one is all that is certain.
        let first =
            Some(self.acknowledged).filter(|floor| *floor < last).map_or(last, |floor| floor.max(read) + 1);
        let stream = bus.stream_name(self.work.stream());
        tracing::error!(%instrument, stream, first, last, "messages left the stream before they were read");
        let event = FeedEvent {
            instrument,
            time: UnixNanos::now(),
            source: format!("{}/{}", self.work.role(), self.shard),
            kind: EventKind::Overrun { stream, first_sequence: first, last_sequence: last },
        };
        bus.publish_event(&event).await.map_err(FetchError::Overrun)?;
        metrics::overrun(self.work.stream());
        Ok(true)
    }
}

fn instrument(bus: &Bus, subject: &str) -> Option<Instrument> {
    match bus.subjects().parse(subject)? {
        Parsed::Raw(_, instrument)
        | Parsed::RawFill(_, instrument)
        | Parsed::Tick(_, instrument)
        | Parsed::Fill(_, instrument) => Some(instrument),
        _ => None,
    }
}
