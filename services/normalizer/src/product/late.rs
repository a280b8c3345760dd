//! What cannot go on as live: ticks whose place has passed, and faulty ones. Each trade ends in one place all the same.
//!
//! A trade that goes out as a fill, or is refused, has its place: no gap is told of it, so that nobody fetches it.

use std::time::{Duration, Instant};

use domain::{Fault, RejectReason, Tick, TradePlace, validate};
use runtime::LogGate;
use tracing::warn;

use super::{Merging, Message, Origin, Product};
use crate::round::{RawPlace, Round};

const FAULT_LOG_PERIOD: Duration = Duration::from_secs(60);

impl Product {
    /// Where the trade of a tick stands.
    pub(super) fn place(&self, tick: &Tick) -> Option<TradePlace> {
        tick.trade_id().map(|trade_id| self.trades.place(trade_id))
    }

    /// Whether the tick is no newer than the newest trade. A known number with a newer time is not the known trade: the
    /// numbers have started anew.
    pub(super) fn is_past(&self, tick: &Tick) -> bool {
        self.trades.newest_at().is_none_or(|newest| tick.event_time <= newest)
    }

    /// Lets out, as a fill, a tick whose sequence has passed while its trade is above the newest one. From then on its
    /// trade counts as seen.
    pub(super) fn fill_late(
        &mut self,
        tick: Tick,
        message: &mut Message,
        merging: &Merging<'_>,
        round: &mut Round,
    ) {
        self.make_way(&tick, message, merging, round);
        let mut run = 0;
        if !self.is_of_an_earlier_run(&tick) {
            if let Some(trade_id) = tick.trade_id() {
                let missing = self.trades.trade(trade_id, tick.event_time, &message.session, false);
                self.tell(&tick.instrument, missing, &mut message.out, round);
            }
            run = self.run();
        }
        round.filled_late += 1;
        message.fills.push(as_fill(tick, run));
    }

    /// Lets a tick out that was held back until it followed no longer.
    pub(super) fn let_late_out(&mut self, tick: Tick, origin: Origin<'_>, round: &mut Round) {
        if tick.trade_id().is_none() {
            self.refuse_late(tick, origin.at, round);
            return;
        }
        round.filled_late += 1;
        let instrument = tick.instrument.clone();
        round.fill(&instrument, vec![as_fill(tick, self.run())], origin.session, origin.at.raw);
    }

    /// Files a tick as out of order: it has no trade by whose number it could be stored.
    pub(super) fn refuse_late(&self, tick: Tick, at: RawPlace, round: &mut Round) {
        let after = self.position().unwrap_or_default();
        let sequence = tick.sequence.unwrap_or_default();
        let detail = format!("sequence {sequence} came after position {after} and was not seen before");
        round.refuse(tick, at, RejectReason::OutOfOrder, detail);
    }

    /// Files a faulty tick. The place of its trade is there, unless it has another one: what was seen before is repeated
    /// by a faulty tick, and a trade that was told to be missing is filled in when only the rest of the tick is faulty, and left to its gap otherwise.
    pub(super) fn refuse_faulty(
        &mut self,
        tick: Tick,
        fault: &Fault,
        at: RawPlace,
        message: &mut Message,
        merging: &Merging<'_>,
        round: &mut Round,
    ) {
        static FAULTS: LogGate = LogGate::new(FAULT_LOG_PERIOD);
        let trade_id = tick.trade_id();
        if trade_id.is_some_and(|id| self.trades.was_refused(id)) {
            round.duplicates += 1;
            return;
        }
        self.make_way(&tick, message, merging, round);
        match self.place(&tick) {
            Some(TradePlace::Known) if self.is_past(&tick) => {
                round.duplicates += 1;
                return;
            }
            Some(TradePlace::Missing) => {
                let mut trade = as_fill(tick.clone(), self.run());
                (trade.best_bid, trade.best_ask, trade.day) = (None, None, None);
                if validate(&mut trade).is_ok() {
                    round.filled_late += 1;
                    message.fills.push(trade);
                } else {
                    // Its place is the gap: filed as well, and fetched later, it would be in two.
                    round.duplicates += 1;
                    if let Some(swallowed) = FAULTS.pass(Instant::now()) {
                        let product = &tick.instrument.product;
                        warn!(%product, ?trade_id, %fault, swallowed, "a faulty tick is left to the gap that has its trade");
                    }
                }
                return;
            }
            _ => {}
        }
        if let Some(trade_id) = trade_id {
            // Its own time may be what is wrong with it.
            let missing = self.trades.refuse(trade_id, tick.receive_time, &message.session);
            self.tell(&tick.instrument, missing, &mut message.out, round);
        }
        round.refuse_trade(tick, at, fault.reason(), fault.to_string(), Some(self.refused()));
    }

    /// Lets out what is held back when a trade ahead of it cannot be held: what stands before it must not be told to be
    /// missing. Where it stands itself is to be asked only then.
    fn make_way(&mut self, tick: &Tick, message: &mut Message, merging: &Merging<'_>, round: &mut Round) {
        if self.place(tick) == Some(TradePlace::Ahead)
            && let Some(hold) = &mut self.hold
        {
            hold.give_up();
            self.let_out(&tick.instrument, &mut message.out, merging, round);
        }
    }

    /// Whether a tick that came late is one of an earlier run, whose trade may have had another number then. The one that
    /// follows the newest trade is taken for what it says.
    fn is_of_an_earlier_run(&self, tick: &Tick) -> bool {
        self.place(tick) == Some(TradePlace::Ahead)
            && self.position().is_some_and(|position| tick.sequence > Some(position.sequence))
    }
}

/// A late tick as if it had been fetched: it must not move a position. It keeps the run of its trade, 0 where nobody knows it: when
/// this process dies, the next one tells it to be missing in that run, and there it has to be found.
pub(super) fn as_fill(mut tick: Tick, run: u32) -> Tick {
    tick.flags.backfilled = true;
    tick.sequence = None;
    tick.run = run;
    tick
}
