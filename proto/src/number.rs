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

/// In plain notation, exactly as `to_string` gives it, but quicker: a stream of history is mostly this.
pub(crate) fn encode(number: Decimal) -> String {
    let mantissa = number.mantissa();
    let scale = usize::try_from(number.scale()).unwrap_or(0);
    let (mut narrow, mut wide) = (itoa::Buffer::new(), itoa::Buffer::new());
    let digits = match u64::try_from(mantissa.unsigned_abs()) {
        Ok(number) => narrow.format(number),
        Err(_) => wide.format(mantissa.unsigned_abs()),
    };
    let mut text = String::with_capacity(digits.len().max(scale) + 3);
    if number.is_sign_negative() {
        text.push('-');
    }
    let Some((whole, decimals)) = digits.len().checked_sub(scale).map(|point| digits.split_at(point)) else {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', scale - digits.len()));
        text.push_str(digits);
        return text;
    };
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        text.push_str(decimals);
    }
    text
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_and_the_edges_are_written_as_ever() {
        let edges =
            [(0, 0), (0, 2), (-1, 28), (1, 1), (10, 1), (7, 28), (79_228_162_514_264_337_593_543_950_335, 5)];
        for (mantissa, scale) in edges {
            let number = Decimal::from_i128_with_scale(mantissa, scale);
            assert_eq!(encode(number), number.to_string());
        }
    }

    proptest! {
        #[test]
        fn every_number_is_written_as_ever(
            number in (any::<(u32, u32, u32)>(), any::<bool>(), 0..=28_u32)
                .prop_map(|((low, mid, high), negative, scale)| Decimal::from_parts(low, mid, high, negative, scale)),
            shift in 0..96_u32,
        ) {
            let short = Decimal::from_i128_with_scale(number.mantissa() >> shift, number.scale());
            prop_assert_eq!(encode(number), number.to_string());
            prop_assert_eq!(encode(short), short.to_string());
        }
    }
}
