//! Which trades of a product are missing: their numbers are consecutive, so that a jump says exactly which.

use std::collections::VecDeque;

use crate::{FeedSession, GapCause, Heartbeat, UnixNanos};

/// How many of the newest gaps are remembered to recognise a trade that turns up late; beyond it the oldest is forgotten.
pub const OPEN_GAPS_MAX: usize = 256;
/// How many rows of refused trades are remembered, to be told to whoever takes over; beyond it the oldest is forgotten.
pub const REFUSED_ROWS_MAX: usize = 64;
/// How many ingestors are remembered, each with its newest session, to tell a restart from a second ingestor.
const SESSIONS_MAX: usize = 8;

/// Trades of a product that were refused lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedTrades {
    /// The run that their numbers are of.
    pub run: u32,
    /// Rows of consecutive trades, the first and the last of each, ascending; at most [`REFUSED_ROWS_MAX`].
    pub rows: Vec<(u64, u64)>,
}

/// Where a trade stands by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradePlace {
    /// It is the first one, or follows the last.
    Next,
    /// Trades between the last one and it are missing.
    Ahead,
    /// It lies in a gap that was announced.
    Missing,
    /// It is not above the last one, and not in a gap that is remembered; or it was refused.
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
/// Every trade after the first one seen is either passed in order, to [`TradeTracker::trade`] when it goes on as live or as a
/// fill and to [`TradeTracker::refuse`] when it is refused, or lies in exactly one of the gaps that are returned.
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
    /// The newest rows of consecutive trades that were refused, ascending. In none of them is the trade behind the newest one.
    refused: Vec<(u64, u64)>,
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
            refused: Vec::new(),
        }
    }

    /// Takes over the newest gap that was announced before, so that it is not announced again with other bounds.
    pub fn recover_gap(&mut self, first: u64, last: u64) {
        self.last = self.last.max(Some(last));
        self.pass_refused();
        self.remember(first, last);
    }

    /// Takes over trades that were refused before: they are never missing.
    pub fn recover_refused(&mut self, rows: &[(u64, u64)], event_time: UnixNanos) {
        rows.iter().for_each(|row| self.remember_refused(*row));
        let newest = self.last;
        self.pass_refused();
        // It is the time of the last of them.
        if self.last != newest && self.last == rows.last().map(|(_, last)| *last) {
            self.event_time = Some(event_time);
        }
    }

    /// Where a trade stands. Changes nothing.
    pub fn place(&self, trade_id: u64) -> TradePlace {
        match self.last {
            _ if self.is_refused(trade_id) => TradePlace::Known,
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
    ) -> Vec<MissingTrades> {
        let mut missing = Vec::new();
        match self.last {
            Some(last) if trade_id <= last && !starts_run => return missing,
            Some(last) if trade_id <= last => {
                self.gaps.clear();
                self.refused.clear();
            }
            Some(last) if trade_id - last > 1 => {
                let before = Some(event_time);
                missing = self.lose(last + 1, trade_id - 1, before, session, GapCause::Batched);
            }
            _ => {}
        }
        self.last = Some(trade_id);
        self.event_time = Some(event_time);
        self.pass_refused();
        self.enter(session);
        missing
    }

    /// The same for a trade that is refused. One that is not above the last one changes nothing.
    pub fn refuse(
        &mut self,
        trade_id: u64,
        event_time: UnixNanos,
        session: &FeedSession,
    ) -> Vec<MissingTrades> {
        if self.last >= Some(trade_id) {
            return Vec::new();
        }
        let missing = self.trade(trade_id, event_time, session, false);
        self.remember_refused((trade_id, trade_id));
        missing
    }

    /// Whether a trade above the newest one was refused: by somebody who died before what stands between them was out.
    pub fn was_refused(&self, trade_id: u64) -> bool {
        self.last < Some(trade_id) && self.is_refused(trade_id)
    }

    /// The newest rows of consecutive trades that were refused, the first and the last of each, ascending.
    pub fn refused(&self) -> &[(u64, u64)] {
        &self.refused
    }

    /// Hears how far the exchange's trades have come, and returns those that are missing. The first word of a product only
    /// says where its trades begin.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, session: &FeedSession) -> Vec<MissingTrades> {
        let newest = heartbeat.last_trade_id;
        if self.last.is_some_and(|last| newest <= last) {
            return Vec::new();
        }
        let before = Some(heartbeat.time);
        let missing = match self.last {
            Some(last) => self.lose(last + 1, newest, before, session, GapCause::Drop),
            None => Vec::new(),
        };
        self.last = Some(newest);
        self.pass_refused();
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

    fn is_refused(&self, trade_id: u64) -> bool {
        let newest = self.refused.last().map(|(_, last)| *last);
        newest >= Some(trade_id)
            && self.refused.iter().any(|(first, last)| (*first..=*last).contains(&trade_id))
    }

    /// What was refused has its place: the trade behind the newest one is another.
    fn pass_refused(&mut self) {
        for (first, last) in &self.refused {
            if self.last.is_some_and(|newest| *first <= newest.saturating_add(1) && newest < *last) {
                self.last = Some(*last);
            }
        }
    }

    fn remember_refused(&mut self, row: (u64, u64)) {
        let mut rows = std::mem::take(&mut self.refused);
        rows.push(row);
        rows.sort_unstable();
        for (first, last) in rows {
            match self.refused.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => self.refused.push((first, last)),
            }
        }
        let forgotten = self.refused.len().saturating_sub(REFUSED_ROWS_MAX);
        self.refused.drain(..forgotten);
    }

    /// Loses what was not refused of these trades.
    fn lose(
        &mut self,
        first: u64,
        last: u64,
        before: Option<UnixNanos>,
        session: &FeedSession,
        same_session: GapCause,
    ) -> Vec<MissingTrades> {
        let known = self.sessions.iter().find(|known| known.instance() == session.instance());
        let cause = match known {
            None => GapCause::Restart,
            Some(known) if known.id == session.id => same_session,
            Some(_) => GapCause::Disconnect,
        };
        let mut lost = Vec::new();
        let mut next = Some(first);
        for (from, to) in self.refused.iter().filter(|(from, to)| *to >= first && *from <= last) {
            lost.extend(next.filter(|next| next < from).map(|next| (next, from - 1)));
            next = to.checked_add(1);
        }
        lost.extend(next.filter(|next| *next <= last).map(|next| (next, last)));
        lost.iter().for_each(|(first, last)| self.remember(*first, *last));
        let after = self.event_time;
        lost.into_iter().map(|(first, last)| MissingTrades { first, last, after, before, cause }).collect()
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
