//! Waiting with the ticks of one product for the trades that are missing before them.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use super::legs::{LEGS_MAX, LegId, Legs};
use crate::{FeedSession, Heartbeat, Tick, TradePlace, TradeTracker, UnixNanos};

/// More ticks of one product are not held back: what is missing before them is given up then.
pub const HELD_TICKS_MAX: usize = 4096;

/// A tick that is held back.
#[derive(Debug)]
pub struct Held {
    /// The tick, which has a sequence.
    pub tick: Tick,
    /// Where it came from.
    pub session: Arc<FeedSession>,
    /// Who brought it first.
    pub leg: LegId,
    /// Whether another leg brought it as well.
    pub shared: bool,
    /// The message that brought it, and its place in there.
    pub message: u64,
    /// Its place in the message.
    pub index: usize,
}

/// What need not wait any longer.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all of them are ticks")]
pub enum Released {
    /// The next tick.
    Tick(Held),
    /// Trades up to this one are missing, unless they have come meanwhile.
    Heartbeat(Heartbeat, Arc<FeedSession>),
}

/// What of one product is held back, because trades before it are missing that another leg may still bring.
///
/// Ticks come out in the order of their sequences: as soon as nothing is missing before them, when every leg has passed
/// them, or when one that came at the same time or earlier and stands behind them has waited for long enough.
#[derive(Debug)]
pub struct Hold {
    wait: Duration,
    /// By sequence.
    ticks: BTreeMap<u64, Held>,
    heartbeat: Option<Beat>,
    /// How much of each message is held back.
    messages: BTreeMap<u64, usize>,
    /// The highest sequence of what came at one time, in the order of time.
    arrivals: VecDeque<(UnixNanos, u64)>,
    /// What is missing before this sequence is given up.
    overdue: u64,
    /// The highest sequence that came out.
    passed: u64,
    /// The highest sequence that each leg has brought.
    reached: [u64; LEGS_MAX],
    given_up: bool,
}

#[derive(Debug)]
struct Beat {
    heartbeat: Heartbeat,
    session: Arc<FeedSession>,
    message: u64,
    since: UnixNanos,
}

impl Hold {
    /// Nothing is held back yet; what will be waits for so long.
    pub fn new(wait: Duration) -> Self {
        Self {
            wait,
            ticks: BTreeMap::new(),
            heartbeat: None,
            messages: BTreeMap::new(),
            arrivals: VecDeque::new(),
            overdue: 0,
            passed: 0,
            reached: [0; LEGS_MAX],
            given_up: false,
        }
    }

    /// Holds a tick back. `false` when it is held back already.
    pub fn push(&mut self, held: Held, now: UnixNanos) -> bool {
        let sequence = held.tick.sequence.unwrap_or_default();
        if let Some(reached) = self.reached.get_mut(held.leg.index()) {
            *reached = sequence.max(*reached);
        }
        let message = held.message;
        match self.ticks.entry(sequence) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.shared |= known.leg != held.leg;
                return false;
            }
            Entry::Vacant(entry) => entry.insert(held),
        };
        *self.messages.entry(message).or_default() += 1;
        match self.arrivals.back_mut() {
            Some((at, highest)) if *at == now => *highest = sequence.max(*highest),
            _ => self.arrivals.push_back((now, sequence)),
        }
        true
    }

    /// Holds back what a heartbeat says. Of several the highest counts, and it waits no longer than the first.
    pub fn push_heartbeat(
        &mut self,
        heartbeat: Heartbeat,
        session: &Arc<FeedSession>,
        message: u64,
        now: UnixNanos,
    ) {
        let mut since = now;
        if let Some(known) = &self.heartbeat {
            if known.heartbeat.last_trade_id >= heartbeat.last_trade_id {
                return;
            }
            since = known.since;
            let message = known.message;
            self.let_go(message);
        }
        *self.messages.entry(message).or_default() += 1;
        self.heartbeat = Some(Beat { heartbeat, session: Arc::clone(session), message, since });
    }

    /// The next of what need not wait any longer. `trades` is where the product stands, with everything that came out so
    /// far.
    pub fn pop(&mut self, trades: &TradeTracker, legs: &Legs, now: UnixNanos) -> Option<Released> {
        while let Some((since, highest)) = self.arrivals.front().copied()
            && (highest <= self.passed || self.is_over(since, now))
        {
            self.overdue = self.overdue.max(highest);
            self.arrivals.pop_front();
        }
        let missing_to = match &self.heartbeat {
            Some(beat) if self.is_over(beat.since, now) => Some(beat.heartbeat.last_trade_id),
            _ => None,
        };
        if let Some(first) = self.ticks.first_entry() {
            let (sequence, trade_id) = (*first.key(), first.get().tick.trade_id());
            let goes = self.given_up
                || sequence <= self.overdue
                || trade_id.is_none_or(|trade_id| trades.place(trade_id) != TradePlace::Ahead)
                || trade_id.is_some_and(|trade_id| missing_to.is_some_and(|to| trade_id <= to))
                || legs.all_alive(now, |leg| self.reached.get(leg.index()).is_some_and(|at| *at >= sequence));
            if goes {
                let held = first.remove();
                self.passed = sequence;
                self.let_go(held.message);
                return Some(Released::Tick(held));
            }
        }
        let is_known = |beat: &mut Beat| trades.last() >= Some(beat.heartbeat.last_trade_id);
        let beat = self.heartbeat.take_if(|beat| missing_to.is_some() || is_known(beat))?;
        self.let_go(beat.message);
        Some(Released::Heartbeat(beat.heartbeat, beat.session))
    }

    /// Waits no longer: everything comes out.
    pub fn give_up(&mut self) {
        self.given_up = true;
    }

    /// When the next of what is held back has waited for long enough.
    pub fn deadline(&self) -> Option<UnixNanos> {
        let tick = self.arrivals.iter().find(|(_, highest)| *highest > self.passed).map(|(since, _)| *since);
        let beat = self.heartbeat.as_ref().map(|beat| beat.since);
        let since = tick.into_iter().chain(beat).min()?;
        Some(since.saturating_add(self.wait))
    }

    /// Whether something of this message is held back.
    pub fn holds(&self, message: u64) -> bool {
        self.messages.contains_key(&message)
    }

    /// The oldest message of which something is held back.
    pub fn oldest_message(&self) -> Option<u64> {
        self.messages.first_key_value().map(|(message, _)| *message)
    }

    /// How much is held back: ticks, and perhaps a heartbeat.
    pub fn len(&self) -> usize {
        self.ticks.len() + usize::from(self.heartbeat.is_some())
    }

    /// Whether nothing is held back.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A clock that was set back must not make anybody wait.
    fn is_over(&self, since: UnixNanos, now: UnixNanos) -> bool {
        self.given_up || now.is_over(since, self.wait)
    }

    fn let_go(&mut self, message: u64) {
        if let Entry::Occupied(mut count) = self.messages.entry(message) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
