//! What was refused, and why.

use crate::{Instrument, Tick, UnixNanos};

/// The most bytes of a refused frame that are kept.
pub const REJECT_RAW_BYTES_MAX: usize = 64 * 1024;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectReason {
    /// The frame or message could not be decoded.
    Undecodable,
    /// A field that every tick must have is missing.
    MissingField,
    /// A number is malformed or cannot be held exactly.
    InvalidNumber,
    /// A price or size is zero or negative where it must be positive.
    NotPositive,
    /// The best bid is above the best ask.
    CrossedBook,
    /// The time is malformed, before 2010, or too far in the future.
    ImplausibleTime,
    /// Its place in the sequence has passed and it was not seen before.
    OutOfOrder,
    /// The product is not configured.
    UnknownProduct,
    /// It is older than what history keeps.
    TooOld,
    /// The database refuses it, or it is too large for the broker, whatever else is sent.
    Unstorable,
    /// A worker failed at it again and again, for a reason that lies in it.
    Unprocessable,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Undecodable,
        Self::MissingField,
        Self::InvalidNumber,
        Self::NotPositive,
        Self::CrossedBook,
        Self::ImplausibleTime,
        Self::OutOfOrder,
        Self::UnknownProduct,
        Self::TooOld,
        Self::Unstorable,
        Self::Unprocessable,
    ];

    /// The name as it stands in subjects and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::MissingField => "missing_field",
            Self::InvalidNumber => "invalid_number",
            Self::NotPositive => "not_positive",
            Self::CrossedBook => "crossed_book",
            Self::ImplausibleTime => "implausible_time",
            Self::OutOfOrder => "out_of_order",
            Self::UnknownProduct => "unknown_product",
            Self::TooOld => "too_old",
            Self::Unstorable => "unstorable",
            Self::Unprocessable => "unprocessable",
        }
    }
}

/// Something that was refused, kept with the reason so that nothing disappears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedTick {
    /// Where and what; `None` when the frame does not tell or the product is not configured.
    pub instrument: Option<Instrument>,
    /// The tick, when it could be read that far.
    pub tick: Option<Tick>,
    /// The bytes as received, cut at 64 KiB; empty when `tick` says it all.
    pub raw: Vec<u8>,
    /// The full length of the bytes.
    pub raw_length: u64,
    /// Why.
    pub reason: RejectReason,
    /// Why, precisely: the field, the value, what is allowed.
    pub detail: String,
    /// Which role and instance refused it.
    pub source: String,
    /// When it was refused, by our clock.
    pub time: UnixNanos,
    /// What makes it the same one when it is refused twice: the message in `LF_RAW` and the index in it, or the
    /// connection and the number of the frame.
    pub identity: String,
}

impl RejectedTick {
    /// Keeps at most 64 KiB of `raw`.
    pub fn clip(raw: &[u8]) -> Vec<u8> {
        raw.get(..REJECT_RAW_BYTES_MAX).unwrap_or(raw).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn reasons_have_names_that_fit_into_subjects() {
        let names: BTreeSet<&str> = RejectReason::ALL.into_iter().map(RejectReason::as_str).collect();
        assert_eq!(names.len(), RejectReason::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        assert_eq!(RejectedTick::clip(&[7; 10]), [7; 10]);
        assert_eq!(RejectedTick::clip(&vec![0; REJECT_RAW_BYTES_MAX + 1]).len(), REJECT_RAW_BYTES_MAX);
    }
}
