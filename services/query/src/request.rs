//! Reading what a request asks for, with the field named when it is at fault.

use domain::{Instrument, TimeRange, UnixNanos};
use prost_types::Timestamp;
use proto::{InvalidName, v1};
use tonic::Status;

use crate::errors::invalid;

/// The instrument of a request; an empty venue is `coinbase`.
pub(crate) fn instrument(venue: &str, product: &str) -> Result<Instrument, Status> {
    proto::requested_instrument(venue, product).map_err(|error| {
        let field = match error {
            InvalidName::MissingVenue | InvalidName::Malformed(domain::InvalidInstrument::Venue(_)) => {
                "venue"
            }
            InvalidName::MissingProduct | InvalidName::Malformed(domain::InvalidInstrument::Product(_)) => {
                "product"
            }
        };
        invalid(field, error.to_string())
    })
}

/// A half-open range of time; an absent end is open.
pub(crate) fn time_range(range: Option<&v1::TimeRange>) -> Result<TimeRange, Status> {
    let Some(range) = range else {
        return Ok(TimeRange::ALL);
    };
    let from = time("time_range.start_time", range.start_time.as_ref())?.unwrap_or(UnixNanos::MIN);
    let until = time("time_range.end_time", range.end_time.as_ref())?.unwrap_or(UnixNanos::MAX);
    if from >= until {
        return Err(invalid("time_range", format!("start_time {from} is not before end_time {until}")));
    }
    Ok(TimeRange { from, until })
}

/// A time; `None` when it is absent.
pub(crate) fn time(field: &'static str, timestamp: Option<&Timestamp>) -> Result<Option<UnixNanos>, Status> {
    timestamp
        .map(|timestamp| {
            proto::time(field, timestamp).map_err(|error| invalid(field, error.fault.to_string()))
        })
        .transpose()
}

/// How many rows a page may have: 0 takes the default, more than the maximum gets the maximum.
pub(crate) fn page_size(asked: i32, default: u32, max: u32) -> Result<u32, Status> {
    match u32::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(max)),
        Err(_) => Err(invalid("page_size", format!("{asked} is negative, allowed: 0 to {max}"))),
    }
}

/// Whether the newest come first.
pub(crate) fn descending(order: i32) -> Result<bool, Status> {
    match v1::SortOrder::try_from(order) {
        Ok(v1::SortOrder::Unspecified | v1::SortOrder::Ascending) => Ok(false),
        Ok(v1::SortOrder::Descending) => Ok(true),
        Err(_) => Err(invalid("order", format!("{order} is unknown"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_field() {
        let refused =
            |status: Status| (status.code(), status.message().split(':').next().unwrap().to_owned());
        let of = |field: &str| (tonic::Code::InvalidArgument, field.to_owned());
        assert_eq!(refused(instrument("", "").unwrap_err()), of("product"));
        assert_eq!(refused(instrument("Coin base", "BTC-USD").unwrap_err()), of("venue"));
        assert_eq!(refused(page_size(-1, 10, 100).unwrap_err()), of("page_size"));
        assert_eq!(refused(descending(7).unwrap_err()), of("order"));
        let broken = Timestamp { seconds: 0, nanos: -1 };
        assert_eq!(refused(time("as_of_time", Some(&broken)).unwrap_err()), of("as_of_time"));
    }

    #[test]
    fn ranges_are_half_open_and_never_empty() {
        assert_eq!(time_range(None).unwrap(), TimeRange::ALL);
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let range = time_range(Some(&v1::TimeRange { start_time: at(1), end_time: at(2) })).unwrap();
        assert!(range.contains(UnixNanos::from_seconds(1).unwrap()));
        assert!(!range.contains(UnixNanos::from_seconds(2).unwrap()));
        assert!(time_range(Some(&v1::TimeRange { start_time: at(2), end_time: at(2) })).is_err());
        assert_eq!(
            time_range(Some(&v1::TimeRange { start_time: None, end_time: at(2) })).unwrap().from,
            UnixNanos::MIN
        );
    }

    #[test]
    fn page_sizes_are_held_within_limits() {
        assert_eq!(page_size(0, 10, 100).unwrap(), 10);
        assert_eq!(page_size(50, 10, 100).unwrap(), 50);
        assert_eq!(page_size(5000, 10, 100).unwrap(), 100);
    }
}
