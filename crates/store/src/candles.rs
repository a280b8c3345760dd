//! Candles of any offered interval, put together from the stored minutes.

use domain::{Bar, Candle, Instrument, Interval, TimeRange, UnixNanos};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::{
    Order, Store, StoreError,
    entity::{
        Number,
        price_stats_1min::{Column, Entity, Model},
    },
    error::during,
    row::{is, nanos, signed, unsigned, unsigned_option},
};

const TABLE: &str = "price_stats_1min";
/// How many minutes are read at once.
pub(crate) const MINUTES_MAX: u64 = 2880;
/// The most candles of one call.
pub(crate) const CANDLES_LIMIT_MAX: usize = 10_000;

/// Which candles to read, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandleQuery {
    /// Of what.
    pub instrument: Instrument,
    /// How long each is. They are aligned to UTC.
    pub interval: Interval,
    /// Every candle that overlaps this range is given, and always whole.
    pub range: TimeRange,
    /// At most so many, and at most 10,000.
    pub limit: usize,
    /// Only those that start after this time: the start of the last candle of the page before.
    pub after: Option<UnixNanos>,
}

impl Store {
    /// The candles of `query` that have trades. Their `state` is `None`: what is open or incomplete is known to the caller.
    pub async fn candles(&self, query: &CandleQuery) -> Result<Vec<Candle>, StoreError> {
        self.within("read candles", self.read_candles(query)).await
    }

    async fn read_candles(&self, query: &CandleQuery) -> Result<Vec<Candle>, StoreError> {
        let width = query.interval.width();
        let limit = query.limit.min(CANDLES_LIMIT_MAX);
        let mut candles: Vec<Candle> = Vec::new();
        // Whole candles: from the start of the first to the end of the last.
        let first = query.range.from.floor_to(width);
        let mut from =
            query.after.map_or(first, |after| first.max(after.floor_to(width).saturating_add(width)));
        let last = UnixNanos::new(query.range.until.nanos().saturating_sub(1)).floor_to(width);
        let until = last.saturating_add(width);
        if limit == 0 || query.range.from >= query.range.until {
            return Ok(candles);
        }
        loop {
            let range = TimeRange { from, until };
            let minutes = minutes(&self.inner.reader, &query.instrument, range, Order::Ascending).await?;
            let is_last_page = u64::try_from(minutes.len()).unwrap_or(u64::MAX) < MINUTES_MAX;
            for row in &minutes {
                let mut minute = bar(row)?;
                from = UnixNanos::new(minute.start.nanos().saturating_add(1));
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

/// One page of the minutes that start in `range`, in the order asked for.
pub(crate) async fn minutes(
    reader: &DatabaseConnection,
    wanted: &Instrument,
    range: TimeRange,
    order: Order,
) -> Result<Vec<Model>, StoreError> {
    let select = Entity::find()
        .filter(is(Column::Venue, Column::Product, wanted))
        .filter(Column::TimeBucket.gte(bound(range.from)))
        .filter(Column::TimeBucket.lt(bound(range.until)));
    let select = match order {
        Order::Ascending => select.order_by_asc(Column::TimeBucket),
        Order::Descending => select.order_by_desc(Column::TimeBucket),
    };
    select.limit(MINUTES_MAX).all(reader).await.map_err(during("read candles"))
}

/// The first minute that starts at `time` or later. Only whole minutes are compared: SQLite compares texts.
fn bound(time: UnixNanos) -> time::OffsetDateTime {
    let minute = time.floor_to(domain::MINUTE);
    if minute == time { minute } else { minute.saturating_add(domain::MINUTE) }.to_offset_date_time()
}

pub(crate) fn bar(row: &Model) -> Result<Bar, StoreError> {
    Ok(Bar {
        start: nanos(TABLE, "time_bucket", row.time_bucket)?,
        tick_count: unsigned(TABLE, "tick_count", row.tick_count)?,
        sum_price: row.sum_price.0,
        sum_volume: row.sum_volume.0,
        low: row.min_price.0,
        high: row.max_price.0,
        open: row.open_price.0,
        open_at: (
            UnixNanos::new(row.open_ts_event),
            unsigned_option(TABLE, "open_trade_id", row.open_trade_id)?,
            unsigned_option(TABLE, "open_sequence", row.open_sequence)?,
        ),
        close: row.close_price.0,
        close_at: (
            UnixNanos::new(row.close_ts_event),
            unsigned_option(TABLE, "close_trade_id", row.close_trade_id)?,
            unsigned_option(TABLE, "close_sequence", row.close_sequence)?,
        ),
    })
}

pub(crate) fn bar_row(name: &Instrument, bar: &Bar) -> Result<Model, StoreError> {
    let option = |field, value: Option<u64>| value.map(|value| signed(name, field, value)).transpose();
    let (open_time, open_trade_id, open_sequence) = bar.open_at;
    let (close_time, close_trade_id, close_sequence) = bar.close_at;
    Ok(Model {
        venue: name.venue.to_string(),
        product: name.product.to_string(),
        time_bucket: bar.start.to_offset_date_time(),
        tick_count: signed(name, "tick_count", bar.tick_count)?,
        sum_price: Number(bar.sum_price),
        min_price: Number(bar.low),
        max_price: Number(bar.high),
        open_price: Number(bar.open),
        close_price: Number(bar.close),
        sum_volume: Number(bar.sum_volume),
        open_ts_event: open_time.nanos(),
        open_trade_id: option("trade_id", open_trade_id)?,
        open_sequence: option("sequence", open_sequence)?,
        close_ts_event: close_time.nanos(),
        close_trade_id: option("trade_id", close_trade_id)?,
        close_sequence: option("sequence", close_sequence)?,
    })
}
