//! Candles, the newest first.

use domain::{Candle, Instrument, MINUTE, TimeRange, UnixNanos};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::{
    CandleQuery, Store, StoreError,
    candles::{CANDLES_LIMIT_MAX, bar},
    entity::price_stats_1min::{Column, Entity, Model},
    error::during,
    row::is,
};

/// How many minutes are read at once.
const MINUTES_MAX: u64 = 2880;

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
            let minutes = minutes(&self.inner.reader, &query.instrument, TimeRange { from, until }).await?;
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

async fn minutes(
    reader: &DatabaseConnection,
    wanted: &Instrument,
    range: TimeRange,
) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .filter(is(Column::Venue, Column::Product, wanted))
        .filter(Column::TimeBucket.gte(minute_from(range.from)))
        .filter(Column::TimeBucket.lt(minute_from(range.until)))
        .order_by_desc(Column::TimeBucket)
        .limit(MINUTES_MAX)
        .all(reader)
        .await
        .map_err(during("read candles"))
}

/// The first minute that starts at `time` or later. Only whole minutes are compared: SQLite compares texts.
fn minute_from(time: UnixNanos) -> time::OffsetDateTime {
    let minute = time.floor_to(MINUTE);
    if minute == time { minute } else { minute.saturating_add(MINUTE) }.to_offset_date_time()
}
