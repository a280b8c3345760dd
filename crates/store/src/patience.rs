//! How long a write may take before its connection is taken for dead.
//!
//! A connection whose other end vanished without a word answers nothing, and a disk that is slow or a table that is locked
//! looks the same from here. Giving up is harmless, since a write may always be repeated; giving up too early each time
//! would never end. So the first wait is short, and each one that was in vain doubles the next.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// After so long without a write that took too long, the next one gets the short time again.
const FORGET_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Patience {
    shortest: Duration,
    longest: Duration,
    /// The time that the next write gets, and when it was last found too short.
    grown: Mutex<Option<(Duration, Instant)>>,
}

impl Patience {
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest: shortest.min(longest), longest, grown: Mutex::new(None) }
    }

    /// How long a write that begins now may take.
    pub(crate) fn now(&self) -> Duration {
        let grown = *self.grown.lock().unwrap_or_else(PoisonError::into_inner);
        grown.filter(|(_, at)| at.elapsed() < FORGET_AFTER).map_or(self.shortest, |(time, _)| time)
    }

    /// A write did not end within `limit`.
    pub(crate) fn was_too_short(&self, limit: Duration) {
        let next = limit.saturating_mul(2).min(self.longest).max(self.now());
        *self.grown.lock().unwrap_or_else(PoisonError::into_inner) = Some((next, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn doubles_up_to_its_longest_and_forgets() {
        let second = Duration::from_secs;
        let patience = Patience::new(second(4), second(30));
        let mut waited = Vec::new();
        for _ in 0..5 {
            let limit = patience.now();
            waited.push(limit.as_secs());
            tokio::time::advance(limit).await;
            patience.was_too_short(limit);
        }
        assert_eq!(waited, [4, 8, 16, 30, 30]);
        patience.was_too_short(second(4));
        assert_eq!(patience.now(), second(30), "one that began earlier says nothing new");
        tokio::time::advance(FORGET_AFTER).await;
        assert_eq!(patience.now(), second(4));
    }
}
