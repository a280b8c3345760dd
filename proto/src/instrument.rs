//! Names of venues and products.

use domain::{Instrument, InvalidInstrument, Product, Venue};
use thiserror::Error;

/// A message does not say of which product it is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidName {
    /// The venue must not be empty.
    #[error("venue is missing")]
    MissingVenue,
    /// The product must not be empty.
    #[error("product is missing")]
    MissingProduct,
    /// A name has characters or a length that no name has.
    #[error(transparent)]
    Malformed(#[from] InvalidInstrument),
}

/// The instrument that a request names, where an empty venue means `coinbase`.
pub fn requested_instrument(venue: &str, product: &str) -> Result<Instrument, InvalidName> {
    let venue = if venue.is_empty() { Venue::coinbase() } else { Venue::new(venue)? };
    if product.is_empty() {
        return Err(InvalidName::MissingProduct);
    }
    Ok(Instrument { venue, product: Product::new(product)? })
}

pub(crate) fn encode(instrument: &Instrument) -> (String, String) {
    (instrument.venue.as_str().to_owned(), instrument.product.as_str().to_owned())
}

pub(crate) fn decode(venue: &str, product: &str) -> Result<Instrument, InvalidName> {
    if venue.is_empty() {
        return Err(InvalidName::MissingVenue);
    }
    if product.is_empty() {
        return Err(InvalidName::MissingProduct);
    }
    Ok(Instrument::new(venue, product)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_venue_in_a_request_is_coinbase() {
        let expected = Instrument::new("coinbase", "BTC-USD").unwrap();
        assert_eq!(requested_instrument("", "BTC-USD"), Ok(expected.clone()));
        assert_eq!(requested_instrument("coinbase", "BTC-USD"), Ok(expected));
        assert_eq!(requested_instrument("", ""), Err(InvalidName::MissingProduct));
        let malformed = |result| matches!(result, Err(InvalidName::Malformed(_)));
        assert!(malformed(requested_instrument("Coin Base", "BTC-USD")));
        assert!(malformed(requested_instrument("", "BTC USD")));
    }

    #[test]
    fn a_stored_message_must_name_both() {
        assert_eq!(decode("", "BTC-USD"), Err(InvalidName::MissingVenue));
        assert_eq!(decode("coinbase", ""), Err(InvalidName::MissingProduct));
        assert!(decode("coinbase", "BTC-USD").is_ok());
    }
}
