//! Which worker owns which product.

use std::{fmt, num::NonZeroU16};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::Instrument;

/// How many shards there are unless configured.
pub const SHARDS_DEFAULT: u16 = 4;
/// The most shards.
pub const SHARDS_MAX: u16 = 1024;

/// How many shards there are: 1 to 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardCount(NonZeroU16);

/// A shard's number, below the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

/// The number is no shard count.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is not a shard count: 1 to {SHARDS_MAX}")]
pub struct InvalidShardCount(pub u64);

impl ShardCount {
    /// Checks the range of 1 to 1024.
    pub fn new(count: u64) -> Result<Self, InvalidShardCount> {
        u16::try_from(count)
            .ok()
            .filter(|count| *count <= SHARDS_MAX)
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or(InvalidShardCount(count))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// All shards in ascending order.
    pub fn shards(self) -> impl Iterator<Item = Shard> {
        (0..self.get()).map(Shard)
    }

    /// The shard with this number; `None` when there are not so many.
    pub fn shard(self, number: u64) -> Option<Shard> {
        u16::try_from(number).ok().filter(|number| *number < self.get()).map(Shard)
    }

    /// The owner of `instrument`: SHA-256 of `venue:product`, read as a big-endian integer, modulo the count.
    pub fn shard_of(self, instrument: &Instrument) -> Shard {
        let digest = Sha256::digest(instrument.to_string().as_bytes());
        let count = u32::from(self.get());
        let remainder =
            digest.iter().fold(0u32, |remainder, byte| (remainder * 256 + u32::from(*byte)) % count);
        Shard(u16::try_from(remainder).unwrap_or(0))
    }
}

impl Default for ShardCount {
    fn default() -> Self {
        Self(NonZeroU16::MIN.saturating_add(SHARDS_DEFAULT - 1))
    }
}

impl fmt::Display for ShardCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Shard {
    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_vector() {
        let four = ShardCount::default();
        assert_eq!(four.get(), 4);
        for (product, shard) in [("BTC-USD", 2), ("ETH-USD", 1), ("ADA-USD", 0)] {
            let instrument = Instrument::new("coinbase", product).unwrap();
            assert_eq!(four.shard_of(&instrument).get(), shard, "{product}");
        }
    }

    #[test]
    fn counts_have_a_range() {
        assert_eq!(ShardCount::new(0), Err(InvalidShardCount(0)));
        assert_eq!(ShardCount::new(1025), Err(InvalidShardCount(1025)));
        let one = ShardCount::new(1).unwrap();
        assert_eq!(one.shards().count(), 1);
        assert_eq!(one.shard(1), None);
        assert_eq!(one.shard_of(&Instrument::new("coinbase", "BTC-USD").unwrap()), one.shard(0).unwrap());
    }
}
