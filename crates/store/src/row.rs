//! Between ticks and rows.

use domain::{Decimal, Instrument, Quote, Side, Tick, TickFlags, Trade, UnixNanos};
use sea_orm::{ColumnTrait, Condition, DbErr, QueryResult, TryGetable};
use time::OffsetDateTime;

use crate::{
    HistoryKey, NotStorable, StoreError,
    entity::{Number, tick_history::Column},
    error::during,
};

const TABLE: &str = "tick_history";

/// The integer as the database holds it.
pub(crate) fn signed(instrument: &Instrument, field: &'static str, value: u64) -> Result<i64, NotStorable> {
    i64::try_from(value).map_err(|_| NotStorable::TooLarge { instrument: instrument.clone(), field, value })
}

/// The reverse of [`signed`].
pub(crate) fn unsigned(table: &'static str, column: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::corrupt(table, column, &value.to_string()))
}

pub(crate) fn unsigned_option(
    table: &'static str,
    column: &'static str,
    value: Option<i64>,
) -> Result<Option<u64>, StoreError> {
    value.map(|value| unsigned(table, column, value)).transpose()
}

pub(crate) fn run(table: &'static str, value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| StoreError::corrupt(table, "run", &value.to_string()))
}

pub(crate) fn instrument(table: &'static str, venue: &str, product: &str) -> Result<Instrument, StoreError> {
    Instrument::new(venue, product)
        .map_err(|_| StoreError::corrupt(table, "venue and product", &format!("{venue}:{product}")))
}

pub(crate) fn nanos(
    table: &'static str,
    column: &'static str,
    time: OffsetDateTime,
) -> Result<UnixNanos, StoreError> {
    UnixNanos::from_offset_date_time(time)
        .ok_or_else(|| StoreError::corrupt(table, column, &time.to_string()))
}

/// The condition that a row is of `wanted`.
pub(crate) fn is<C: ColumnTrait>(venue: C, product: C, wanted: &Instrument) -> Condition {
    Condition::all().add(venue.eq(wanted.venue.as_str())).add(product.eq(wanted.product.as_str()))
}

/// What is read of a tick, in the order in which [`tick`] expects it.
pub(crate) const TICK_COLUMNS: [Column; 14] = [
    Column::Id,
    Column::Run,
    Column::Sequence,
    Column::Price,
    Column::Bid,
    Column::Ask,
    Column::Volume,
    Column::BidSize,
    Column::AskSize,
    Column::Side,
    Column::TradeId,
    Column::Flags,
    Column::TsEvent,
    Column::TsIngest,
];

/// The tick of `instrument` that `row` holds in [`TICK_COLUMNS`], and its place in history. Columns are taken by their place:
/// looking for their names would cost more than all else here.
pub(crate) fn tick(row: &QueryResult, instrument: &Instrument) -> Result<(HistoryKey, Tick), StoreError> {
    let id: i64 = get(row, 0)?;
    let sequence = unsigned_option(TABLE, "sequence", get(row, 2)?)?;
    let event_time = UnixNanos::new(get(row, 12)?);
    let tick = Tick {
        instrument: instrument.clone(),
        run: run(TABLE, get(row, 1)?)?,
        sequence,
        event_time,
        receive_time: UnixNanos::new(get(row, 13)?),
        last_trade: trade(row)?,
        best_bid: quote(get(row, 4)?, get(row, 7)?),
        best_ask: quote(get(row, 5)?, get(row, 8)?),
        day: None,
        flags: TickFlags::from_bits(u32::try_from(get::<i32>(row, 11)?).unwrap_or(0)),
    };
    let key = HistoryKey { event_time, trade_id: tick.trade_id(), sequence, id };
    Ok((key, tick))
}

fn get<T: TryGetable>(row: &QueryResult, place: usize) -> Result<T, StoreError> {
    T::try_get_by(row, place).map_err(|error| during("read a tick")(DbErr::from(error)))
}

fn trade(row: &QueryResult) -> Result<Option<Trade>, StoreError> {
    let Some(Number(price)) = get(row, 3)? else {
        return Ok(None);
    };
    let Number(size) = get::<Option<Number>>(row, 6)?.ok_or_else(|| StoreError::missing(TABLE, "volume"))?;
    let name: Option<String> = get(row, 9)?;
    let trade_id = unsigned_option(TABLE, "trade_id", get(row, 10)?)?;
    Ok(Some(Trade { price, size, side: name.as_deref().map(side).transpose()?, trade_id }))
}

fn quote(price: Option<Number>, size: Option<Number>) -> Option<Quote> {
    price.map(|price| Quote { price: price.0, size: size.map(|size| size.0) })
}

pub(crate) fn side(name: &str) -> Result<Side, StoreError> {
    [Side::Buy, Side::Sell]
        .into_iter()
        .find(|side| side.as_str() == name)
        .ok_or_else(|| StoreError::corrupt(TABLE, "side", name))
}

/// The numbers of a tick in the order of the columns: price, bid, ask, volume, bid_size, ask_size.
pub(crate) fn numbers(tick: &Tick) -> [Option<Decimal>; 6] {
    let trade = tick.last_trade.as_ref();
    let bid = tick.best_bid.as_ref();
    let ask = tick.best_ask.as_ref();
    [
        trade.map(|trade| trade.price),
        bid.map(|bid| bid.price),
        ask.map(|ask| ask.price),
        trade.map(|trade| trade.size),
        bid.and_then(|bid| bid.size),
        ask.and_then(|ask| ask.size),
    ]
}
