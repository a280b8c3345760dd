//! Who of several legs brings the ticks of a product first, who brings them later, and who alone.

use std::{collections::VecDeque, time::Duration};

use super::legs::{LEG_ALIVE_FOR, LEGS_MAX, LegId};
use crate::UnixNanos;

/// How many of the newest ticks are remembered until it is known who brought them; those beyond are not judged.
const FIRSTS_MAX: usize = 4096;

/// The newest ticks of one product, each with the leg that brought it first.
#[derive(Debug, Default)]
pub struct Race {
    /// By sequence, which is the order in which they came.
    firsts: VecDeque<First>,
}

#[derive(Debug)]
struct First {
    sequence: u64,
    /// When its leg had received it.
    received: UnixNanos,
    /// When it went on.
    since: UnixNanos,
    leg: LegId,
    /// Whether another leg has brought it as well.
    shared: bool,
}

impl Race {
    /// A tick goes on that this leg brought first.
    pub fn first(&mut self, sequence: u64, received: UnixNanos, leg: LegId, shared: bool, now: UnixNanos) {
        if self.firsts.back().is_some_and(|newest| newest.sequence >= sequence) {
            // A new run.
            self.firsts.clear();
        }
        if self.firsts.len() == FIRSTS_MAX {
            self.firsts.pop_front();
        }
        self.firsts.push_back(First { sequence, received, since: now, leg, shared });
    }

    /// A leg brings a tick that went on before. Returns how much later it had received it, when another leg was first.
    pub fn again(&mut self, sequence: u64, received: UnixNanos, leg: LegId) -> Option<Duration> {
        let at = self.firsts.binary_search_by_key(&sequence, |first| first.sequence).ok()?;
        let first = self.firsts.get_mut(at).filter(|first| first.leg != leg)?;
        first.shared = true;
        Some(received.saturating_since(first.received))
    }

    /// Counts the ticks that only one leg has brought, once there was time for the others.
    pub fn settle(&mut self, now: UnixNanos, alone: &mut [u64; LEGS_MAX]) {
        let is_over = |first: &mut First| now.is_over(first.since, LEG_ALIVE_FOR);
        while let Some(first) = self.firsts.pop_front_if(is_over) {
            if !first.shared
                && let Some(count) = alone.get_mut(first.leg.index())
            {
                *count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeedSession, Legs};

    fn at(millis: i64) -> UnixNanos {
        UnixNanos::new((1_600_000_000_000 + millis) * 1_000_000)
    }

    #[test]
    fn keeps_score() {
        let mut legs = Legs::new(at(0));
        let mut leg = |id: &str| legs.hear(&FeedSession { id: id.into(), started: at(0) }, at(0));
        let (one, two) = (leg("a-1"), leg("b-1"));
        let mut race = Race::default();
        race.first(10, at(0), one, false, at(1));
        race.first(20, at(5), two, false, at(6));
        race.first(30, at(9), two, true, at(20));
        assert_eq!(race.again(10, at(40), two), Some(Duration::from_millis(40)));
        assert_eq!(race.again(20, at(5), two), None, "itself");
        assert_eq!(race.again(15, at(5), two), None, "unknown");
        assert_eq!(
            race.again(30, at(2), one),
            Some(Duration::ZERO),
            "it was received earlier and came later"
        );
        let mut alone = [0; LEGS_MAX];
        race.settle(at(10_000), &mut alone);
        assert_eq!(alone.iter().sum::<u64>(), 0, "the others still have time");
        race.settle(at(10_020), &mut alone);
        assert_eq!((alone[one.index()], alone[two.index()]), (0, 1));
        assert!(race.firsts.is_empty());
    }

    #[test]
    fn a_new_run_starts_anew_and_memory_is_bounded() {
        let one = Legs::new(at(0)).hear(&FeedSession { id: "a-1".into(), started: at(0) }, at(0));
        let mut race = Race::default();
        for sequence in 1..=FIRSTS_MAX as u64 + 1 {
            race.first(sequence, at(0), one, false, at(0));
        }
        assert_eq!(race.firsts.len(), FIRSTS_MAX);
        race.first(1, at(0), one, false, at(0));
        assert_eq!(race.firsts.len(), 1);
    }
}
