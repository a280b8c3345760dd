//! The newest ticks of one product.

use std::{collections::VecDeque, sync::Arc};

use domain::{Position, UnixNanos};

use crate::{Config, LiveTick};

/// The newest ticks of one product under a running index that never repeats: the first tick ever has 0.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    ticks: VecDeque<Arc<LiveTick>>,
    first: u64,
    /// From this position on, nothing that there is of the product is missing here; `None` before the first tick.
    whole_from: Option<Position>,
}

impl Ring {
    /// A ring without ticks, for what comes after `position`.
    pub(crate) fn after(position: Position) -> Self {
        Self { whole_from: Some(position.next()), ..Self::default() }
    }

    /// Nothing after `position` is missing, from now on.
    pub(crate) fn begin_after(&mut self, position: Position) {
        self.whole_from = Some(position.next());
    }

    /// Adds a tick and returns how many old ones had to leave, so that the limits are kept.
    pub(crate) fn push(&mut self, tick: Arc<LiveTick>, config: &Config) -> u64 {
        self.whole_from.get_or_insert(tick.position());
        let now = tick.tick().receive_time;
        self.ticks.push_back(tick);
        let mut evicted = 0;
        while self.is_full(config, now)
            && let Some(oldest) = self.ticks.pop_front()
        {
            self.whole_from = Some(oldest.position().next());
            evicted += 1;
        }
        self.first += evicted;
        evicted
    }

    /// Beyond a limit, or beyond what every product may keep and older than anyone needs.
    fn is_full(&self, config: &Config, now: UnixNanos) -> bool {
        let count = self.ticks.len();
        let age = || self.ticks.front().map(|oldest| now.saturating_since(oldest.tick().receive_time));
        count > config.ring_room() || count > config.ring_ticks_kept.get() && age() > Some(config.ring_age)
    }

    /// Forgets every tick: what comes next does not follow upon them. Their indexes are not used again.
    pub(crate) fn clear(&mut self) -> u64 {
        let evicted = self.ticks.len() as u64;
        self.first += evicted;
        self.ticks.clear();
        self.whole_from = None;
        evicted
    }

    /// The index of the oldest tick that is still here.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The index that the next tick will get.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.ticks.len() as u64
    }

    /// The tick at `index`; `None` when it has left or is yet to come.
    pub(crate) fn get(&self, index: u64) -> Option<&Arc<LiveTick>> {
        let offset = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.ticks.get(offset)
    }

    /// The oldest tick that is still here.
    pub(crate) fn oldest(&self) -> Option<&Arc<LiveTick>> {
        self.ticks.front()
    }

    /// The ticks after `position`.
    pub(crate) fn since(&self, position: Position) -> impl Iterator<Item = &Arc<LiveTick>> {
        self.ticks.iter().filter(move |tick| tick.position() > position)
    }

    /// The index of the first tick at or after `from`, when nothing from there on is missing here.
    pub(crate) fn index_from(&self, from: Position) -> Option<u64> {
        if self.whole_from? > from {
            return None;
        }
        let offset = self.ticks.partition_point(|tick| tick.position() < from);
        Some(self.first + offset as u64)
    }

    /// The position of the first tick at or after `time`, or the one behind the newest tick, when the ring is known to reach
    /// back that far: its oldest tick is before `time`.
    pub(crate) fn position_since(&self, time: UnixNanos) -> Option<Position> {
        self.oldest().filter(|oldest| oldest.tick().event_time < time)?;
        let found = self.ticks.iter().find(|tick| tick.tick().event_time >= time);
        found.map(|tick| tick.position()).or_else(|| Some(self.ticks.back()?.position().next()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples::tick;

    fn live(sequence: u64) -> Arc<LiveTick> {
        Arc::new(LiveTick::new(tick("BTC-USD", 0, sequence), None, Default::default()).unwrap())
    }

    fn at(sequence: u64) -> Position {
        Position { run: 0, sequence }
    }

    #[test]
    fn keeps_the_newest_and_counts_on() {
        let mut ring = Ring::default();
        let config = Config { ring_ticks_max: 3.try_into().unwrap(), ..Config::default() };
        let evicted: u64 = (0..5).map(|sequence| ring.push(live(sequence * 10), &config)).sum();
        assert_eq!((evicted, ring.first(), ring.end()), (2, 2, 5));
        assert_eq!(ring.get(1).map(|tick| tick.position()), None);
        assert_eq!(ring.get(2).map(|tick| tick.position()), Some(at(20)));
        assert!(ring.get(5).is_none());
        assert_eq!(ring.clear(), 3);
        assert_eq!((ring.first(), ring.end()), (5, 5));
    }

    #[test]
    fn finds_a_position_only_when_nothing_is_missing() {
        let mut ring = Ring::default();
        assert_eq!(ring.index_from(at(1)), None);
        for sequence in [10, 20, 30] {
            ring.push(live(sequence), &Config::default());
        }
        assert_eq!(ring.index_from(at(9)), None);
        assert_eq!(ring.index_from(at(10)), Some(0));
        assert_eq!(ring.index_from(at(11)), Some(1));
        assert_eq!(ring.index_from(at(31)), Some(3));
        // What has left was known to be followed by what is here.
        ring.push(live(40), &Config { ring_ticks_max: 2.try_into().unwrap(), ..Config::default() });
        assert_eq!((ring.index_from(at(20)), ring.index_from(at(21))), (None, Some(2)));
        assert_eq!(Ring::after(at(7)).index_from(at(8)), Some(0));
    }

    #[test]
    fn keeps_a_minute_of_a_busy_product_and_some_ticks_of_a_quiet_one() {
        let second = |at: u64| live(at * 1_000_000_000);
        let config = Config { ring_ticks_kept: 5.try_into().unwrap(), ..Config::default() };
        let mut ring = Ring::default();
        let evicted: u64 = (1..=200).map(|at| ring.push(second(at), &config)).sum();
        assert_eq!((evicted, ring.oldest().unwrap().tick().sequence), (139, Some(140_000_000_000)));
        // Whatever their age.
        let evicted: u64 = (1..=5).map(|at| ring.push(second(at * 1_000), &config)).sum();
        assert_eq!((evicted, ring.oldest().unwrap().tick().sequence), (61, Some(1_000_000_000_000)));
        assert_eq!(ring.end() - ring.first(), 5);
    }

    #[test]
    fn finds_a_time_when_it_reaches_back_that_far() {
        let mut ring = Ring::default();
        for sequence in [10, 20, 30] {
            ring.push(live(sequence), &Config::default());
        }
        let since = |time| ring.position_since(UnixNanos::new(time));
        assert_eq!((since(10), since(11), since(30)), (None, Some(at(20)), Some(at(30))));
        assert_eq!(since(31), Some(at(31)));
    }
}
