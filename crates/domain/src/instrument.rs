//! What is traded where.

use std::{fmt, sync::Arc};

use thiserror::Error;

/// The longest name of a venue, in bytes.
pub const VENUE_BYTES_MAX: usize = 32;
/// The longest name of a product, in bytes.
pub const PRODUCT_BYTES_MAX: usize = 64;

/// Why a text names no venue or product.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidInstrument {
    /// A venue is 1 to 32 characters of `a-z`, `0-9`, `_` and `-`.
    #[error("{0:?} is not a venue: 1 to 32 characters of a-z, 0-9, _ and -")]
    Venue(String),
    /// A product is 1 to 64 bytes of visible text without blanks, quotes, `<`, `>`, `&` and control characters.
    #[error("{0:?} is not a product: 1 to 64 bytes of visible characters")]
    Product(String),
}

/// An exchange, e.g. `coinbase`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Venue(Arc<str>);

/// What an exchange trades, by the exchange's own name, e.g. `BTC-USD`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Product(Arc<str>);

impl Venue {
    /// Checks a venue's name: 1 to 32 characters of `a-z`, `0-9`, `_` and `-`.
    pub fn new(name: &str) -> Result<Self, InvalidInstrument> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > VENUE_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(InvalidInstrument::Venue(name.chars().take(64).collect()));
        }
        Ok(Self(name.into()))
    }

    /// The Coinbase Exchange.
    pub fn coinbase() -> Self {
        Self("coinbase".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Product {
    /// Checks a product's name: 1 to 64 bytes of visible characters, none of which could break out of a subject, a log
    /// line or a page.
    pub fn new(name: &str) -> Result<Self, InvalidInstrument> {
        let forbidden =
            |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '&' | '\\');
        if name.is_empty() || name.len() > PRODUCT_BYTES_MAX || name.chars().any(forbidden) {
            return Err(InvalidInstrument::Product(name.chars().take(64).collect()));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A product of a venue: the unit of order. Everything about one instrument happens in one sequence. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instrument {
    /// Where it is traded.
    pub venue: Venue,
    /// What is traded.
    pub product: Product,
}

impl Instrument {
    /// Checks both names.
    pub fn new(venue: &str, product: &str) -> Result<Self, InvalidInstrument> {
        Ok(Self { venue: Venue::new(venue)?, product: Product::new(product)? })
    }
}

impl fmt::Display for Instrument {
    /// `venue:product`, the form that shards are computed from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.venue, self.product)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_could_break_out() {
        for bad in ["", "BTC USD", "BTC\nUSD", "<b>", "a\"b", &"X".repeat(65)] {
            assert!(matches!(Product::new(bad), Err(InvalidInstrument::Product(_))), "{bad:?}");
        }
        for bad in ["", "Coinbase", "coin base", &"x".repeat(33)] {
            assert!(matches!(Venue::new(bad), Err(InvalidInstrument::Venue(_))), "{bad:?}");
        }
        assert_eq!(Instrument::new("coinbase", "BTC-USD").unwrap().to_string(), "coinbase:BTC-USD");
        assert!(Product::new("BTC/USD.x").is_ok());
    }
}
