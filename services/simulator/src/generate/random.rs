//! Pseudo-random numbers that are the same for the same seed on every machine and in every release.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for a market, useless for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end - 1`; 0 when `end` is 0. The tiny bias towards low numbers does not matter here.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let number = self.next();
        number.checked_rem(end).unwrap_or(0)
    }

    /// `-by` to `by`.
    pub(crate) fn around(&mut self, by: i64) -> i64 {
        let width = by.unsigned_abs().saturating_mul(2).saturating_add(1);
        i64::try_from(self.below(width)).unwrap_or(0).saturating_sub(by.abs())
    }

    /// True `chance` times in 100.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// How long until the next of events that come `rate` times a second on average, independent of one another.
    pub(crate) fn pause(&mut self, rate: u32) -> Duration {
        // 53 bits make a uniform number in (0, 1]; no price is involved.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64((-uniform.ln() / f64::from(rate.max(1))).min(60.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_reference() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn ranges_are_kept() {
        let mut random = Random::new(7);
        assert_eq!(random.below(0), 0);
        for _ in 0..1_000 {
            assert!(random.below(3) < 3);
            assert!((-2..=2).contains(&random.around(2)));
        }
        let total: Duration = (0..10_000).map(|_| random.pause(1_000)).sum();
        assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&total), "{total:?}");
    }
}
