//! How far candles can be trusted, by the numbers of their trades, of the trades around them, and by the gaps.

use std::time::Duration;

use domain::{Bar, Candle, CandleState, Completeness, Gap, Interval, TimeRange, UnixNanos};
use store::{Order, TradeAt};

/// What the candles of a page are judged by.
#[derive(Debug)]
pub(super) struct Evidence {
    /// The newest trade before the first candle, in order of time.
    pub(super) before: Option<TradeAt>,
    /// The oldest trade after the last candle, in order of time.
    pub(super) after: Option<TradeAt>,
    /// The gaps that may have trades in the candles.
    pub(super) gaps: Vec<Gap>,
    /// Ticks before this time are no longer kept.
    pub(super) horizon: Option<UnixNanos>,
    /// The clock of the server.
    pub(super) now: UnixNanos,
}

/// Consecutive intervals of a page.
enum Part {
    /// One with trades, and the trades before and after it.
    Traded(Box<Candle>, Option<TradeAt>, Option<TradeAt>),
    /// Those that start in the range and are proven to have none.
    Empty(TimeRange),
}

/// The candles of a page: those `with_trades`, in order of time, judged, and between them those of `window` that are proven
/// to be empty; in `order`, at most `limit`.
pub(super) fn page(
    interval: Interval,
    with_trades: Vec<Candle>,
    window: TimeRange,
    order: Order,
    limit: usize,
    evidence: &Evidence,
) -> Vec<Candle> {
    let width = interval.width();
    let mut parts = parts(with_trades, window, width, evidence);
    if order == Order::Descending {
        parts.reverse();
    }
    let mut page = Vec::with_capacity(limit.min(parts.len()));
    for part in parts {
        match part {
            Part::Traded(candle, before, after) => page.push(judged(*candle, before, after, evidence)),
            Part::Empty(range) => {
                let starts = Starts { range, width, order };
                let ended = |start: &UnixNanos| start.saturating_add(width) <= evidence.now;
                let room = limit.saturating_sub(page.len());
                page.extend(starts.filter(ended).take(room).map(|start| empty(interval, start, evidence)));
            }
        }
        if page.len() >= limit {
            break;
        }
    }
    page
}

fn parts(with_trades: Vec<Candle>, window: TimeRange, width: Duration, evidence: &Evidence) -> Vec<Part> {
    let after_trade =
        |trade: TradeAt| trade.event_time.floor_to(width).saturating_add(width).max(window.from);
    let between = |before: Option<TradeAt>, after: Option<TradeAt>| {
        let (before, after) = before.zip(after).filter(|(before, after)| before.is_followed_by(after))?;
        let until = after.event_time.floor_to(width).min(window.until);
        let from = after_trade(before);
        (from < until).then_some(Part::Empty(TimeRange { from, until }))
    };
    let mut parts = Vec::with_capacity(with_trades.len());
    let mut before = evidence.before;
    let mut candles = with_trades.into_iter().peekable();
    while let Some(candle) = candles.next() {
        parts.extend(between(before, Some(first_trade(&candle))));
        let last = last_trade(&candle);
        let after = candles.peek().map(first_trade).or(evidence.after);
        parts.push(Part::Traded(Box::new(candle), before, after));
        before = Some(last);
    }
    parts.extend(between(before, evidence.after));
    parts
}

/// The multiples of a width that start in a range.
struct Starts {
    range: TimeRange,
    width: Duration,
    order: Order,
}

impl Iterator for Starts {
    type Item = UnixNanos;

    fn next(&mut self) -> Option<UnixNanos> {
        if self.range.from >= self.range.until {
            return None;
        }
        match self.order {
            Order::Ascending => {
                let next = self.range.from.saturating_add(self.width);
                Some(std::mem::replace(&mut self.range.from, next))
            }
            Order::Descending => {
                self.range.until = self.range.until.saturating_sub(self.width);
                Some(self.range.until)
            }
        }
    }
}

