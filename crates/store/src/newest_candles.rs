//! Candles, the newest first.

use domain::{Candle, TimeRange, UnixNanos};

use crate::{
    CandleQuery, Order, Store, StoreError,
    candles::{CANDLES_LIMIT_MAX, MINUTES_MAX, bar, minutes},
};

impl Store {
    /// The same candles as [`Store::candles`] gives, the newest first; `after` is then the start of the last candle of the
    /// page before, and only those that start before it are given.
    pub async fn newest_candles(&self, query: &CandleQuery) -> Result<Vec<Candle>, StoreError> {
        self.within("read candles", self.read_newest_candles(query)).await
    }

    async fn read_newest_candles(&self, query: &CandleQuery) -> Result<Vec<Candle>, StoreError> {
        let width = query.interval.width();
        let limit = query.limit.min(CANDLES_LIMIT_MAX);
        let mut candles: Vec<Candle> = Vec::new();
        if limit == 0 || query.range.from >= query.range.until {
            return Ok(candles);
        }
        // Whole candles: from the start of the first to the end of the last.
        let from = query.range.from.floor_to(width);
        let last = UnixNanos::new(query.range.until.nanos().saturating_sub(1)).floor_to(width);
        let end = last.saturating_add(width);
        let mut until = query.after.map_or(end, |after| end.min(after.floor_to(width)));
        loop {
            let range = TimeRange { from, until };
            let minutes = minutes(&self.inner.reader, &query.instrument, range, Order::Descending).await?;
            let is_last_page = u64::try_from(minutes.len()).unwrap_or(u64::MAX) < MINUTES_MAX;
            for row in &minutes {
                let mut minute = bar(row)?;
                until = minute.start;
                minute.start = minute.start.floor_to(width);
                if let Some(candle) = candles.last_mut().filter(|candle| candle.bar.start == minute.start) {
                    // Only sums beyond 28 digits do not fit, which no market reaches; such a minute is left out.
                    _ = candle.bar.merge(&minute);
                } else if candles.len() == limit {
                    return Ok(candles);
                } else {
                    candles.push(Candle { interval: query.interval, bar: minute, state: None });
                }
            }
            if is_last_page {
                return Ok(candles);
            }
        }
    }
}
