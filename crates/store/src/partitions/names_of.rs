//! The names of partitions: `tick_history_20210417`, or `tick_history_20210417_1600` where a day has several.

use std::time::Duration;

use domain::UnixNanos;
use time::{Date, Month, OffsetDateTime, Time};

const PREFIX: &str = "tick_history_";
const DAY: Duration = Duration::from_secs(86_400);

/// The name of the partition of `width` that begins at `start`, a whole minute.
pub(super) fn name_of(start: UnixNanos, width: Duration) -> String {
    let time = start.to_offset_date_time();
    let date = format!("{PREFIX}{:04}{:02}{:02}", time.year(), u8::from(time.month()), time.day());
    let has_whole_days = width.as_secs().is_multiple_of(DAY.as_secs());
    if has_whole_days { date } else { format!("{date}_{:02}{:02}", time.hour(), time.minute()) }
}

/// The reverse of [`name_of`]; `None` for the default partition and for what somebody else has attached.
pub(super) fn start_of(name: &str) -> Option<UnixNanos> {
    let rest = name.strip_prefix(PREFIX)?;
    let (date, time) = rest.split_once('_').unwrap_or((rest, "0000"));
    if date.len() != 8 || time.len() != 4 || !rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') {
        return None;
    }
    let number = |text: &str, range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
    let small = |text: &str, range| u8::try_from(number(text, range)?).ok();
    let month = Month::try_from(small(date, 4..6)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(date, 0..4)?), month, small(date, 6..8)?).ok()?;
    let time = Time::from_hms(small(time, 0..2)?, small(time, 2..4)?, 0).ok()?;
    UnixNanos::from_offset_date_time(OffsetDateTime::new_utc(date, time))
}

#[cfg(test)]
mod tests {
    use super::{super::Partitions, *};

    #[test]
    fn names_and_numbers_belong_together() {
        let hour = Duration::from_secs(3600);
        for (width, number, name) in [
            (DAY, 0, "tick_history_19700101"),
            (DAY, 18_734, "tick_history_20210417"),
            (DAY, -1, "tick_history_19691231"),
            (hour, 18_734 * 24 + 16, "tick_history_20210417_1600"),
            (hour, -1, "tick_history_19691231_2300"),
            (hour * 36, 1, "tick_history_19700102_1200"),
            (DAY * 7, 1, "tick_history_19700108"),
            (Duration::from_secs(60), 61, "tick_history_19700101_0101"),
        ] {
            let partitions = Partitions::of_width(width);
            let (from, until) = partitions.bounds(number).unwrap();
            let made = name_of(UnixNanos::new(from), width);
            assert_eq!((made.as_str(), start_of(&made)), (name, Some(UnixNanos::new(from))));
            assert_eq!(partitions.number_of(UnixNanos::new(from)), number);
            assert_eq!(partitions.number_of(UnixNanos::new(until - 1)), number);
            assert_eq!(partitions.number_of(UnixNanos::new(until)), number + 1);
        }
        let daily = Partitions::of_width(DAY);
        assert_eq!(daily.bounds(daily.number_of(UnixNanos::MIN)), None);
        assert_eq!(daily.bounds(daily.number_of(UnixNanos::MAX)), None);
        for name in [
            "tick_history_default",
            "tick_history_2021041",
            "tick_history_20211341",
            "tick_history_20210417_2500",
            "tick_history_20210417_16",
            "tick_history_20210417_+600",
            "other_20210417",
        ] {
            assert_eq!(start_of(name), None, "{name}");
        }
    }

    #[test]
    fn widths_are_whole_minutes() {
        for (given, taken) in [(0, 60), (59, 60), (119, 60), (3600, 3600), (u64::MAX, 366 * 86_400)] {
            let width = Partitions::of_width(Duration::from_secs(given)).width();
            assert_eq!(width, Duration::from_secs(taken));
        }
    }
}
