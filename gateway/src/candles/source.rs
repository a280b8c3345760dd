//! Candles that have ended, and the part of the open one that is history, from query.

use std::time::Duration;

use domain::{Bar, Instrument, Interval, Position, UnixNanos, parse_number};
use live::{History as _, HistoryError};
use proto::v1::{Candle, CandleInterval, CandleState, ListCandlesRequest, TimeRange};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::history::QueryHistory;

/// How long what history lacks is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Why history does not help.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("history is too far behind the stream")]
    Behind,
    #[error("history gives a candle that cannot be understood")]
    Candle,
}

/// The candles that start at or after `from` and end at or before `until`, as history has them once everything up to `through` is stored.
pub(super) async fn ended(
    history: &QueryHistory,
    instrument: &Instrument,
    interval: Interval,
    (from, until): (UnixNanos, UnixNanos),
    through: Option<Position>,
) -> Result<Vec<Candle>, SourceError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let attempt = attempt(history, instrument, interval, (from, until), through).await;
        match attempt {
            Err(error) if !is_passing(&error) || Instant::now() >= deadline => return Err(error),
            Err(_) => sleep(RETRY_DELAY).await,
            Ok(candles) => return Ok(candles),
        }
    }
}

async fn attempt(
    history: &QueryHistory,
    instrument: &Instrument,
    interval: Interval,
    (from, until): (UnixNanos, UnixNanos),
    through: Option<Position>,
) -> Result<Vec<Candle>, SourceError> {
    if let Some(through) = through {
        let last = Position { sequence: u64::MAX, ..through };
        if history.newest(instrument, last).await?.is_none_or(|stored| stored < through) {
            return Err(SourceError::Behind);
        }
    }
    let mut candles = Vec::new();
    let mut request = request(instrument, interval, from, Some(until));
    loop {
        let answer = history.candles(request.clone()).await?;
        candles.extend(answer.candles);
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
    }
    // By the clock over there it has not ended yet.
    if candles.iter().any(|candle| candle.state() == CandleState::Open) {
        return Err(SourceError::Behind);
    }
    Ok(candles)
}

/// Asks for the candles that start in a range; without an end for all that follow.
pub(crate) fn request(
    instrument: &Instrument,
    interval: Interval,
    from: UnixNanos,
    until: Option<UnixNanos>,
) -> ListCandlesRequest {
    ListCandlesRequest {
        venue: instrument.venue.to_string(),
        product: instrument.product.to_string(),
        interval: CandleInterval::from(interval).into(),
        time_range: Some(TimeRange {
            start_time: Some(proto::timestamp(from)),
            end_time: until.map(proto::timestamp),
        }),
        ..ListCandlesRequest::default()
    }
}

fn is_passing(error: &SourceError) -> bool {
    matches!(error, SourceError::Behind | SourceError::History(HistoryError::Unavailable(_)))
}

/// The numbers of a candle with trades; `None` for one without.
pub(super) fn bar(candle: &Candle) -> Result<Option<Bar>, SourceError> {
    if candle.trade_count == 0 {
        return Ok(None);
    }
    let number =
        |text: Option<&str>| text.and_then(|text| parse_number(text).ok()).ok_or(SourceError::Candle);
    let time =
        |time: Option<&_>| time.and_then(|time| proto::time("candle", time).ok()).ok_or(SourceError::Candle);
    Ok(Some(Bar {
        start: time(candle.start_time.as_ref())?,
        tick_count: candle.trade_count,
        sum_price: number(Some(&candle.price_sum))?,
        sum_volume: number(Some(&candle.volume))?,
        low: number(candle.low.as_deref())?,
        high: number(candle.high.as_deref())?,
        open: number(candle.open.as_deref())?,
        open_at: (time(candle.first_trade_time.as_ref())?, None, None),
        close: number(candle.close.as_deref())?,
        close_at: (time(candle.last_trade_time.as_ref())?, None, None),
    }))
}
