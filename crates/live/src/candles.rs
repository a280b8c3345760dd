//! The candle that is open, built from ticks. Pure: time comes in with the ticks or as an argument.

use std::time::Duration;

use domain::{Bar, Interval, Position, Tick, UnixNanos};

/// For how long trades of an interval are waited for after its end by the exchange's clock, when nothing else happens.
const GRACE: Duration = Duration::from_secs(1);

/// Builds the candles of one product, one after the other, from every tick in order of position.
#[derive(Debug)]
pub struct CandleBuilder {
    width: Duration,
    /// The start of the open candle.
    start: UnixNanos,
    open: Option<Bar>,
    /// The newest tick: its place, and how far the exchange's clock was behind ours when it came.
    newest: Option<(Position, Duration)>,
}

/// A candle has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its trades; `None` when there were none.
    pub bar: Option<Bar>,
    /// Its end, which may be some intervals after its start when nothing happened in between.
    pub until: UnixNanos,
    /// Everything up to this position is in it, or before it, or after it: where it is stored, the candle is as complete as
    /// it gets without repairs.
    pub through: Option<Position>,
}

impl CandleBuilder {
    /// Builds from the candle on that `time` lies in.
    pub fn new(interval: Interval, time: UnixNanos) -> Self {
        let width = interval.width();
        Self { width, start: time.floor_to(width), open: None, newest: None }
    }

    /// The start of the open candle.
    pub fn start(&self) -> UnixNanos {
        self.start
    }

    /// What is in the open candle; `None` while nothing is.
    pub fn open(&self) -> Option<&Bar> {
        self.open.as_ref()
    }

    /// Adds what happened in the open candle before the first tick. Only sums that cannot be held exactly are left out, which
    /// no market reaches.
    pub fn seed(&mut self, bar: &Bar) {
        self.merge(bar.clone());
    }

    /// Adds the next tick. It may end the open candle; a trade of an earlier one is left out.
    pub fn add(&mut self, tick: &Tick) -> Option<Closed> {
        let position = tick.position()?;
        let start = tick.event_time.floor_to(self.width);
        self.newest = Some((position, tick.receive_time.saturating_since(tick.event_time)));
        // What tells only of the book moves time on too.
        let closed = (start > self.start).then(|| self.close(start));
        if start == self.start
            && let Some(bar) = Bar::of(tick, self.width)
        {
            self.merge(bar);
        }
        closed
    }

    /// How long it takes until the open candle ends even if nothing happens any more; `None` before the first tick. `now` is our
    /// clock's time: the exchange's was as far behind it as it was with the newest tick.
    pub fn ends_in(&self, now: UnixNanos) -> Option<Duration> {
        let (_, behind) = self.newest?;
        let end = self.start.saturating_add(self.width).saturating_add(behind).saturating_add(GRACE);
        Some(end.saturating_since(now))
    }

    /// Ends the open candle by time.
    pub fn end(&mut self) -> Closed {
        self.close(self.start.saturating_add(self.width))
    }

    fn close(&mut self, until: UnixNanos) -> Closed {
        self.start = until;
        Closed { bar: self.open.take(), until, through: self.newest.map(|(position, _)| position) }
    }

    fn merge(&mut self, mut bar: Bar) {
        bar.start = self.start;
        match &mut self.open {
            Some(open) => _ = open.merge(&bar),
            None => self.open = Some(bar),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples::tick;

    fn at(second: i64, sequence: u64) -> Tick {
        let time = UnixNanos::from_seconds(second).unwrap();
        Tick {
            event_time: time,
            receive_time: time.saturating_add(Duration::from_millis(50)),
            ..tick("A", 0, sequence)
        }
    }

    fn counted(bar: Option<&Bar>) -> u64 {
        bar.map_or(0, |bar| bar.tick_count)
    }

    #[test]
    fn a_candle_ends_with_the_first_tick_after_it_or_a_second_later() {
        let mut builder = CandleBuilder::new(Interval::OneMinute, UnixNanos::from_seconds(130).unwrap());
        assert_eq!(
            (builder.start(), builder.ends_in(UnixNanos::MIN)),
            (UnixNanos::from_seconds(120).unwrap(), None)
        );
        builder.seed(&Bar::of(&at(121, 1), domain::MINUTE).unwrap());
        assert_eq!(builder.add(&at(130, 2)), None);
        // One of the minute before is no part of this one.
        assert_eq!(builder.add(&at(119, 3)), None);
        assert_eq!((counted(builder.open()), builder.open().unwrap().open), (2, 1.into()));
        let closed = builder.add(&at(185, 4)).unwrap();
        assert_eq!((counted(closed.bar.as_ref()), closed.until), (2, UnixNanos::from_seconds(180).unwrap()));
        assert_eq!(closed.through, Some(Position { run: 0, sequence: 4 }));
        assert_eq!(counted(builder.open()), 1);
        let now = UnixNanos::from_seconds(200).unwrap();
        assert_eq!(builder.ends_in(now), Some(Duration::from_millis(41_050)));
        let closed = builder.end();
        assert_eq!((counted(closed.bar.as_ref()), closed.until), (1, UnixNanos::from_seconds(240).unwrap()));
        // Quiet minutes end together.
        let closed = builder.add(&at(600, 5)).unwrap();
        assert_eq!((closed.bar, closed.until), (None, UnixNanos::from_seconds(600).unwrap()));
    }
}
