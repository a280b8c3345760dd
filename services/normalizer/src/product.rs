//! One product of the shard: where it stands, and what its live ticks become.

use bus::Source;
use domain::{
    FeedSession, Heartbeat, Instrument, Position, ProductTracker, RejectReason, Tick, TickBatch, TradePlace,
    TradeTracker, UnixNanos, Verdict, validate,
};

use crate::round::{RawPlace, Round};

/// What is known of one product.
#[derive(Debug, Default)]
pub(crate) struct Product {
    positions: ProductTracker,
    trades: TradeTracker,
    /// Live raw messages up to this one are known to have gone out whole.
    done: u64,
    /// The newest live raw message that was judged.
    judged: u64,
}

impl Product {
    /// A product whose newest published tick or snapshot is at `position`.
    pub(crate) fn recovered(
        position: Position,
        event_time: UnixNanos,
        session: Option<&FeedSession>,
        trade: Option<(u64, UnixNanos)>,
    ) -> Self {
        let trades = trade.map(|(trade_id, at)| TradeTracker::recovered(trade_id, at, session));
        Self {
            positions: ProductTracker::recovered(position, event_time, session),
            trades: trades.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Takes over the newest gap that was announced. One of an earlier run speaks of numbers that may have started anew.
    pub(crate) fn recover_gap(&mut self, run: u32, first: u64, last: u64) {
        if run >= self.run() {
            self.trades.recover_gap(first, last);
        }
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.positions.position()
    }

    /// Notes that the live raw messages up to `raw` have gone out whole.
    pub(crate) fn published(&mut self, raw: u64) {
        self.done = self.done.max(raw);
    }

    /// Whether this live raw message went out before its owner died: it only needs to be acknowledged.
    pub(crate) fn is_done(&self, raw: u64) -> bool {
        raw <= self.done
    }

    /// Judges a live batch, message `raw` of the raw stream.
    pub(crate) fn live(&mut self, batch: TickBatch, raw: u64, round: &mut Round) {
        let TickBatch { instrument, ticks, session, heartbeat, .. } = batch;
        let before = self.judged;
        self.judged = self.judged.max(raw);
        let mut out = Vec::with_capacity(ticks.len());
        let mut fills = Vec::new();
        for (index, mut tick) in ticks.into_iter().enumerate() {
            let at = RawPlace { raw, index };
            if let Err(fault) = validate(&mut tick) {
                round.refuse(tick, at, fault.reason(), fault.to_string());
                continue;
            }
            let verdict = self.positions.judge(&tick, &session);
            if self.is_late_trade(&tick, verdict) {
                round.filled_late += 1;
                fills.push(as_fill(tick));
                continue;
            }
            match verdict {
                Verdict::Next(_) | Verdict::NewRun { .. } => out.push(self.accept(tick, &session, round)),
                Verdict::Duplicate => round.duplicates += 1,
                Verdict::Late => self.refuse_late(tick, at, round),
            }
        }
        if let Some(heartbeat) = &heartbeat {
            round.heartbeats += 1;
            self.hear(&instrument, heartbeat, &session, round);
        }
        let marked = |ticks, session| TickBatch {
            instrument: instrument.clone(),
            ticks,
            session,
            raw_sequence: Some(raw),
            normalised_at: Some(round.now),
            heartbeat: None,
        };
        if !fills.is_empty() {
            round.pending.add(Source::Fill, marked(fills, session.clone()), before);
        }
        round.pending.add(Source::Live, marked(out, session), before);
    }

    /// A trade that was announced as missing never goes out as if it were new, whatever its sequence.
    fn is_late_trade(&self, tick: &Tick, verdict: Verdict) -> bool {
        let is_missing = |trade_id| self.trades.place(trade_id) == TradePlace::Missing;
        !matches!(verdict, Verdict::NewRun { .. }) && tick.trade_id().is_some_and(is_missing)
    }

    /// Moves on to a tick that follows, and tells what is missing before it.
    fn accept(&mut self, mut tick: Tick, session: &FeedSession, round: &mut Round) -> Tick {
        let mut starts_run = false;
        match self.positions.observe(&tick, session) {
            Verdict::Next(position) => tick.run = position.run,
            Verdict::NewRun { previous, first } => {
                starts_run = true;
                tick.run = first.run;
                round.new_run(&tick.instrument, previous, first);
            }
            Verdict::Duplicate | Verdict::Late => {}
        }
        if let Some(trade_id) = tick.trade_id()
            && let Some(missing) = self.trades.trade(trade_id, tick.event_time, session, starts_run)
        {
            round.gap(&tick.instrument, tick.run, missing);
        }
        tick
    }

    fn hear(
        &mut self,
        instrument: &Instrument,
        heartbeat: &Heartbeat,
        session: &FeedSession,
        round: &mut Round,
    ) {
        if let Some(missing) = self.trades.heartbeat(heartbeat, session) {
            round.gap(instrument, self.run(), missing);
        }
    }

    fn refuse_late(&self, tick: Tick, at: RawPlace, round: &mut Round) {
        let after = self.position().unwrap_or_default();
        let sequence = tick.sequence.unwrap_or_default();
        let detail = format!("sequence {sequence} came after position {after} and was not seen before");
        round.refuse(tick, at, RejectReason::OutOfOrder, detail);
    }

    fn run(&self) -> u32 {
        self.position().unwrap_or_default().run
    }
}

/// A late tick as if it had been fetched: it must not move a position.
fn as_fill(mut tick: Tick) -> Tick {
    tick.flags.backfilled = true;
    tick.sequence = None;
    tick.run = 0;
    tick
}
