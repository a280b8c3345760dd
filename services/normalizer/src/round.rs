//! What a round of raw messages became.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bus::Source;
use domain::{
    EventKind, FeedEvent, FeedSession, Gap, GapState, Instrument, LEGS_MAX, LegId, MissingTrades,
    RefusedTrades, RejectReason, RejectedTick, Tick, TickBatch, UnixNanos,
};

use crate::pending::Pending;

/// Everything that a round has to publish, and what it counts. Rejects go out first, then the steps.
#[derive(Debug)]
pub(crate) struct Round {
    /// The time of the round, by our clock.
    pub(crate) now: UnixNanos,
    /// Which role and instance this is, for rejects and events.
    source: Arc<str>,
    /// One after the other.
    pub(crate) steps: Vec<Step>,
    /// How many gaps of a product are in this round: what comes next of it belongs to the step of that number.
    gaps: HashMap<Instrument, usize>,
    /// What was refused, in order.
    pub(crate) rejects: Vec<Refusal>,
    /// How many ticks were seen before.
    pub(crate) duplicates: u64,
    /// How many ticks came so late that they went out as fills.
    pub(crate) filled_late: u64,
    /// How many heartbeats told how far the exchange's trades have come.
    pub(crate) heartbeats: u64,
    /// How often so much of a product was held back that what was missing before it was given up.
    pub(crate) holds_full: u64,
    /// What the legs did.
    pub(crate) legs: LegCounts,
}

/// What was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reject: RejectedTick,
    /// Of a faulty trade that was passed: the trades of its product that were refused lately, this one among them.
    pub(crate) trades: Option<RefusedTrades>,
}

/// A part of a round: events, then fills, then live ticks, whose batches say which raw messages are done.
///
/// A gap begins a step for its product, so that whoever recovers finds everything before the newest gap that was told
/// published, and nothing behind it told.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// New runs, and at most one gap of each product.
    pub(crate) events: Vec<FeedEvent>,
    /// Batches of the live feed, and fills.
    pub(crate) pending: Pending,
}

/// What goes on of one product.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// In order.
    pub(crate) ticks: Vec<Tick>,
    /// What happened, each before the tick of this index.
    pub(crate) events: Vec<(usize, EventKind)>,
    /// The session of the newest tick, when that was held back: it may be of another message.
    pub(crate) newest: Option<Arc<FeedSession>>,
}

/// What each leg did in a round.
#[derive(Debug, Default)]
pub(crate) struct LegCounts {
    /// How many ticks it brought first.
    pub(crate) wins: [u64; LEGS_MAX],
    /// How many ticks it alone has brought.
    pub(crate) alone: [u64; LEGS_MAX],
    /// How much later than another leg it had received what it brought.
    pub(crate) lags: Vec<(LegId, Duration)>,
}

