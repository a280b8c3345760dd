//! What a subscriber asks for.

use std::{num::NonZeroU64, time::Duration};

use domain::{Instrument, Position, UnixNanos};

use crate::{Rate, Token};

/// Where a product's deliveries begin.
///
/// The past is given whole, in order, and followed by the present without a seam; or not at all, and then
/// [`crate::Event::NotRecovered`] says why and the product starts with its full state. While the past is given, no policy
/// leaves anything out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next tick.
    Now,
    /// With the full state, then every tick after it.
    Snapshot,
    /// With the first tick in order of position that happened at or after this time by the exchange's clock.
    Time(UnixNanos),
    /// With the first tick at or after this sequence of the newest run.
    Sequence(u64),
    /// With the first tick after this one, which the subscriber has.
    After(Position),
    /// After the place of the product in the token. A product that the token has no place of starts with its full state,
    /// or, in a token of all products, with its first tick, unless it had been left before.
    Token(Token),
}

/// Which products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Products {
    /// These; those that are not known yet from their first tick on.
    These(Vec<Instrument>),
    /// All, also those that appear later; not those that a token to start with says were left.
    All,
}

impl Products {
    /// Those that a token of a whole subscription is of.
    pub fn of(token: &Token) -> Self {
        if token.is_of_all() { Self::All } else { Self::These(token.instruments().cloned().collect()) }
    }
}

/// What happens when a subscriber cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It gets the newest tick of each product, with the count of what was left out.
    Conflate {
        /// How many ticks of one product a subscriber may be behind before it is given the newest only.
        behind_max: NonZeroU64,
        /// How fast it is sent to; `None` for as fast as it reads.
        rate: Option<Rate>,
        /// At most one tick of each product in this time; `None` for every tick while it keeps up.
        interval: Option<Duration>,
    },
    /// It gets every tick, and an end when one of them is no longer here.
    Lossless,
}

impl Default for Policy {
    /// Conflate beyond 512 ticks or the default rate.
    fn default() -> Self {
        let behind_max = NonZeroU64::MIN.saturating_add(511);
        Self::Conflate { behind_max, rate: Some(Rate::default()), interval: None }
    }
}
