use std::time::Duration;

/// Delays between attempts, with full jitter: each is a random span from zero to a ceiling that starts at `min`, doubles
/// with each attempt and stops at `max`. Spreading over the whole span keeps many clients of one server that restarts
/// from coming back in waves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

/// The smallest ceiling: with zero a failing operation would spin.
const CEILING_MIN: Duration = Duration::from_millis(1);

impl Backoff {
    /// Ceilings from `min` to `max`; a `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Backoff {
        let min = min.max(CEILING_MIN);
        Backoff { min, max: max.max(min), ceiling: min }
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.max);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(fastrand::u64(0..=nanos))
    }

    /// Begins again at the shortest delays, after a success that lasted.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }

    /// The longest delay.
    pub fn max(&self) -> Duration {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_below_a_ceiling_that_doubles_up_to_the_cap_and_resets() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for ceiling_ms in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(backoff.ceiling, Duration::from_millis(ceiling_ms));
            assert!(backoff.next_delay() <= Duration::from_millis(ceiling_ms));
        }
        backoff.reset();
        assert_eq!(backoff.ceiling, Duration::from_millis(100));
    }

    #[test]
    fn delays_spread_over_the_whole_span() {
        let span = Duration::from_secs(1);
        let delays: Vec<Duration> = (0..200).map(|_| Backoff::new(span, span).next_delay()).collect();
        assert!(delays.iter().any(|delay| *delay < span / 4));
        assert!(delays.iter().any(|delay| *delay > span * 3 / 4));
    }

    #[test]
    fn odd_limits_do_no_harm() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert!(backoff.next_delay() <= CEILING_MIN);
        let mut backoff = Backoff::new(Duration::MAX, Duration::ZERO);
        backoff.next_delay();
        assert_eq!(backoff.max(), Duration::MAX);
    }
}
