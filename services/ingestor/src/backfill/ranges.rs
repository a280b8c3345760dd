//! Sets of trade numbers as ascending ranges that do not touch.

use std::ops::RangeInclusive;

/// Some trade numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<RangeInclusive<u64>>);

impl Ranges {
    pub(super) fn of(first: u64, last: u64) -> Self {
        if first <= last { Self(vec![first..=last]) } else { Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[RangeInclusive<u64>] {
        &self.0
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.0.first().map(|range| *range.start())
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.last().map(|range| *range.end())
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> u64 {
        let length = |range: &RangeInclusive<u64>| (range.end() - range.start()).saturating_add(1);
        self.0.iter().map(length).fold(0, u64::saturating_add)
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|range| *range.end() < number);
        self.0.get(at).is_some_and(|range| range.contains(&number))
    }

    pub(super) fn intersects(&self, other: &RangeInclusive<u64>) -> bool {
        self.within(other).is_some()
    }

    /// The lowest and the highest number of `other` that are here.
    pub(super) fn within(&self, other: &RangeInclusive<u64>) -> Option<RangeInclusive<u64>> {
        let at = self.0.partition_point(|range| range.end() < other.start());
        let behind = self.0.partition_point(|range| range.start() <= other.end());
        let (first, last) = (self.0.get(at)?, self.0.get(behind.checked_sub(1)?)?);
        let (first, last) = (*first.start().max(other.start()), *last.end().min(other.end()));
        (first <= last).then_some(first..=last)
    }

    /// Takes these numbers out.
    pub(super) fn remove(&mut self, other: &RangeInclusive<u64>) {
        if other.is_empty() || !self.intersects(other) {
            return;
        }
        let (start, end) = (*other.start(), *other.end());
        let mut left = Vec::with_capacity(self.0.len() + 1);
        for range in self.0.drain(..) {
            if *range.end() < start || *range.start() > end {
                left.push(range);
                continue;
            }
            if *range.start() < start {
                left.push(*range.start()..=start - 1);
            }
            if *range.end() > end {
                left.push(end + 1..=*range.end());
            }
        }
        self.0 = left;
    }
}

/// Ascending numbers as ranges.
pub(super) fn joined(numbers: impl IntoIterator<Item = u64>) -> Vec<RangeInclusive<u64>> {
    let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(range) if range.end().checked_add(1) == Some(number) => *range = *range.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_out_wherever_they_are() {
        let mut ranges = Ranges::of(10, 20);
        ranges.remove(&(0..=9));
        ranges.remove(&(21..=u64::MAX));
        assert_eq!((ranges.count(), ranges.first(), ranges.last()), (11, Some(10), Some(20)));
        ranges.remove(&(13..=14));
        ranges.remove(&(16..=16));
        assert_eq!(ranges, Ranges(vec![10..=12, 15..=15, 17..=20]));
        assert!(ranges.contains(15) && !ranges.contains(16) && !ranges.contains(9));
        assert_eq!(ranges.within(&(13..=18)), Some(15..=18));
        assert_eq!(ranges.within(&(13..=14)), None);
        assert_eq!(ranges.within(&(11..=14)), Some(11..=12));
        ranges.remove(&(12..=19));
        assert_eq!(ranges, Ranges(vec![10..=11, 20..=20]));
        ranges.remove(&(0..=u64::MAX));
        assert!(ranges.is_empty() && ranges.first().is_none());
        assert_eq!(Ranges::of(0, u64::MAX).count(), u64::MAX);
        assert!(Ranges::of(2, 1).is_empty());
    }

    #[test]
    fn neighbours_are_joined() {
        assert_eq!(joined([1, 2, 3, 7, 9, 10]), [1..=3, 7..=7, 9..=10]);
        assert_eq!(joined([u64::MAX]), [u64::MAX..=u64::MAX]);
    }
}
