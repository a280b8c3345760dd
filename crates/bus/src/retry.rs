//! How long to wait before the next attempt.

use std::time::Duration;

use uuid::Uuid;

/// Delays that double from a minimum to a maximum, each cut by a random part of its half so that many who failed
/// together do not come back together.
#[derive(Clone, Debug)]
pub(crate) struct RetryDelays {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl RetryDelays {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        cut(delay)
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

/// The same without a random part of its half.
pub(crate) fn cut(delay: Duration) -> Duration {
    // The only source of randomness this crate has is that of its ids.
    let random = u32::from(Uuid::new_v4().as_bytes()[0]);
    delay - delay / 2 * random / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_maximum_and_starts_again() {
        let mut delays = RetryDelays::new(Duration::from_millis(50), Duration::from_millis(150));
        for longest in [50, 100, 150, 150] {
            let delay = delays.next_delay();
            let longest = Duration::from_millis(longest);
            assert!(longest / 2 <= delay && delay <= longest, "{delay:?}");
        }
        delays.reset();
        assert!(delays.next_delay() <= Duration::from_millis(50));
    }
}
