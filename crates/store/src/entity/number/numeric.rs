//! PostgreSQL's binary NUMERIC.

use domain::Decimal;

/// What stands in front of the digits: how many groups of four there are, the power of 10,000 of the first, the sign, and how
/// many decimals are shown (`src/backend/utils/adt/numeric.c`, numeric_send).
const HEADER_BYTES: usize = 8;
const NEGATIVE: u16 = 0x4000;

/// The number with as many decimals as it is stored with; `None` for what a [`Decimal`] cannot hold: NaN, infinity, more than
/// 28 decimals or 96 bits.
pub(super) fn decode(bytes: &[u8]) -> Option<Decimal> {
    let (header, groups) = bytes.split_at_checked(HEADER_BYTES)?;
    let field = |index: usize| u16::from_be_bytes([header[2 * index], header[2 * index + 1]]);
    let (count, weight) = (field(0), i32::from(field(1).cast_signed()));
    let (sign, scale) = (field(2), field(3));
    if groups.len() != usize::from(count) * 2 || !matches!(sign, 0 | NEGATIVE) {
        return None;
    }
    let mut mantissa: i128 = 0;
    for group in groups.chunks_exact(2) {
        let group = u16::from_be_bytes([group[0], group[1]]);
        mantissa = mantissa.checked_mul(10_000)?.checked_add(group.into())?;
    }
    // The last group counts in this power of ten; the number is to count in the power that its scale says.
    let power = (weight + 1 - i32::from(count)) * 4 + i32::from(scale);
    let factor = 10_i128.checked_pow(power.unsigned_abs())?;
    let mantissa = match power {
        // Decimals beyond the scale are zero.
        ..0 => divide(mantissa, factor),
        0.. => mantissa.checked_mul(factor)?,
    };
    let signed = if sign == NEGATIVE { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(signed, scale.into()).ok()
}

/// In 64 bits where possible, which is many times quicker.
fn divide(mantissa: i128, factor: i128) -> i128 {
    match (u64::try_from(mantissa), u64::try_from(factor)) {
        (Ok(mantissa), Ok(factor)) => i128::from(mantissa / factor),
        _ => mantissa / factor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(weight: i16, sign: u16, scale: u16, groups: &[u16]) -> Vec<u8> {
        let count = u16::try_from(groups.len()).unwrap();
        let header = [count, weight.cast_unsigned(), sign, scale];
        header.iter().chain(groups).flat_map(|field| field.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_keep_their_decimals() {
        let cases = [
            (bytes(1, 0, 2, &[6, 1000, 100]), "61000.01"),
            (bytes(1, 0, 2, &[6, 1000, 5000]), "61000.50"),
            (bytes(0, 0, 2, &[18]), "18.00"),
            (bytes(-2, 0, 8, &[1]), "0.00000001"),
            (bytes(-2, NEGATIVE, 8, &[1]), "-0.00000001"),
            (bytes(2, 0, 0, &[1]), "100000000"),
            (bytes(0, 0, 0, &[]), "0"),
            (bytes(0, 0, 4, &[]), "0.0000"),
            (bytes(4, 0, 8, &[1234, 5678, 9012, 3456, 7890, 1234, 5678]), "12345678901234567890.12345678"),
            (bytes(7, 0, 0, &[7, 9228, 1625, 1426, 4337, 5935, 4395, 335]), "79228162514264337593543950335"),
        ];
        for (bytes, text) in cases {
            assert_eq!(decode(&bytes).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_no_decimal_can_hold_is_none() {
        assert_eq!(decode(&bytes(0, 0xC000, 0, &[])), None, "NaN");
        assert_eq!(decode(&bytes(0, 0xD000, 0, &[])), None, "infinity");
        assert_eq!(decode(&bytes(7, 0, 0, &[7, 9228, 1625, 1426, 4337, 5935, 4395, 336])), None);
        assert_eq!(decode(&bytes(-8, 0, 30, &[1])), None);
        assert_eq!(decode(&bytes(32_767, 0, 0, &[1])), None);
        assert_eq!(decode(&bytes(-32_768, 0, 0, &[1])), None);
        assert_eq!(decode(&[0, 1, 0, 0, 0, 0, 0, 0]), None, "a group is missing");
        assert_eq!(decode(&[0; 7]), None);
    }
}
