//! How fast a subscriber may be sent to.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// A rate of messages with room for bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Messages per second in the long run.
    pub per_second: NonZeroU32,
    /// Messages at once after a pause.
    pub burst: NonZeroU32,
}

impl Default for Rate {
    /// 100 messages per second, 200 at once.
    fn default() -> Self {
        Self { per_second: NonZeroU32::MIN.saturating_add(99), burst: NonZeroU32::MIN.saturating_add(199) }
    }
}

/// A token bucket, full at first. It reads no clock: `now` must not go back.
///
/// Instead of a count it holds the time at which it will be full again, so that refilling needs no work and no rounding:
/// a token is worth `1 / rate` seconds.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    token: Duration,
    capacity: Duration,
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        let token = Duration::from_secs(1) / rate.per_second.get();
        Self { token, capacity: token * rate.burst.get(), full_at: None }
    }

    /// Takes a token, or says how long to wait for the next one.
    pub fn try_take(&mut self, now: Instant) -> Result<(), Duration> {
        let missing = self.missing(now) + self.token;
        if missing > self.capacity {
            return Err(missing - self.capacity);
        }
        self.full_at = Some(now + missing);
        Ok(())
    }

    /// Whether at least half of the tokens are there.
    pub fn is_half_full(&self, now: Instant) -> bool {
        self.missing(now) * 2 <= self.capacity
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() }
    }

    #[test]
    fn gives_the_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Rate::default());
        let taken = (0..1_000).filter(|_| bucket.try_take(start).is_ok()).count();
        assert_eq!(taken, 200);
        assert_eq!(bucket.try_take(start), Err(Duration::from_millis(10)));
        assert_eq!(bucket.try_take(start + Duration::from_millis(10)), Ok(()));
        assert!(bucket.try_take(start + Duration::from_millis(10)).is_err());
        assert!(!bucket.is_half_full(start + Duration::from_millis(500)));
        assert!(bucket.is_half_full(start + Duration::from_millis(1_010)));
    }

    proptest! {
        #[test]
        fn never_gives_more_than_burst_plus_rate(
            per_second in 1u32..1_000,
            burst in 1u32..500,
            pauses in prop::collection::vec(0u64..20_000_000, 1..400),
        ) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(rate(per_second, burst));
            let (mut now, mut taken) = (start, 0u128);
            for pause in pauses {
                now += Duration::from_nanos(pause);
                if bucket.try_take(now).is_ok() {
                    taken += 1;
                }
                // A token is rounded down to a nanosecond, which the one extra token covers.
                let earned = (now - start).as_nanos() * u128::from(per_second) / 1_000_000_000;
                prop_assert!(taken <= u128::from(burst) + earned + 1);
            }
        }

        #[test]
        fn a_token_is_there_after_the_time_it_names(per_second in 1u32..1_000, burst in 1u32..50) {
            let now = Instant::now();
            let mut bucket = TokenBucket::new(rate(per_second, burst));
            while bucket.try_take(now).is_ok() {}
            let wait = bucket.try_take(now).unwrap_err();
            prop_assert!(bucket.try_take(now + wait).is_ok());
        }
    }
}
