//! Keeping to a rate that the exchange allows, over everything in this process that shares it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many turns a second on average, and so many at once. Who asks gets a turn in order; nobody is refused.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    /// How far ahead of the average a burst may run.
    ahead_max: Duration,
    /// When the next turn would be due, were there no bursts.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, ahead_max: interval * burst.saturating_sub(1), due: Mutex::default() }
    }

    /// Waits for a turn. One that is dropped while it waits is used up.
    pub(crate) async fn turn(&self) {
        let wait = self.reserve(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn reserve(&self, now: Instant) -> Duration {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = due.map_or(now, |due| due.max(now));
        *due = Some(mine + self.interval);
        mine.saturating_duration_since(now).saturating_sub(self.ahead_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_holds() {
        let pace = Pace::new(8, 20);
        let start = Instant::now();
        let mut waits: Vec<Duration> = (0..36).map(|_| pace.reserve(start)).collect();
        let after_burst = waits.split_off(20);
        assert!(waits.iter().all(Duration::is_zero));
        assert_eq!(after_burst[0], Duration::from_millis(125));
        assert_eq!(after_burst[15], Duration::from_secs(2));
        let later = start + Duration::from_secs(60);
        assert!((0..20).all(|_| pace.reserve(later).is_zero()), "a pause gives the burst back");
        assert!(!pace.reserve(later).is_zero());
    }

    #[test]
    fn without_a_burst_turns_are_spread_evenly() {
        let pace = Pace::new(5, 1);
        let start = Instant::now();
        let waits: Vec<u128> = (0..3).map(|_| pace.reserve(start).as_millis()).collect();
        assert_eq!(waits, [0, 200, 400]);
    }
}
