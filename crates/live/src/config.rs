//! The limits of what is kept in memory.

use std::{num::NonZeroUsize, time::Duration};

use crate::LiveTick;

/// How much is kept. The crate that uses `live` fills it from its own section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most ticks kept for each product. A subscriber that falls further behind can only be given the newest.
    pub ring_ticks_max: NonZeroUsize,
    /// How many ticks of a product are kept however old they are, within the limits.
    pub ring_ticks_kept: NonZeroUsize,
    /// How long further ticks are kept, within the limits. At its start the feed reads the ticks of this time from the stream,
    /// as far as it can be done at once; with zero it starts with the newest ones alone.
    pub ring_age: Duration,
    /// The most bytes kept for each product, the encoded frames of its ticks included (estimated).
    pub ring_bytes_max: usize,
    /// The most products. Ticks of further products are counted and left out, so that memory stays bounded whatever
    /// appears on the bus.
    pub products_max: usize,
    /// The most feed events kept for subscribers.
    pub events_max: NonZeroUsize,
}

impl Config {
    /// How many ticks both limits leave room for; at least the newest one.
    pub(crate) fn ring_room(&self) -> usize {
        self.ring_ticks_max.get().min((self.ring_bytes_max / LiveTick::bytes()).max(1))
    }
}

impl Default for Config {
    /// For each of at most 10,000 products the newest 2,048 ticks and those of the last minute, up to 16,384 ticks and
    /// 40 MiB: a minute of 270 ticks per second, more than the busiest product of one exchange has. 1,024 events.
    fn default() -> Self {
        Self {
            ring_ticks_max: NonZeroUsize::MIN.saturating_add(16_383),
            ring_ticks_kept: NonZeroUsize::MIN.saturating_add(2_047),
            ring_age: Duration::from_secs(60),
            ring_bytes_max: 40 * 1024 * 1024,
            products_max: 10_000,
            events_max: NonZeroUsize::MIN.saturating_add(1_023),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_bounded_in_ticks_and_in_bytes() {
        let config = Config { ring_ticks_max: 3.try_into().unwrap(), ..Config::default() };
        assert_eq!(config.ring_room(), 3);
        let config = Config { ring_bytes_max: 2 * LiveTick::bytes(), ..Config::default() };
        assert_eq!(config.ring_room(), 2);
        // However small the limit, the newest tick is there.
        assert_eq!(Config { ring_bytes_max: 1, ..Config::default() }.ring_room(), 1);
        assert_eq!(Config::default().ring_room(), 16_384);
    }
}
