//! Ranges of time.

use domain::{TimeRange, UnixNanos};
use thiserror::Error;

use crate::{
    time::{InvalidTimestamp, optional_time},
    v1,
};

/// Why a request names no range of time.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidRange {
    /// One of its ends is malformed.
    #[error(transparent)]
    Time(#[from] InvalidTimestamp),
    /// The end must be later than the start.
    #[error("time_range.end_time {until} is not later than time_range.start_time {from}")]
    Empty {
        /// The start.
        from: UnixNanos,
        /// The end.
        until: UnixNanos,
    },
}

/// The range that a request names: an absent end reaches as far as history does, an absent range is all of it.
pub fn time_range(range: Option<&v1::TimeRange>) -> Result<TimeRange, InvalidRange> {
    let Some(range) = range else {
        return Ok(TimeRange::ALL);
    };
    let from = optional_time("time_range.start_time", range.start_time.as_ref())?.unwrap_or(UnixNanos::MIN);
    let until = optional_time("time_range.end_time", range.end_time.as_ref())?.unwrap_or(UnixNanos::MAX);
    if until <= from {
        return Err(InvalidRange::Empty { from, until });
    }
    Ok(TimeRange { from, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TimeFault, timestamp};

    fn range(start: Option<i64>, end: Option<i64>) -> v1::TimeRange {
        let time = |nanos| timestamp(UnixNanos::new(nanos));
        v1::TimeRange { start_time: start.map(time), end_time: end.map(time) }
    }

    #[test]
    fn absent_ends_reach_as_far_as_history() {
        assert_eq!(time_range(None), Ok(TimeRange::ALL));
        assert_eq!(time_range(Some(&range(None, None))), Ok(TimeRange::ALL));
        let from = time_range(Some(&range(Some(5), None))).unwrap();
        assert_eq!(from, TimeRange { from: UnixNanos::new(5), until: UnixNanos::MAX });
    }

    #[test]
    fn empty_and_malformed_ranges_are_refused() {
        for (start, end) in [(5, 5), (6, 5)] {
            let fault = time_range(Some(&range(Some(start), Some(end))));
            assert!(matches!(fault, Err(InvalidRange::Empty { .. })));
        }
        let mut malformed = range(Some(1), None);
        malformed.start_time.as_mut().unwrap().nanos = -1;
        let expected = InvalidTimestamp { field: "time_range.start_time", fault: TimeFault::Nanos(-1) };
        assert_eq!(time_range(Some(&malformed)), Err(expected.into()));
    }
}
