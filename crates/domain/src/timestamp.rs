//! Points in time as nanoseconds since 1970-01-01T00:00:00Z.

use std::{fmt, time::Duration};

use thiserror::Error;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A time in UTC with nanoseconds; it covers the years 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(i64);

/// Why a text is not a time that LedgerFlux can hold.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidTime {
    /// The text is not an RFC 3339 time.
    #[error("{0:?} is not an RFC 3339 time")]
    Malformed(String),
    /// The time lies outside the years 1677 to 2262.
    #[error("{0:?} is outside the years 1677 to 2262")]
    OutOfRange(String),
}

impl UnixNanos {
    /// The earliest time that can be held.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time that can be held.
    pub const MAX: Self = Self(i64::MAX);

    /// The time that is `nanos` nanoseconds after 1970 (before it, when negative).
    pub const fn new(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The time that is `seconds` after 1970; `None` outside the range.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(1_000_000_000).map(Self)
    }

    /// Nanoseconds since 1970.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The wall clock of this machine. Only shells call this; the core gets time as an argument.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now() -> Self {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Reads an RFC 3339 time with up to nine decimals, e.g. `2021-04-17T16:44:06.123456Z`.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidTime> {
        if let Some(time) = usual_time(text.as_bytes()) {
            return Ok(time);
        }
        let clipped = || text.chars().take(64).collect();
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTime::Malformed(clipped()))?;
        Self::from_offset_date_time(time).ok_or_else(|| InvalidTime::OutOfRange(clipped()))
    }

    /// The time of `time`; `None` outside the years 1677 to 2262.
    pub fn from_offset_date_time(time: OffsetDateTime) -> Option<Self> {
        i64::try_from(time.unix_timestamp_nanos()).ok().map(Self)
    }

    /// The same time as a calendar date in UTC.
    pub fn to_offset_date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// This time moved forward, held at the end of the range.
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// This time moved back, held at the start of the range.
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0).max(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Whether this is `wait` after `since` or later. A clock that was set back makes nobody wait: a `since` that lies ahead is
    /// over as well.
    pub fn is_over(self, since: Self, wait: Duration) -> bool {
        self < since || self.saturating_since(since) >= wait
    }

    /// The start of the interval of `width` (a divisor of days, counted from 1970) in which this time lies.
    pub fn floor_to(self, width: Duration) -> Self {
        let width = i64::try_from(width.as_nanos()).unwrap_or(i64::MAX).max(1);
        Self(self.0.saturating_sub(self.0.rem_euclid(width)))
    }
}

/// A time in UTC of the years 1970 to 2199 in the form that exchanges write, with up to nine decimals. `None` for every
/// other text, sound or not: those are left to a thorough reading.
fn usual_time(text: &[u8]) -> Option<UnixNanos> {
    let (date, rest) = text.split_at_checked(19)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2] = date else {
        return None;
    };
    let number = |digits: &[&u8]| {
        digits.iter().try_fold(0_i64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + i64::from(**digit - b'0'))
        })
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[i1, i2])?, number(&[s1, s2])?);
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 if is_leap_year => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    let is_time_of_day = hour < 24 && minute < 60 && second < 60;
    if !(1970..2200).contains(&year) || !(1..=days_of_month).contains(&day) || !is_time_of_day {
        return None;
    }
    let nanos = match rest {
        [b'Z'] => 0,
        [b'.', decimals @ .., b'Z'] if (1..=9).contains(&decimals.len()) => {
            let mut nanos = 0_i64;
            for place in 0..9 {
                let digit = decimals.get(place).copied().unwrap_or(b'0');
                nanos = nanos * 10 + i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
            }
            nanos
        }
        _ => return None,
    };
    // Days since 1970, with the year beginning in March so that the day of a leap year comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(UnixNanos(seconds * 1_000_000_000 + nanos))
}

impl fmt::Display for UnixNanos {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_offset_date_time().format(&Rfc3339) {
            Ok(text) => f.write_str(&text),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

/// A half-open range of time: `from` belongs to it, `until` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first nanosecond of the range.
    pub from: UnixNanos,
    /// The first nanosecond after the range.
    pub until: UnixNanos,
}

impl TimeRange {
    /// Everything that can be held.
    pub const ALL: Self = Self { from: UnixNanos::MIN, until: UnixNanos::MAX };

    /// Whether `time` lies in the range.
    pub fn contains(&self, time: UnixNanos) -> bool {
        self.from <= time && time < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_exchange_sends() {
        let parse = |text| UnixNanos::parse_rfc3339(text);
        assert_eq!(parse("2021-04-17T16:44:06.123456Z").unwrap().nanos(), 1_618_677_846_123_456_000);
        assert_eq!(parse("2019-08-01T00:00:03.818Z").unwrap().nanos(), 1_564_617_603_818_000_000);
        assert_eq!(parse("2019-08-01T00:00:03Z").unwrap().nanos(), 1_564_617_603_000_000_000);
        assert!(matches!(parse("0001-01-01T00:00:00.000000Z"), Err(InvalidTime::OutOfRange(_))));
        assert!(matches!(parse("yesterday"), Err(InvalidTime::Malformed(_))));
    }

    fn thoroughly(text: &str) -> Option<UnixNanos> {
        UnixNanos::from_offset_date_time(OffsetDateTime::parse(text, &Rfc3339).ok()?)
    }

    #[test]
    fn every_day_is_the_same_read_either_way() {
        // To the end of 2199.
        for day in 0..84_006_i64 {
            let seconds = day * 86_400 + day % 86_400;
            let time = UnixNanos::from_seconds(seconds).unwrap();
            let text = time.to_string();
            assert_eq!(usual_time(text.as_bytes()), Some(time), "{text}");
            assert_eq!(thoroughly(&text), Some(time), "{text}");
        }
        assert_eq!(usual_time(b"2200-01-01T00:00:00Z"), None);
    }

    #[test]
    fn what_is_unusual_is_left_to_the_thorough_reading() {
        for text in [
            "2021-04-31T00:00:00Z",
            "2021-02-29T00:00:00Z",
            "2021-00-10T00:00:00Z",
            "2021-04-17T24:00:00Z",
            "2021-04-17T16:60:00Z",
            "2021-04-17T16:44:60Z",
            "2021-04-17t16:44:06z",
            "2021-04-17T16:44:06+01:00",
            "2021-04-17T16:44:06.Z",
            "2021-04-17T16:44:06.1234567890Z",
            "2021-04-17T16:44:06.12a456Z",
            "2021-04-17T16:44:06",
            "2021-04-17 16:44:06Z",
            "+021-04-17T16:44:06Z",
        ] {
            assert_eq!(usual_time(text.as_bytes()), None, "{text}");
            assert_eq!(UnixNanos::parse_rfc3339(text).ok(), thoroughly(text), "{text}");
        }
        let text = "2021-04-17T16:44:06.123456789Z";
        assert_eq!(usual_time(text.as_bytes()), thoroughly(text));
    }

    #[test]
    fn writes_what_it_reads() {
        let text = "2021-04-17T16:44:06.123456Z";
        assert_eq!(UnixNanos::parse_rfc3339(text).unwrap().to_string(), text);
    }

    #[test]
    fn floors_before_and_after_1970() {
        let minute = Duration::from_secs(60);
        assert_eq!(UnixNanos::new(61_000_000_000).floor_to(minute), UnixNanos::new(60_000_000_000));
        assert_eq!(UnixNanos::new(-1).floor_to(minute), UnixNanos::new(-60_000_000_000));
    }
}
