//! Which trades of a product are missing: their numbers are consecutive, so that a jump says exactly which.

use std::collections::VecDeque;

use crate::{FeedSession, GapCause, Heartbeat, UnixNanos};

/// How many of the newest gaps are remembered to recognise a trade that turns up late; beyond it the oldest is forgotten.
pub const OPEN_GAPS_MAX: usize = 256;
/// How many ingestors are remembered, each with its newest session, to tell a restart from a second ingestor.
const SESSIONS_MAX: usize = 8;

/// Where a trade stands by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradePlace {
    /// It is the first one, or follows the last.
    Next,
    /// Trades between the last one and it are missing.
    Ahead,
    /// It lies in a gap that was announced.
    Missing,
    /// It is not above the last one, and not in a gap that is remembered.
    Known,
}

/// Trades that are missing, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTrades {
    /// The first missing trade.
    pub first: u64,
    /// The last missing trade.
    pub last: u64,
    /// The event time of the newest trade before them, where known.
    pub after: Option<UnixNanos>,
    /// When they had happened: the event time of the trade behind them, or the time of the heartbeat that told of them.
    pub before: Option<UnixNanos>,
    /// Why.
    pub cause: GapCause,
}

/// The trades of one product: the newest, and the gaps that were announced lately.
///
/// Every trade after the first one seen is either passed to [`TradeTracker::trade`] in order, whether it goes on as live,
/// as a fill or is refused, or lies in exactly one of the gaps that are returned.
#[derive(Clone, Debug, Default)]
pub struct TradeTracker {
    /// The newest trade that was seen, or that a gap ends with.
    last: Option<u64>,
    /// The event time of the newest trade that was seen.
    event_time: Option<UnixNanos>,
    /// The newest session of each ingestor, that of the newest trade or heartbeat first.
    sessions: Vec<FeedSession>,
    /// Ascending.
    gaps: VecDeque<(u64, u64)>,
}

impl TradeTracker {
    /// A tracker that goes on after a trade. Where the session is not known, what is missing next counts as lost by a
    /// restart.
    pub fn recovered(trade_id: u64, event_time: UnixNanos, session: Option<&FeedSession>) -> Self {
        Self {
            last: Some(trade_id),
            event_time: Some(event_time),
            sessions: session.cloned().into_iter().collect(),
            gaps: VecDeque::new(),
        }
    }

    /// Takes over the newest gap that was announced before, so that it is not announced again with other bounds.
    pub fn recover_gap(&mut self, first: u64, last: u64) {
        self.last = self.last.max(Some(last));
        self.remember(first, last);
    }

    /// Takes over a trade that was passed before, if it follows the newest one.
    pub fn recover_passed(&mut self, trade_id: u64, event_time: UnixNanos) {
        if self.last.is_some_and(|last| last.checked_add(1) == Some(trade_id)) {
            self.last = Some(trade_id);
            self.event_time = Some(event_time);
        }
    }

    /// Where a trade stands. Changes nothing.
    pub fn place(&self, trade_id: u64) -> TradePlace {
        match self.last {
            Some(last) if trade_id <= last && self.is_missing(trade_id) => TradePlace::Missing,
            Some(last) if trade_id <= last => TradePlace::Known,
            Some(last) if trade_id - last > 1 => TradePlace::Ahead,
            _ => TradePlace::Next,
        }
    }

    /// Moves on to a trade that has come, and returns the trades that are missing before it.
    ///
    /// `starts_run`: the sequence of the exchange started anew with it. A number that is not above the last one means then
    /// that the numbers of the trades started anew as well: there is no gap, and those announced before are forgotten,
    /// because their numbers now mean other trades. Otherwise such a number changes nothing.
    pub fn trade(
        &mut self,
        trade_id: u64,
        event_time: UnixNanos,
        session: &FeedSession,
        starts_run: bool,
    ) -> Option<MissingTrades> {
        let mut missing = None;
        match self.last {
            Some(last) if trade_id <= last && !starts_run => return None,
            Some(last) if trade_id <= last => self.gaps.clear(),
            Some(last) if trade_id - last > 1 => {
                let before = Some(event_time);
                missing = Some(self.lose(last + 1, trade_id - 1, before, session, GapCause::Batched));
            }
            _ => {}
        }
        self.last = Some(trade_id);
        self.event_time = Some(event_time);
        self.enter(session);
        missing
    }

    /// Hears how far the exchange's trades have come, and returns those that are missing. The first word of a product only
    /// says where its trades begin.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, session: &FeedSession) -> Option<MissingTrades> {
        let newest = heartbeat.last_trade_id;
        if self.last.is_some_and(|last| newest <= last) {
            return None;
        }
        let before = Some(heartbeat.time);
        let missing = self.last.map(|last| self.lose(last + 1, newest, before, session, GapCause::Drop));
        self.last = Some(newest);
        self.enter(session);
        missing
    }

    /// The newest trade that was seen or announced as missing.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// When the newest trade that was seen had happened.
    pub fn newest_at(&self) -> Option<UnixNanos> {
        self.event_time
    }

    fn is_missing(&self, trade_id: u64) -> bool {
        let at = self.gaps.partition_point(|(_, last)| *last < trade_id);
        self.gaps.get(at).is_some_and(|(first, _)| *first <= trade_id)
    }

    fn lose(
        &mut self,
        first: u64,
        last: u64,
        before: Option<UnixNanos>,
        session: &FeedSession,
        same_session: GapCause,
    ) -> MissingTrades {
        self.remember(first, last);
        let known = self.sessions.iter().find(|known| known.instance() == session.instance());
        let cause = match known {
            None => GapCause::Restart,
            Some(known) if known.id == session.id => same_session,
            Some(_) => GapCause::Disconnect,
        };
        MissingTrades { first, last, after: self.event_time, before, cause }
    }

    fn remember(&mut self, first: u64, last: u64) {
        if self.gaps.len() == OPEN_GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back((first, last));
    }

    /// Puts the session first, in the place of the one that its ingestor had before.
    fn enter(&mut self, session: &FeedSession) {
        if self.sessions.first().is_some_and(|first| first.id == session.id) {
            return;
        }
        let known = self.sessions.iter().position(|known| known.instance() == session.instance());
        let entered = match known.map(|at| self.sessions.remove(at)) {
            Some(known) if known.id == session.id => known,
            _ => session.clone(),
        };
        self.sessions.truncate(SESSIONS_MAX - 1);
        self.sessions.insert(0, entered);
    }
}

#[cfg(test)]
mod tests;
