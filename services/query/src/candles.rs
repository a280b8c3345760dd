//! Stored candles, page by page.

use std::time::Duration;

use domain::{CandleState, MINUTE, TimeRange, UnixNanos};
use proto::v1;
use store::{CandleQuery, Order};
use tonic::Status;

use crate::{
    errors::{invalid, store_failed},
    market::Market,
    page::{self, Fingerprint},
    request,
    service::{ROWS_DEFAULT, ROWS_MAX},
};

/// The most minutes that go into one page, a little more than half a year: a page of longer candles is shorter.
const MINUTES_MAX: u64 = 288_000;

/// One page of candles.
pub(crate) async fn page(
    market: &Market,
    mut request: v1::ListCandlesRequest,
    now: UnixNanos,
) -> Result<v1::ListCandlesResponse, Status> {
    let token = std::mem::take(&mut request.page_token);
    let limit = request::page_size(std::mem::take(&mut request.page_size), ROWS_DEFAULT, ROWS_MAX)?;
    let fingerprint = Fingerprint::of("ListCandles", &request);
    let instrument = request::instrument(&request.venue, &request.product)?;
    let newest_first = request::descending(request.order)?;
    let interval =
        proto::interval(request.interval).map_err(|error| invalid("interval", error.to_string()))?;
    let width = interval.width();
    let range = starting_within(request::time_range(request.time_range.as_ref())?, width);
    let after = page::decode::<i64>(fingerprint, &token)?.map(UnixNanos::new);
    market.check_known(&instrument).await?;
    let limit = usize::try_from(u64::from(limit).min(candles_max(width))).unwrap_or(1);
    let order = if newest_first { Order::Descending } else { Order::Ascending };
    let query = CandleQuery { instrument, interval, range, order, limit, after };
    let mut candles = market.store.candles(&query).await.map_err(|error| store_failed(&error))?;
    for candle in &mut candles {
        if candle.bar.start.saturating_add(width) > now {
            candle.state = Some(CandleState::Open);
        }
    }
    let encoded: Vec<v1::Candle> =
        candles.iter().map(|candle| proto::candle(&query.instrument, candle)).collect();
    let fitting = page::fitting(&encoded, market.response_bytes_max);
    let is_last = fitting == candles.len() && candles.len() < limit;
    let last = candles.get(fitting.wrapping_sub(1)).filter(|_| !is_last);
    let next_page_token =
        last.map(|candle| page::encode(fingerprint, candle.bar.start.nanos())).unwrap_or_default();
    Ok(v1::ListCandlesResponse { candles: encoded.into_iter().take(fitting).collect(), next_page_token })
}

/// How many candles of `width` one page may have.
fn candles_max(width: Duration) -> u64 {
    (MINUTES_MAX * MINUTE.as_secs() / width.as_secs().max(1)).max(1)
}

/// Which candles start in a range: the store gives those that overlap it.
fn starting_within(range: TimeRange, width: Duration) -> TimeRange {
    let floor = range.from.floor_to(width);
    let from =
        if floor == range.from || range.from == UnixNanos::MIN { floor } else { floor.saturating_add(width) };
    TimeRange { from, until: range.until }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candle_belongs_to_a_range_when_it_starts_there() {
        let at = |seconds| UnixNanos::from_seconds(seconds).unwrap();
        let within = |from, until| {
            starting_within(TimeRange { from: at(from), until: at(until) }, Duration::from_secs(60))
        };
        assert_eq!(within(60, 120), TimeRange { from: at(60), until: at(120) });
        assert_eq!(within(61, 120), TimeRange { from: at(120), until: at(120) });
        assert_eq!(starting_within(TimeRange::ALL, Duration::from_secs(60)).until, UnixNanos::MAX);
    }

    #[test]
    fn a_page_is_made_of_a_bounded_number_of_minutes() {
        assert_eq!(candles_max(MINUTE), MINUTES_MAX);
        assert_eq!(candles_max(Duration::from_secs(86_400)), 200);
    }
}
