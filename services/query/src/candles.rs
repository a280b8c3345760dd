//! Stored candles, page by page.

use std::time::Duration;

use domain::{Candle, MINUTE, TimeRange, UnixNanos};
use proto::v1;
use store::{CandleQuery, Order, StoreError};
use tonic::Status;

use self::judge::{Evidence, first_trade, last_trade};
use crate::{
    errors::{invalid, store_failed},
    market::{Market, order},
    page::{self, Fingerprint},
    request,
    service::{ROWS_DEFAULT, ROWS_MAX},
};

mod judge;

/// The most minutes that go into one page, a little more than half a year: a page of longer candles is shorter.
const MINUTES_MAX: u64 = 288_000;
/// The most gaps that the candles of a page are judged by: a page of more is shorter.
const GAPS_MAX: usize = 10_000;

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
    let order = order(request.order)?;
    let interval =
        proto::interval(request.interval).map_err(|error| invalid("interval", error.to_string()))?;
    let width = interval.width();
    let range = starting_within(request::time_range(request.time_range.as_ref())?, width);
    let after = page::decode::<i64>(fingerprint, &token)?.map(UnixNanos::new);
    market.check_known(&instrument).await?;
    let limit = usize::try_from(u64::from(limit).min(candles_max(width))).unwrap_or(1);
    let query = CandleQuery { instrument, interval, range, order, limit, after };
    let (candles, more) = read(market, &query, now).await.map_err(|error| store_failed(&error))?;
    let encoded: Vec<v1::Candle> =
        candles.iter().map(|candle| proto::candle(&query.instrument, candle)).collect();
    let fitting = page::fitting(&encoded, market.response_bytes_max);
    let is_last = fitting == candles.len() && !more;
    let last = candles.get(fitting.wrapping_sub(1)).filter(|_| !is_last);
    let next_page_token =
        last.map(|candle| page::encode(fingerprint, candle.bar.start.nanos())).unwrap_or_default();
    Ok(v1::ListCandlesResponse { candles: encoded.into_iter().take(fitting).collect(), next_page_token })
}

/// The candles of a page, judged, and whether there may be more behind them.
async fn read(
    market: &Market,
    query: &CandleQuery,
    now: UnixNanos,
) -> Result<(Vec<Candle>, bool), StoreError> {
    let (store, name, width) = (&market.store, &query.instrument, query.interval.width());
    let mut candles = store.candles(query).await?;
    let mut more = candles.len() == query.limit;
    let is_descending = query.order == Order::Descending;
    if is_descending {
        candles.reverse();
    }
    let mut window = window(query, &candles, more);
    let first = candles.first().map_or(window.from, |candle| candle.bar.start);
    let end = candles.last().map_or(window.until, |candle| candle.bar.start.saturating_add(width));
    let before = if first == UnixNanos::MIN { None } else { store.trade_before(name, first).await? };
    let after = if end == UnixNanos::MAX { None } else { store.trade_from(name, end).await? };
    let horizon = store.horizon().await?;
    let mut evidence = Evidence { before, after, gaps: Vec::new(), horizon, now };
    if !candles.is_empty() {
        let trades = (
            evidence.before.and_then(|trade| trade.trade_id).map_or(0, |trade| trade.saturating_add(1)),
            evidence.after.and_then(|trade| trade.trade_id).map_or(u64::MAX, |trade| trade.saturating_sub(1)),
        );
        // Numbers that go down began anew: then the times alone say which gaps.
        let trades = if trades.0 <= trades.1 { trades } else { (0, u64::MAX) };
        let range = TimeRange { from: first, until: end };
        evidence.gaps = store.gaps_among(name, trades, range, query.order, GAPS_MAX).await?;
    }
    if evidence.gaps.len() == GAPS_MAX {
        more = true;
        keep_judged(&mut candles, &mut evidence, is_descending);
        window = self::window(query, &candles, true);
    }
    let candles = judge::page(query.interval, candles, window, query.order, query.limit, &evidence);
    let more = more || candles.len() == query.limit;
    Ok((candles, more))
}

/// Leaves out the candles for which there may be more gaps than were read, but for the first of the page.
fn keep_judged(candles: &mut Vec<Candle>, evidence: &mut Evidence, is_descending: bool) {
    let Some(last_gap) = evidence.gaps.last() else { return };
    if is_descending {
        let is_judged = |candle: &Candle| first_trade(candle).trade_id > Some(last_gap.last_trade_id);
        let out = candles.partition_point(|candle| !is_judged(candle)).min(candles.len().saturating_sub(1));
        evidence.before = candles.drain(..out).next_back().as_ref().map(last_trade).or(evidence.before);
    } else {
        let is_judged = |candle: &Candle| last_trade(candle).trade_id < Some(last_gap.first_trade_id);
        let kept = candles.partition_point(is_judged).max(1);
        evidence.after = candles.get(kept).map(first_trade).or(evidence.after);
        candles.truncate(kept);
    }
}

/// Where the candles of a page start: up to its last one when there are more behind it, and else to the end of the range.
fn window(query: &CandleQuery, candles: &[Candle], more: bool) -> TimeRange {
    let width = query.interval.width();
    let mut from = query.range.from;
    // The last one may reach beyond the end of the range.
    let last = UnixNanos::new(query.range.until.nanos().saturating_sub(1)).floor_to(width);
    let mut until = last.saturating_add(width);
    match (query.order, query.after) {
        (Order::Ascending, Some(after)) => from = from.max(after.saturating_add(width)),
        (Order::Descending, Some(after)) => until = until.min(after),
        (_, None) => {}
    }
    if more {
        match query.order {
            Order::Ascending => {
                until = candles.last().map_or(until, |candle| candle.bar.start.saturating_add(width));
            }
            Order::Descending => from = candles.first().map_or(from, |candle| candle.bar.start),
        }
    }
    TimeRange { from, until }
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
