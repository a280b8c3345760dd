//! Decimals as strings.

use domain::{Decimal, InvalidNumber, parse_number};
use thiserror::Error;

/// A field that must hold a decimal does not.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field} is not a decimal")]
pub struct InvalidDecimal {
    /// The field, by its path in the message, e.g. `last_trade.price`.
    pub field: &'static str,
    /// What is wrong with it.
    #[source]
    pub source: InvalidNumber,
}

pub(crate) fn encode(number: Decimal) -> String {
    number.to_string()
}

pub(crate) fn encode_optional(number: Option<Decimal>) -> Option<String> {
    number.map(encode)
}

pub(crate) fn decode(field: &'static str, text: &str) -> Result<Decimal, InvalidDecimal> {
    parse_number(text).map_err(|source| InvalidDecimal { field, source })
}

pub(crate) fn decode_optional(
    field: &'static str,
    text: Option<&String>,
) -> Result<Option<Decimal>, InvalidDecimal> {
    text.map(|text| decode(field, text)).transpose()
}
