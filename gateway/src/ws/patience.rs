//! How many messages a client may send.

use std::{num::NonZeroU32, time::Instant};

use live::{Rate, TokenBucket};

use super::refusal::{Code, Refusal};

/// Messages per second in the long run: a person or a program that changes its products needs a few.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// At once: one for each of as many products as a connection may have.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);
/// So many refusals end the connection, unless it keeps still for a while in between.
const REFUSED_MAX: u32 = 1_000;

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Served,
    Refused(Refusal),
    /// The client does not take the refusals to heart.
    Enough,
}

/// The patience with one client.
#[derive(Debug)]
pub(super) struct Patience {
    bucket: TokenBucket,
    refused: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { bucket: TokenBucket::new(Rate { per_second: PER_SECOND, burst: BURST }), refused: 0 }
    }
}

impl Patience {
    /// Judges a message that comes now.
    pub(super) fn hear(&mut self, now: Instant) -> Verdict {
        if self.bucket.is_half_full(now) {
            self.refused = 0;
        }
        match self.bucket.try_take(now) {
            Ok(()) => Verdict::Served,
            Err(_) if self.refused >= REFUSED_MAX => Verdict::Enough,
            Err(wait) => {
                self.refused += 1;
                let message = format!(
                    "more than {PER_SECOND} messages a second: not done, try again in {} ms",
                    wait.as_millis().max(1)
                );
                Verdict::Refused(Refusal::new(Code::TooManyRequests, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_storm_is_refused_and_then_ended() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for _ in 0..BURST.get() {
            assert_eq!(patience.hear(now), Verdict::Served);
        }
        for _ in 0..REFUSED_MAX {
            let Verdict::Refused(refusal) = patience.hear(now) else { panic!("served or ended") };
            assert_eq!(refusal.code, Code::TooManyRequests);
        }
        assert_eq!(patience.hear(now), Verdict::Enough);
        // A little rest is not enough, however often it is taken; a longer one is.
        assert_eq!(patience.hear(now + Duration::from_millis(10)), Verdict::Served);
        assert_eq!(patience.hear(now + Duration::from_millis(10)), Verdict::Enough);
        let rested = now + Duration::from_secs(6);
        let served = (0..700).filter(|_| patience.hear(rested) == Verdict::Served).count();
        assert_eq!(served, 599);
        assert!(matches!(patience.hear(rested), Verdict::Refused(_)));
    }

    #[test]
    fn who_keeps_to_the_rate_is_served_for_ever() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        for number in 0..5_000 {
            assert_eq!(patience.hear(start + Duration::from_millis(10) * number), Verdict::Served);
        }
    }
}
