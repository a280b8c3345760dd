//! Holding a product back while another leg may still bring what is missing, and making batches of what goes on.

use std::{sync::Arc, time::Duration};

use domain::{
    FeedSession, HELD_TICKS_MAX, Heartbeat, Held, Hold, Instrument, LegId, Legs, Released, Tick, TradePlace,
    UnixNanos,
};

use super::{Message, Origin, Product};
use crate::round::{Out, RawPlace, Round};

/// Who brings the products of the shard at the moment, and how long one is waited for.
pub(crate) struct Merging<'a> {
    legs: &'a Legs,
    wait: Duration,
    /// How much of this product may be held back before the shard holds too much.
    room: usize,
    now: UnixNanos,
    /// Whether several legs bring the same.
    pub(super) is_race: bool,
}

impl<'a> Merging<'a> {
    pub(crate) fn new(legs: &'a Legs, wait: Duration, room: usize, now: UnixNanos) -> Self {
        Self { legs, wait, room, now, is_race: legs.several_are_alive(now) }
    }

    fn may_wait(&self, leg: LegId) -> bool {
        !self.wait.is_zero() && self.room > 0 && self.legs.another_is_alive(leg, self.now)
    }
}

impl Product {
    /// How much is held back.
    pub(crate) fn held(&self) -> usize {
        self.hold.as_ref().map_or(0, |hold| hold.len())
    }

    /// Whether something of this live raw message is held back.
    pub(crate) fn holds(&self, raw: u64) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.holds(raw))
    }

    /// When what is held back has waited for long enough.
    pub(crate) fn deadline(&self) -> Option<UnixNanos> {
        self.hold.as_ref()?.deadline()
    }

    /// Lets out what need not wait any longer, when nothing new has come of the product.
    pub(crate) fn release(&mut self, instrument: &Instrument, merging: &Merging<'_>, round: &mut Round) {
        let mut out = Out::default();
        self.let_out(instrument, &mut out, merging, round);
        self.go_on(instrument, out, None, self.judged, round);
    }

    pub(super) fn waits(&self, place: Option<TradePlace>, leg: LegId, merging: &Merging<'_>) -> bool {
        self.hold.is_some() || (place == Some(TradePlace::Ahead) && merging.may_wait(leg))
    }

    pub(super) fn hold_back(
        &mut self,
        tick: Tick,
        message: &Message,
        at: RawPlace,
        merging: &Merging<'_>,
        round: &mut Round,
    ) {
        let held = Held {
            tick,
            session: Arc::clone(&message.session),
            leg: message.leg,
            shared: false,
            message: at.raw,
            index: at.index,
        };
        let is_new = self.hold(merging).push(held, merging.now);
        round.duplicates += u64::from(!is_new);
    }

    pub(super) fn heartbeat(
        &mut self,
        instrument: &Instrument,
        heartbeat: Heartbeat,
        message: &mut Message,
        merging: &Merging<'_>,
        round: &Round,
    ) {
        let is_ahead = self.trades.last().is_some_and(|last| last < heartbeat.last_trade_id);
        if is_ahead && self.waits(Some(TradePlace::Ahead), message.leg, merging) {
            self.hold(merging).push_heartbeat(heartbeat, &message.session, message.raw, merging.now);
        } else {
            self.hear(instrument, &heartbeat, &message.session, &mut message.out, round);
        }
    }

    /// A new run begins with the message `raw`: what is held back of the run before goes out before it, in batches of its
    /// own that do not count the message as done.
    pub(super) fn end_run(
        &mut self,
        instrument: &Instrument,
        raw: u64,
        merging: &Merging<'_>,
        round: &mut Round,
    ) {
        if let Some(hold) = &mut self.hold {
            hold.give_up();
        }
        let mut out = Out::default();
        self.let_out(instrument, &mut out, merging, round);
        self.go_on(instrument, out, None, raw.saturating_sub(1), round);
    }

    /// Lets out what need not wait any longer. At its bound everything goes.
    pub(super) fn let_out(
        &mut self,
        instrument: &Instrument,
        out: &mut Out,
        merging: &Merging<'_>,
        round: &mut Round,
    ) {
        if let Some(hold) = &mut self.hold
            && hold.len() > HELD_TICKS_MAX.min(merging.room)
        {
            hold.give_up();
            round.holds_full += 1;
        }
        while let Some(hold) = &mut self.hold {
            match hold.pop(&self.trades, merging.legs, merging.now) {
                Some(Released::Tick(held)) => {
                    let Held { mut tick, session, leg, shared, message: raw, index } = held;
                    let origin = Origin { session: &session, leg, at: RawPlace { raw, index }, shared };
                    // Where sequences of before and after a restart are mixed, a trade behind it may have gone out first.
                    if self.place(&tick) == Some(TradePlace::Missing) {
                        self.let_late_out(tick, origin, round);
                    } else if self.accept(&mut tick, origin, merging, out, round) {
                        out.ticks.push(tick);
                        out.newest = Some(session);
                    }
                }
                Some(Released::Heartbeat(heartbeat, session)) => {
                    self.hear(instrument, &heartbeat, &session, out, round);
                }
                None if hold.is_empty() => self.hold = None,
                None => break,
            }
        }
    }

    /// Hands over what goes on, whose newest tick is of `session` unless it was held back. When nothing is held back, the
    /// live raw messages up to `whole_to` are whole with it.
    pub(super) fn go_on(
        &mut self,
        instrument: &Instrument,
        out: Out,
        session: Option<&FeedSession>,
        whole_to: u64,
        round: &mut Round,
    ) {
        let oldest_held = self.hold.as_ref().and_then(|hold| hold.oldest_message());
        let done_before = self.batched;
        self.batched = done_before.max(oldest_held.map_or(whole_to, |oldest| oldest.saturating_sub(1)));
        round.go_on(instrument, out, session, done_before, self.batched);
    }

    fn hold(&mut self, merging: &Merging<'_>) -> &mut Hold {
        self.hold.get_or_insert_with(|| Box::new(Hold::new(merging.wait)))
    }
}
