//! Times and durations as their well-known types.

use std::time::Duration;

use domain::UnixNanos;
use prost_types::{Duration as ProtoDuration, Timestamp};
use thiserror::Error;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A field that must hold a time or a duration does not.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{field} {fault}")]
pub struct InvalidTimestamp {
    /// The field, by its path in the message, e.g. `event_time`.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: TimeFault,
}

/// What is wrong with a time or a duration.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TimeFault {
    /// It must be present.
    #[error("is missing")]
    Missing,
    /// The nanoseconds within the second are 0 to 999999999.
    #[error("has {0} nanoseconds within a second, allowed: 0 to 999999999")]
    Nanos(i32),
    /// The years 1677 to 2262 can be held.
    #[error("is outside the years 1677 to 2262")]
    OutOfRange,
    /// A duration must not be negative.
    #[error("is a negative duration")]
    Negative,
}

/// `time` on the wire.
pub fn timestamp(time: UnixNanos) -> Timestamp {
    let seconds = time.nanos().div_euclid(NANOS_PER_SECOND);
    let nanos = i32::try_from(time.nanos().rem_euclid(NANOS_PER_SECOND)).unwrap_or(0);
    Timestamp { seconds, nanos }
}

/// Reads a time from the wire.
pub fn time(field: &'static str, timestamp: &Timestamp) -> Result<UnixNanos, InvalidTimestamp> {
    let fault = |fault| InvalidTimestamp { field, fault };
    let nanos = i64::from(timestamp.nanos);
    if !(0..NANOS_PER_SECOND).contains(&nanos) {
        return Err(fault(TimeFault::Nanos(timestamp.nanos)));
    }
    // In 128 bits: the first second that can be held starts before the first nanosecond that can.
    let total = i128::from(timestamp.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(nanos);
    i64::try_from(total).map(UnixNanos::new).map_err(|_| fault(TimeFault::OutOfRange))
}

/// Reads a time that must be present.
pub fn required_time(
    field: &'static str,
    timestamp: Option<&Timestamp>,
) -> Result<UnixNanos, InvalidTimestamp> {
    time(field, timestamp.ok_or(InvalidTimestamp { field, fault: TimeFault::Missing })?)
}

pub(crate) fn optional_time(
    field: &'static str,
    timestamp: Option<&Timestamp>,
) -> Result<Option<UnixNanos>, InvalidTimestamp> {
    timestamp.map(|timestamp| time(field, timestamp)).transpose()
}

/// `length` on the wire, held at the 10,000 years that it allows.
pub fn duration(length: Duration) -> ProtoDuration {
    const SECONDS_MAX: u64 = 315_576_000_000;
    let seconds = i64::try_from(length.as_secs().min(SECONDS_MAX)).unwrap_or(0);
    let nanos =
        if length.as_secs() >= SECONDS_MAX { 0 } else { i32::try_from(length.subsec_nanos()).unwrap_or(0) };
    ProtoDuration { seconds, nanos }
}

pub(crate) fn decode_duration(
    field: &'static str,
    length: &ProtoDuration,
) -> Result<Duration, InvalidTimestamp> {
    let fault = |fault| InvalidTimestamp { field, fault };
    if length.seconds < 0 || length.nanos < 0 {
        return Err(fault(TimeFault::Negative));
    }
    let seconds = u64::try_from(length.seconds).map_err(|_| fault(TimeFault::Negative))?;
    match u32::try_from(length.nanos) {
        Ok(nanos) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(fault(TimeFault::Nanos(length.nanos))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(seconds: i64, nanos: i32) -> TimeFault {
        time("x", &Timestamp { seconds, nanos }).unwrap_err().fault
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(fault(0, -1), TimeFault::Nanos(-1));
        assert_eq!(fault(0, 1_000_000_000), TimeFault::Nanos(1_000_000_000));
        assert_eq!(fault(i64::MAX, 0), TimeFault::OutOfRange);
        assert_eq!(fault(i64::MIN, 0), TimeFault::OutOfRange);
        assert_eq!(fault(9_223_372_036, 854_775_808), TimeFault::OutOfRange);
        assert_eq!(required_time("x", None).unwrap_err().fault, TimeFault::Missing);
        let negative = decode_duration("x", &ProtoDuration { seconds: -1, nanos: 0 }).unwrap_err();
        assert_eq!(negative.fault, TimeFault::Negative);
        let long = decode_duration("x", &ProtoDuration { seconds: 0, nanos: i32::MAX }).unwrap_err();
        assert_eq!(long.fault, TimeFault::Nanos(i32::MAX));
    }

    #[test]
    fn the_ends_of_the_range_round_trip() {
        for end in [UnixNanos::MIN, UnixNanos::MAX, UnixNanos::new(-1), UnixNanos::new(0)] {
            assert_eq!(time("x", &timestamp(end)), Ok(end));
        }
        assert_eq!(timestamp(UnixNanos::new(-1)), Timestamp { seconds: -1, nanos: 999_999_999 });
        assert_eq!(duration(Duration::MAX), ProtoDuration { seconds: 315_576_000_000, nanos: 0 });
    }

    proptest! {
        #[test]
        fn times_and_durations_round_trip(nanos: i64, length in 0u64..=u64::MAX / 4) {
            let at = UnixNanos::new(nanos);
            prop_assert_eq!(time("x", &timestamp(at)), Ok(at));
            let length = Duration::from_nanos(length);
            prop_assert_eq!(decode_duration("x", &duration(length)), Ok(length));
        }
    }
}
