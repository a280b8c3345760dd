//! Exact decimal numbers, as exchanges send them.

pub use rust_decimal::Decimal;
use thiserror::Error;

/// Why a text is not a number that LedgerFlux can hold exactly.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidNumber {
    /// The text is empty.
    #[error("the number is empty")]
    Empty,
    /// The text is not of the form `-?digits(.digits)?`.
    #[error("{0:?} is not a plain decimal number")]
    Malformed(String),
    /// The number needs more than the 28 digits that can be held without rounding.
    #[error("{0:?} has more digits than can be held exactly (28)")]
    TooPrecise(String),
}

/// Reads a decimal in plain notation (`-?digits(.digits)?`), keeping every digit, trailing zeros included.
///
/// Exponents, signs other than a leading minus, blanks and separators are faults: no exchange sends them in JSON, and a
/// lenient parser would hide a corrupted frame. A number that does not fit in 96 bits is refused instead of rounded.
pub fn parse_number(text: &str) -> Result<Decimal, InvalidNumber> {
    if let Some(number) = short_number(text) {
        return Ok(number);
    }
    if text.is_empty() {
        return Err(InvalidNumber::Empty);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || fraction.is_some_and(|part| !plain(part)) {
        return Err(InvalidNumber::Malformed(clip(text)));
    }
    Decimal::from_str_exact(text).map_err(|_| InvalidNumber::TooPrecise(clip(text)))
}

/// The most digits that are summed up without looking whether they fit.
const SHORT_DIGITS_MAX: u32 = 18;

/// A number of few digits without a sign, which nearly all are: read in one pass. `None` for every other text.
fn short_number(text: &str) -> Option<Decimal> {
    let (mut units, mut digits, mut fraction) = (0_u64, 0_u32, None);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if digits < SHORT_DIGITS_MAX => {
                units = units * 10 + u64::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && fraction.is_none() => fraction = Some(digits),
            _ => return None,
        }
    }
    let scale = digits - fraction.unwrap_or(digits);
    if digits == 0 || fraction.is_some() && scale == 0 {
        return None;
    }
    let [low @ .., a, b, c, d] = units.to_le_bytes();
    Some(Decimal::from_parts(u32::from_le_bytes(low), u32::from_le_bytes([a, b, c, d]), 0, false, scale))
}

/// The sum of two numbers; `None` when it cannot be held exactly. The library's own addition would round it.
pub(crate) fn add_exact(left: Decimal, right: Decimal) -> Option<Decimal> {
    let sum = left.checked_add(right)?;
    let digits_after_point = |number: Decimal| number.normalize().scale();
    let needed = digits_after_point(left).max(digits_after_point(right));
    // A result that does not fit is given fewer digits after the point than its parts have.
    (sum.scale() >= needed).then_some(sum)
}

/// Faults quote what they refuse, but never at unbounded length.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_every_digit() {
        for text in ["0.00000001", "888888004.0000", "948687088.00000000", "18187.00", "0", "-0.5", "58800"] {
            assert_eq!(parse_number(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(parse_number(""), Err(InvalidNumber::Empty));
        for text in
            ["0.-10000", "1e5", "1E-8", "+1", " 1", "1.", ".5", "1_000", "NaN", "inf", "--1", "1.2.3", "１"]
        {
            assert_eq!(parse_number(text), Err(InvalidNumber::Malformed(text.into())), "{text}");
        }
        let long = "1234567890123456789012345678901234567890";
        assert_eq!(parse_number(long), Err(InvalidNumber::TooPrecise(long.into())));
        let deep = "0.00000000000000000000000000000000000000000001";
        assert_eq!(parse_number(deep), Err(InvalidNumber::TooPrecise(deep.into())));
    }

    #[test]
    fn a_sum_that_would_be_rounded_is_refused() {
        let number = |text| parse_number(text).unwrap();
        let (large, small) = (number("7922816251426433759354395033"), number("0.01"));
        assert!(large.checked_add(small).is_some(), "the library rounds");
        assert_eq!(add_exact(large, small), None);
        assert_eq!(add_exact(small, large), None);
        assert_eq!(add_exact(large, number("1.00")), Some(number("7922816251426433759354395034")));
        assert_eq!(add_exact(Decimal::MAX, Decimal::ONE), None);
        assert_eq!(add_exact(number("0.1"), number("0.20")), Some(number("0.30")));
    }

    proptest! {
        /// Against whole numbers of the smallest unit.
        #[test]
        fn sums_are_exact(
            left in -(1i64 << 60)..(1i64 << 60), right in -(1i64 << 60)..(1i64 << 60),
            left_scale in 0u32..18, right_scale in 0u32..18,
        ) {
            let unit = |mantissa: i64, scale: u32| i128::from(mantissa) * 10i128.pow(18 - scale);
            if let Some(sum) = add_exact(Decimal::new(left, left_scale), Decimal::new(right, right_scale)) {
                let expected = unit(left, left_scale) + unit(right, right_scale);
                prop_assert_eq!(sum.mantissa() * 10i128.pow(18 - sum.scale()), expected);
            }
        }

        /// The quick way and the thorough one agree, also on what is no number.
        #[test]
        fn short_numbers_are_read_as_long_ones_are(text in "[0-9]{0,12}[.]?[0-9]{0,12}|[0-9.e-]{0,6}") {
            let thorough = Decimal::from_str_exact(&text).ok();
            if let Some(number) = short_number(&text) {
                prop_assert_eq!(Some(number), thorough);
                prop_assert_eq!(Some(number.scale()), thorough.map(|number| number.scale()));
                prop_assert_eq!(number.to_string(), thorough.unwrap().to_string());
            }
        }

        #[test]
        fn text_round_trips(mantissa in -(1i64 << 60)..(1i64 << 60), scale in 0u32..18) {
            let number = Decimal::new(mantissa, scale);
            let text = number.to_string();
            let read = parse_number(&text).unwrap();
            prop_assert_eq!(read, number);
            prop_assert_eq!(read.to_string(), text);
        }
    }
}