impl LegCounts {
    pub(crate) fn wins(&mut self, leg: LegId) {
        if let Some(wins) = self.wins.get_mut(leg.index()) {
            *wins += 1;
        }
    }
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
            steps: Vec::new(),
            gaps: HashMap::new(),
            rejects: Vec::new(),
            duplicates: 0,
            filled_late: 0,
            heartbeats: 0,
            holds_full: 0,
            legs: LegCounts::default(),
        }
    }

    pub(crate) fn refuse(&mut self, tick: Tick, at: RawPlace, reason: RejectReason, detail: String) {
        self.refuse_trade(tick, at, reason, detail, None);
    }

    pub(crate) fn refuse_trade(
        &mut self,
        tick: Tick,
        at: RawPlace,
        reason: RejectReason,
        detail: String,
        trades: Option<RefusedTrades>,
    ) {
        let reject = RejectedTick {
            instrument: Some(tick.instrument.clone()),
            tick: Some(tick),
            raw: Vec::new(),
            raw_length: 0,
            reason,
            detail,
            source: self.source.to_string(),
            time: self.now,
            identity: format!("{}/{}", at.raw, at.index),
        };
        self.rejects.push(Refusal { reject, trades });
    }

    pub(crate) fn refuse_undecodable(&mut self, what: &bus::Undecodable) {
        let reject = RejectedTick {
            instrument: None,
            tick: None,
            raw: RejectedTick::clip(&what.raw),
            raw_length: what.raw.len() as u64,
            reason: RejectReason::Undecodable,
            detail: format!("{}: {}", what.subject, what.why),
            source: self.source.to_string(),
            time: self.now,
            identity: format!("{}/0", what.stream_sequence),
        };
        self.rejects.push(Refusal { reject, trades: None });
    }

    /// The event of a gap that was noticed now.
    pub(crate) fn gap(&self, instrument: &Instrument, run: u32, missing: MissingTrades) -> EventKind {
        EventKind::Gap(Gap {
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
        })
    }

    /// Takes over what goes on of a product. With the last of it the raw messages up to `done` have gone out whole, with
    /// anything before that those up to `done_before`.
    pub(crate) fn go_on(
        &mut self,
        instrument: &Instrument,
        out: Out,
        session: Option<&FeedSession>,
        done_before: u64,
        done: u64,
    ) {
        let Out { mut ticks, events, newest } = out;
        let now = self.now;
        let session = newest.as_deref().or(session);
        // Where there is no session there are no ticks.
        let batch = |ticks, done| {
            let (session, instrument) = (session.cloned()?, instrument.clone());
            let (raw_sequence, normalised_at) = (Some(done), Some(now));
            Some(TickBatch { instrument, ticks, session, raw_sequence, normalised_at, heartbeat: None })
        };
        let mut gone = 0;
        for (before, kind) in events {
            if matches!(kind, EventKind::Gap(_)) {
                let rest = ticks.split_off(before.saturating_sub(gone));
                let earlier = std::mem::replace(&mut ticks, rest);
                gone = before;
                self.live(batch(earlier, done_before), done_before);
                *self.gaps.entry(instrument.clone()).or_default() += 1;
            }
            let (instrument, time, source) = (instrument.clone(), self.now, self.source.to_string());
            let event = FeedEvent { instrument, time, source, kind };
            self.step(&event.instrument).events.push(event);
        }
        self.live(batch(ticks, done), done_before);
    }

    fn live(&mut self, batch: Option<TickBatch>, done_before: u64) {
        if let Some(batch) = batch.filter(|batch| !batch.ticks.is_empty()) {
            self.step(&batch.instrument).pending.add(Source::Live, batch, done_before);
        }
    }

    /// Fetched ticks, or late ones, of the raw message `raw`.
    pub(crate) fn fill(
        &mut self,
        instrument: &Instrument,
        ticks: Vec<Tick>,
        session: &FeedSession,
        raw: u64,
    ) {
        if ticks.is_empty() {
            return;
        }
        let batch = TickBatch {
            instrument: instrument.clone(),
            ticks,
            session: session.clone(),
            raw_sequence: Some(raw),
            normalised_at: Some(self.now),
            heartbeat: None,
        };
        self.step(instrument).pending.add(Source::Fill, batch, raw);
    }

    /// The step in which a product is.
    fn step(&mut self, instrument: &Instrument) -> &mut Step {
        let at = self.gaps.get(instrument).copied().unwrap_or_default();
        if self.steps.len() <= at {
            self.steps.resize_with(at + 1, Step::default);
        }
        &mut self.steps[at]
    }

    /// The ticks that go on, live or as fills.
    #[cfg(test)]
    pub(crate) fn ticks(&self, source: Source) -> Vec<&Tick> {
        self.steps.iter().flat_map(|step| step.pending.ticks(source)).collect()
    }

    /// What happened.
    #[cfg(test)]
    pub(crate) fn events(&self) -> Vec<&FeedEvent> {
        self.steps.iter().flat_map(|step| &step.events).collect()
    }
}
