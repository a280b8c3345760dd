//! What a round of raw messages became.

use std::sync::Arc;

#[cfg(test)]
use bus::Source;
use domain::{
    EventKind, FeedEvent, Gap, GapState, Instrument, MissingTrades, Position, RejectReason, RejectedTick,
    Tick, UnixNanos,
};

use crate::pending::Pending;

/// Everything that a round has to publish, and what it counts. Rejects and events go out first, then fills, then the live
/// ticks, whose batches say which raw messages are done.
#[derive(Debug)]
pub(crate) struct Round {
    /// The time of the round, by our clock.
    pub(crate) now: UnixNanos,
    /// Which role and instance this is, for rejects and events.
    source: Arc<str>,
    /// Batches of the live feed, and fills.
    pub(crate) pending: Pending,
    /// What was refused.
    pub(crate) rejects: Vec<RejectedTick>,
    /// Gaps and new runs; those of one product in order.
    pub(crate) events: Vec<FeedEvent>,
    /// How many ticks were seen before.
    pub(crate) duplicates: u64,
    /// How many ticks came so late that they went out as fills.
    pub(crate) filled_late: u64,
    /// How many heartbeats told how far the exchange's trades have come.
    pub(crate) heartbeats: u64,
}

/// Where a tick stood among the raw messages, which is the identity of its reject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawPlace {
    /// The message in `LF_RAW`.
    pub(crate) raw: u64,
    /// The tick in the message.
    pub(crate) index: usize,
}

impl Round {
    pub(crate) fn new(source: Arc<str>, now: UnixNanos) -> Self {
        Self {
            now,
            source,
            pending: Pending::default(),
            rejects: Vec::new(),
            events: Vec::new(),
            duplicates: 0,
            filled_late: 0,
            heartbeats: 0,
        }
    }

    pub(crate) fn refuse(&mut self, tick: Tick, at: RawPlace, reason: RejectReason, detail: String) {
        self.rejects.push(RejectedTick {
            instrument: Some(tick.instrument.clone()),
            tick: Some(tick),
            raw: Vec::new(),
            raw_length: 0,
            reason,
            detail,
            source: self.source.to_string(),
            time: self.now,
            identity: format!("{}/{}", at.raw, at.index),
        });
    }

    pub(crate) fn refuse_undecodable(&mut self, what: &bus::Undecodable) {
        self.rejects.push(RejectedTick {
            instrument: None,
            tick: None,
            raw: RejectedTick::clip(&what.raw),
            raw_length: what.raw.len() as u64,
            reason: RejectReason::Undecodable,
            detail: format!("{}: {}", what.subject, what.why),
            source: self.source.to_string(),
            time: self.now,
            identity: format!("{}/0", what.stream_sequence),
        });
    }

    pub(crate) fn new_run(&mut self, instrument: &Instrument, previous: Position, first: Position) {
        self.tell(instrument, EventKind::NewRun { previous, first });
    }

    pub(crate) fn gap(&mut self, instrument: &Instrument, run: u32, missing: MissingTrades) {
        let gap = Gap {
            instrument: instrument.clone(),
            run,
            first_trade_id: missing.first,
            last_trade_id: missing.last,
            after: missing.after,
            before: missing.before,
            detected_at: self.now,
            cause: missing.cause,
            state: GapState::Open,
            repaired_count: 0,
        };
        self.tell(instrument, EventKind::Gap(gap));
    }

    /// The ticks that go on, live or as fills.
    #[cfg(test)]
    pub(crate) fn ticks(&self, source: Source) -> Vec<&Tick> {
        self.pending.ticks(source)
    }

    fn tell(&mut self, instrument: &Instrument, kind: EventKind) {
        let source = self.source.to_string();
        self.events.push(FeedEvent { instrument: instrument.clone(), time: self.now, source, kind });
    }
}
