//! Candles of any offered interval, put together from the stored minutes.

use std::time::Duration;

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
const MINUTES_MAX: u64 = 2880;
/// The most candles of one call.
const CANDLES_LIMIT_MAX: usize = 10_000;

/// Which candles to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandleQuery {
    /// Of what.
    pub instrument: Instrument,
    /// How long each is. They are aligned to UTC.
    pub interval: Interval,
    /// Every candle that overlaps this range is given, and always whole.
    pub range: TimeRange,
    /// In which order.
    pub order: Order,
    /// Only those that come after this one in the order asked for: the start of the last candle of the page before.
    pub after: Option<UnixNanos>,
    /// At most so many, and at most 10,000.
    pub limit: usize,
}

impl Store {
    /// The candles of `query` that have trades. Their `state` is `None`: how far they can be trusted is for the caller to
    /// judge, by the trades around them and the gaps.
    pub async fn candles(&self, query: &CandleQuery) -> Result<Vec<Candle>, StoreError> {
        self.within("read candles", self.read_candles(query)).await
    }

    async fn read_candles(&self, query: &CandleQuery) -> Result<Vec<Candle>, StoreError> {
        let width = query.interval.width();
        let limit = query.limit.min(CANDLES_LIMIT_MAX);
        let mut candles: Vec<Candle> = Vec::new();
        if limit == 0 || query.range.from >= query.range.until {
            return Ok(candles);
        }
        let mut range = whole_candles(query);
        loop {
            let minutes = minutes(&self.inner.reader, &query.instrument, range, query.order).await?;
            let is_last_page = u64::try_from(minutes.len()).unwrap_or(u64::MAX) < MINUTES_MAX;
            for row in &minutes {
                let mut minute = bar(row)?;
                match query.order {
                    Order::Ascending => range.from = minute.start.saturating_add(Duration::from_nanos(1)),
                    Order::Descending => range.until = minute.start,
                }
                minute.start = minute.start.floor_to(width);
                if let Some(candle) = candles.last_mut().filter(|candle| candle.bar.start == minute.start) {
                    // Only sums beyond 28 digits do not fit, which no market reaches; such a minute is left out.
                    _ = candle.bar.merge(&minute);
                } else if candles.len() == limit {
                    return Ok(candles);
                } else {
                    candles.push(Candle {
                        interval: query.interval,
                        bar: minute,
                        state: None,
                        completeness: None,
                    });
                }
            }
            if is_last_page {
                return Ok(candles);
            }
        }
    }
}

/// From the start of the first candle to the end of the last, without those of the pages before.
fn whole_candles(query: &CandleQuery) -> TimeRange {
    let width = query.interval.width();
    let last = UnixNanos::new(query.range.until.nanos().saturating_sub(1)).floor_to(width);
    let (from, until) = (query.range.from.floor_to(width), last.saturating_add(width));
    match (query.order, query.after.map(|after| after.floor_to(width))) {
        (_, None) => TimeRange { from, until },
        (Order::Ascending, Some(after)) => TimeRange { from: from.max(after.saturating_add(width)), until },
        (Order::Descending, Some(after)) => TimeRange { from, until: until.min(after) },
    }
}

/// One page of the minutes that start in `range`, in the order asked for.
async fn minutes(
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
pub(crate) fn bound(time: UnixNanos) -> time::OffsetDateTime {
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