pub(super) fn first_trade(candle: &Candle) -> TradeAt {
    TradeAt { event_time: candle.bar.open_at.0, trade_id: candle.bar.open_at.1 }
}

pub(super) fn last_trade(candle: &Candle) -> TradeAt {
    TradeAt { event_time: candle.bar.close_at.0, trade_id: candle.bar.close_at.1 }
}

fn empty(interval: Interval, start: UnixNanos, evidence: &Evidence) -> Candle {
    let completeness =
        Completeness { expected_trades: Some(0), horizon: evidence.horizon, ..Completeness::default() };
    Candle {
        interval,
        bar: Bar::empty(start),
        state: Some(CandleState::Empty),
        completeness: Some(completeness),
    }
}

/// A candle with trades, between the trades before and after it.
fn judged(candle: Candle, before: Option<TradeAt>, after: Option<TradeAt>, evidence: &Evidence) -> Candle {
    let stored = candle.bar.tick_count;
    let (first, last) = (first_trade(&candle), last_trade(&candle));
    let end = candle.bar.start.saturating_add(candle.interval.width());
    let numbers = first.trade_id.zip(last.trade_id).filter(|(first, last)| first <= last);
    let mut completeness =
        Completeness { stored_trades: stored, horizon: evidence.horizon, ..Completeness::default() };
    let mut state = None;
    if let Some((first_id, last_id)) = numbers {
        let span = last_id - first_id + 1;
        // Whether the trade beside it has the number that follows, and whether numbers are missing in between.
        let is_start_known = before.is_some_and(|before| before.is_followed_by(&first));
        let is_end_known = after.is_some_and(|after| last.is_followed_by(&after));
        let before_id = before.and_then(|before| before.trade_id).filter(|before| *before < first_id);
        let after_id = after.and_then(|after| after.trade_id).filter(|after| *after > last_id);
        let jumps = before_id.is_some_and(|_| !is_start_known) || after_id.is_some_and(|_| !is_end_known);
        let is_in_order =
            before.is_none_or(|_| before_id.is_some()) && after.is_none_or(|_| after_id.is_some());
        // The trades that may be missing in it: those between its neighbours.
        let from = before_id.map_or(if before.is_some() { first_id } else { 0 }, |before| before + 1);
        let until = after_id.map_or(if after.is_some() { last_id } else { u64::MAX }, |after| after - 1);
        let touching: Vec<&Gap> = evidence
            .gaps
            .iter()
            .filter(|gap| gap.first_trade_id <= until && gap.last_trade_id >= from)
            .filter(|gap| touches(gap, candle.bar.start, end))
            .collect();
        completeness.open_gaps =
            touching.iter().filter(|gap| gap.state == domain::GapState::Open).count() as u64;
        completeness.expected_trades = (is_start_known && is_end_known && span >= stored).then_some(span);
        let is_missing =
            |gap: &&Gap| gap.repaired_count <= gap.last_trade_id.saturating_sub(gap.first_trade_id);
        let was_missing = |gap: &&Gap| gap.first_trade_id <= last_id && gap.last_trade_id >= first_id;
        state = if completeness.expected_trades == Some(stored) {
            let is_repaired = touching.iter().any(was_missing);
            Some(if is_repaired { CandleState::Repaired } else { CandleState::Complete })
        } else if jumps || touching.iter().any(is_missing) || (is_in_order && span > stored) {
            Some(CandleState::Incomplete)
        } else {
            None
        };
    }
    if end > evidence.now {
        state = Some(CandleState::Open);
    }
    Candle { state, completeness: Some(completeness), ..candle }
}

/// Whether trades of a gap may lie between two times: numbers alone could be those of an earlier numbering.
fn touches(gap: &Gap, start: UnixNanos, end: UnixNanos) -> bool {
    let first = gap.after.or(gap.before).unwrap_or(gap.detected_at);
    let last = gap.before.unwrap_or(gap.detected_at);
    first < end && last >= start
}

#[cfg(test)]
mod tests;
