//! The newest ticks of one product.

use std::{collections::VecDeque, sync::Arc};

use domain::Position;

use crate::LiveTick;

/// The newest ticks of one product under a running index that never repeats: the first tick ever has 0.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    ticks: VecDeque<Arc<LiveTick>>,
    first: u64,
}

impl Ring {
    /// Adds a tick and returns how many old ones had to leave, so that at most `room` are here.
    pub(crate) fn push(&mut self, tick: Arc<LiveTick>, room: usize) -> u64 {
        self.ticks.push_back(tick);
        let mut evicted = 0;
        while self.ticks.len() > room {
            self.ticks.pop_front();
            evicted += 1;
        }
        self.first += evicted;
        evicted
    }

    /// Forgets every tick; their indexes are not used again.
    pub(crate) fn clear(&mut self) -> u64 {
        let evicted = self.ticks.len() as u64;
        self.first += evicted;
        self.ticks.clear();
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

    /// The position of the oldest tick that is still here.
    pub(crate) fn oldest_position(&self) -> Option<Position> {
        self.ticks.front().map(|tick| tick.position())
    }

    /// The index of the first tick at or after `position`, when the ring holds everything from there: its oldest tick is
    /// not after `position`.
    pub(crate) fn index_from(&self, position: Position) -> Option<u64> {
        if self.oldest_position()? > position {
            return None;
        }
        let offset = self.ticks.partition_point(|tick| tick.position() < position);
        Some(self.first + offset as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples::tick;

    fn live(sequence: u64) -> Arc<LiveTick> {
        Arc::new(LiveTick::new(tick("BTC-USD", 0, sequence), sequence).unwrap())
    }

    fn at(sequence: u64) -> Position {
        Position { run: 0, sequence }
    }

    #[test]
    fn keeps_the_newest_and_counts_on() {
        let mut ring = Ring::default();
        let evicted: u64 = (0..5).map(|sequence| ring.push(live(sequence * 10), 3)).sum();
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
            ring.push(live(sequence), 100);
        }
        assert_eq!(ring.index_from(at(9)), None);
        assert_eq!(ring.index_from(at(10)), Some(0));
        assert_eq!(ring.index_from(at(11)), Some(1));
        assert_eq!(ring.index_from(at(31)), Some(3));
    }
}
