//! A line of the log for each refused tick, where the log is all that is left of it: a broker in memory ends with the process,
//! and nobody else can read its rejects.

use std::time::{Duration, Instant};

use domain::{RejectedTick, Shard};
use tracing::warn;

/// How many lines a second: a feed of garbage must not fill a disk. What comes beyond it is counted in one line.
const LINES_PER_SECOND: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// What was refused, told.
pub(crate) struct Refusals {
    shard: Shard,
    budget: Budget,
}

impl Refusals {
    pub(crate) fn new(shard: Shard) -> Self {
        Self { shard, budget: Budget::default() }
    }

    /// Tells of one that is filed now.
    pub(crate) fn tell(&mut self, reject: &RejectedTick) {
        self.tell_rest();
        if !self.budget.may_write(Instant::now()) {
            return;
        }
        let product = reject.instrument.as_ref().map(|instrument| instrument.product.as_str());
        let trade_id = reject.tick.as_ref().and_then(domain::Tick::trade_id);
        let (id, reason, detail) = (&reject.identity, reject.reason.as_str(), &reject.detail);
        warn!(shard = %self.shard, id, product, trade_id, reason, detail, "refused");
    }

    /// Tells how many there were beyond those that have a line, once their second is over.
    pub(crate) fn tell_rest(&mut self) {
        if let Some(rejects) = self.budget.rest(Instant::now()) {
            self.tell_count(rejects);
        }
    }

    fn tell_count(&self, rejects: u64) {
        warn!(shard = %self.shard, rejects, "refused, without a line for each: too many within a second");
    }
}

impl Drop for Refusals {
    fn drop(&mut self) {
        if self.budget.held_back > 0 {
            self.tell_count(self.budget.held_back);
        }
    }
}

#[derive(Debug, Default)]
struct Budget {
    since: Option<Instant>,
    written: u32,
    held_back: u64,
}

impl Budget {
    /// Whether one more line may be written; otherwise it counts as held back.
    fn may_write(&mut self, now: Instant) -> bool {
        if self.is_over(now) {
            (self.since, self.written) = (Some(now), 0);
        }
        let may = self.written < LINES_PER_SECOND;
        self.written += u32::from(may);
        self.held_back += u64::from(!may);
        may
    }

    /// How many were held back in a second that is over.
    fn rest(&mut self, now: Instant) -> Option<u64> {
        (self.held_back > 0 && self.is_over(now)).then(|| std::mem::take(&mut self.held_back))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_written_or_counted() {
        let start = Instant::now();
        let mut budget = Budget::default();
        let written = (0..50).filter(|_| budget.may_write(start)).count();
        assert_eq!((written, budget.rest(start)), (20, None), "the second is not over");
        let later = start + PERIOD;
        assert_eq!((budget.rest(later), budget.rest(later)), (Some(30), None));
        assert!(budget.may_write(later));
        assert_eq!(budget.rest(later + PERIOD), None);
    }
}
