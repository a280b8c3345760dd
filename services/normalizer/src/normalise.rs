//! The rules of a shard, without I/O: what of a raw batch goes on, what is refused, what was seen before.

use std::collections::HashMap;

use domain::{
    EventKind, FeedEvent, FeedSession, Instrument, Position, ProductTracker, RejectReason, RejectedTick,
    Snapshot, Tick, TickBatch, UnixNanos, Verdict, validate,
};

/// What one raw batch became.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Normalised {
    /// The ticks that go on, in feed order.
    pub(crate) ticks: Vec<Tick>,
    /// What was refused.
    pub(crate) rejects: Vec<RejectedTick>,
    /// New runs.
    pub(crate) events: Vec<FeedEvent>,
    /// How many ticks were seen before.
    pub(crate) duplicates: u64,
}

/// What is known of the products of one shard.
#[derive(Debug)]
pub(crate) struct ShardState {
    /// Which role and instance this is, for rejects and events.
    source: String,
    trackers: HashMap<Instrument, ProductTracker>,
    /// The newest raw message of a product that is known to have gone out.
    raw_done: HashMap<Instrument, u64>,
}

impl ShardState {
    pub(crate) fn new(source: String) -> Self {
        Self { source, trackers: HashMap::new(), raw_done: HashMap::new() }
    }

    /// Goes on after the last batch that was published for a product. `raw_is_same` says whether the raw stream is still
    /// the one that the batch was made from: in a new one, its sequence means nothing.
    pub(crate) fn recover_batch(&mut self, batch: &TickBatch, raw_is_same: bool) {
        let newest = batch.ticks.iter().filter_map(|tick| Some((tick.position()?, tick.event_time))).max();
        let Some((position, event_time)) = newest else {
            return;
        };
        self.recover(&batch.instrument, position, event_time, Some(&batch.session));
        if let Some(raw_sequence) = batch.raw_sequence.filter(|_| raw_is_same) {
            self.raw_done.insert(batch.instrument.clone(), raw_sequence);
        }
    }

    /// Goes on after a snapshot, for products whose ticks have aged out.
    pub(crate) fn recover_snapshot(&mut self, snapshot: &Snapshot) {
        let event_time = snapshot.state.updated_at().unwrap_or(snapshot.snapshot_time);
        self.recover(&snapshot.instrument, snapshot.position, event_time, None);
    }

    fn recover(
        &mut self,
        instrument: &Instrument,
        at: Position,
        time: UnixNanos,
        session: Option<&FeedSession>,
    ) {
        let known = self.trackers.get(instrument).and_then(ProductTracker::position);
        if known.is_none_or(|known| known < at) {
            self.trackers.insert(instrument.clone(), ProductTracker::recovered(at, time, session));
        }
    }

    /// How many products have a position.
    pub(crate) fn products(&self) -> usize {
        self.trackers.len()
    }

    /// The newest position of a product.
    #[cfg(test)]
    pub(crate) fn position(&self, instrument: &Instrument) -> Option<Position> {
        self.trackers.get(instrument).and_then(ProductTracker::position)
    }

    /// Notes that a live raw message has gone out whole.
    pub(crate) fn published(&mut self, instrument: &Instrument, raw_sequence: u64) {
        let done = self.raw_done.entry(instrument.clone()).or_default();
        *done = raw_sequence.max(*done);
    }

    /// Whether this live raw message went out before its owner died: it only needs to be acknowledged.
    pub(crate) fn is_done(&self, instrument: &Instrument, raw_sequence: u64) -> bool {
        self.raw_done.get(instrument).is_some_and(|done| raw_sequence <= *done)
    }

    /// Judges a live batch, message `raw_sequence` of the raw stream.
    pub(crate) fn live(&mut self, batch: TickBatch, raw_sequence: u64, now: UnixNanos) -> Normalised {
        let mut result = Normalised { ticks: Vec::with_capacity(batch.ticks.len()), ..Normalised::default() };
        if !self.trackers.contains_key(&batch.instrument) {
            self.trackers.insert(batch.instrument.clone(), ProductTracker::default());
        }
        let Some(tracker) = self.trackers.get_mut(&batch.instrument) else {
            return result;
        };
        for (index, mut tick) in batch.ticks.into_iter().enumerate() {
            if let Err(fault) = validate(&mut tick) {
                let reject =
                    refuse(&self.source, tick, fault.reason(), fault.to_string(), raw_sequence, index, now);
                result.rejects.push(reject);
                continue;
            }
            match tracker.observe(&tick, &batch.session) {
                Verdict::Next(position) => {
                    tick.run = position.run;
                    result.ticks.push(tick);
                }
                Verdict::NewRun { previous, first } => {
                    tick.run = first.run;
                    result.events.push(FeedEvent {
                        instrument: tick.instrument.clone(),
                        time: now,
                        source: self.source.clone(),
                        kind: EventKind::NewRun { previous, first },
                    });
                    result.ticks.push(tick);
                }
                Verdict::Duplicate => result.duplicates += 1,
                Verdict::Late => {
                    let after = tracker.position().unwrap_or_default();
                    let sequence = tick.sequence.unwrap_or_default();
                    let detail =
                        format!("sequence {sequence} came after position {after} and was not seen before");
                    let reason = RejectReason::OutOfOrder;
                    result.rejects.push(refuse(&self.source, tick, reason, detail, raw_sequence, index, now));
                }
            }
        }
        result
    }

    /// Judges a backfilled batch: its ticks have no place in the sequence.
    pub(crate) fn fill(&self, batch: TickBatch, raw_sequence: u64, now: UnixNanos) -> Normalised {
        let mut result = Normalised { ticks: Vec::with_capacity(batch.ticks.len()), ..Normalised::default() };
        for (index, mut tick) in batch.ticks.into_iter().enumerate() {
            tick.flags.backfilled = true;
            match validate(&mut tick) {
                Ok(()) => result.ticks.push(tick),
                Err(fault) => {
                    let reject = refuse(
                        &self.source,
                        tick,
                        fault.reason(),
                        fault.to_string(),
                        raw_sequence,
                        index,
                        now,
                    );
                    result.rejects.push(reject);
                }
            }
        }
        result
    }
}

fn refuse(
    source: &str,
    tick: Tick,
    reason: RejectReason,
    detail: String,
    raw_sequence: u64,
    index: usize,
    now: UnixNanos,
) -> RejectedTick {
    RejectedTick {
        instrument: Some(tick.instrument.clone()),
        tick: Some(tick),
        raw: Vec::new(),
        raw_length: 0,
        reason,
        detail,
        source: source.to_owned(),
        time: now,
        identity: format!("{raw_sequence}/{index}"),
    }
}

#[cfg(test)]
mod tests;
