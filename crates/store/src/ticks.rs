//! Reading history, page by page.

use std::cmp::Ordering;

use domain::{Instrument, Tick, TimeRange, UnixNanos};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait,
    sea_query::{self, Asterisk, Expr, Query, SelectStatement, UnionType},
};

use crate::{
    Store, StoreError,
    entity::tick_history::{Column, Entity},
    error::during,
    row,
};

/// The most ticks of one call.
pub const TICKS_LIMIT_MAX: usize = 10_000;

/// Where a tick stands in history, total and stable: event time, then trade_id, then sequence (absent ones first), then
/// the order of insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryKey {
    /// When it happened.
    pub event_time: UnixNanos,
    /// The number of the trade.
    pub trade_id: Option<u64>,
    /// The exchange's sequence.
    pub sequence: Option<u64>,
    /// The number of the row.
    pub id: i64,
}

/// Which part of history to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TickRange {
    /// By event time, in the order of [`HistoryKey`]. Backfilled ticks stand where they belong.
    Time(TimeRange),
    /// The live ticks of a run by sequence, in the order of sequence. Backfilled ticks have none and are left out.
    Sequence {
        /// The run.
        run: u32,
        /// The first sequence.
        from: u64,
        /// The first sequence that is not wanted any more.
        until: u64,
    },
}

/// The order of the ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// Which ticks to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickQuery {
    /// Of what.
    pub instrument: Instrument,
    /// Which part.
    pub range: TickRange,
    /// In which order.
    pub order: Order,
    /// Only those that come after this one in the order asked for: the last key of the page before.
    pub after: Option<HistoryKey>,
    /// At most so many, and at most [`TICKS_LIMIT_MAX`].
    pub limit: usize,
}

impl Store {
    /// One page of ticks. A page shows one moment of the database; ticks that are stored meanwhile and belong to pages
    /// already read are not seen, and nothing else is ever skipped or repeated.
    pub async fn ticks(&self, query: &TickQuery) -> Result<Vec<(HistoryKey, Tick)>, StoreError> {
        self.within("read ticks", self.read_ticks(query)).await
    }

    async fn read_ticks(&self, query: &TickQuery) -> Result<Vec<(HistoryKey, Tick)>, StoreError> {
        let limit = query.limit.min(TICKS_LIMIT_MAX);
        // Ticks with and without trade_id have an index each that yields them in order, so each kind is asked for a full
        // page. One statement for both: two could show two moments, and a tick stored between them could be skipped.
        let mut page = kind(query, limit, true)?;
        page.union(UnionType::All, kind(query, limit, false)?);
        let rows = self.inner.reader.query_all(&page).await.map_err(during("read ticks"))?;
        let mut ticks = Vec::with_capacity(rows.len());
        for row in &rows {
            ticks.push(row::tick(row, &query.instrument)?);
        }
        ticks.sort_unstable_by(|(left, _), (right, _)| compare(query, left, right));
        ticks.truncate(limit);
        Ok(ticks)
    }
}

fn compare(query: &TickQuery, left: &HistoryKey, right: &HistoryKey) -> Ordering {
    let ascending = match query.range {
        TickRange::Time(_) => left.cmp(right),
        TickRange::Sequence { .. } => (left.sequence, left.id).cmp(&(right.sequence, right.id)),
    };
    match query.order {
        Order::Ascending => ascending,
        Order::Descending => ascending.reverse(),
    }
}

/// A page of the ticks with trade_id, or of those without.
fn kind(query: &TickQuery, limit: usize, with_trade_id: bool) -> Result<SelectStatement, StoreError> {
    let presence = if with_trade_id { Column::TradeId.is_not_null() } else { Column::TradeId.is_null() };
    let columns: &[Column] = match (query.range, with_trade_id) {
        (TickRange::Time(_), true) => &[Column::TsEvent, Column::TradeId],
        (TickRange::Time(_), false) => &[Column::TsEvent, Column::Sequence, Column::Id],
        (TickRange::Sequence { .. }, _) => &[Column::Sequence, Column::Id],
    };
    let mut select = Entity::find()
        .select_only()
        .columns(row::TICK_COLUMNS)
        .filter(row::is(Column::Venue, Column::Product, &query.instrument))
        .filter(presence)
        .filter(within(query)?)
        .limit(u64::try_from(limit).unwrap_or(u64::MAX));
    if let Some(after) = &query.after {
        select = select.filter(beyond(query, columns, &values(query, after, with_trade_id)?));
    }
    for column in columns {
        select = match query.order {
            Order::Ascending => select.order_by_asc(*column),
            Order::Descending => select.order_by_desc(*column),
        };
    }
    // SQLite allows ORDER BY and LIMIT in a part of a union only inside a subquery.
    Ok(Query::select()
        .column(Asterisk)
        .from_subquery(select.into_query(), sea_query::Alias::new("page"))
        .take())
}

/// The range, narrowed to what can come after the cursor: that leaves out partitions.
fn within(query: &TickQuery) -> Result<Condition, StoreError> {
    let after = query.after.as_ref();
    Ok(match query.range {
        TickRange::Time(TimeRange { from, until }) => {
            let condition = Condition::all()
                .add(Column::TsEvent.gte(from.nanos()))
                .add(Column::TsEvent.lt(until.nanos()));
            match (after, query.order) {
                (Some(after), Order::Ascending) => {
                    condition.add(Column::TsEvent.gte(after.event_time.nanos()))
                }
                (Some(after), Order::Descending) => {
                    condition.add(Column::TsEvent.lte(after.event_time.nanos()))
                }
                (None, _) => condition,
            }
        }
        TickRange::Sequence { run, from, until } => Condition::all()
            .add(Column::Run.eq(i64::from(run)))
            .add(Column::Sequence.gte(clamped(from)))
            .add(Column::Sequence.lt(clamped(until))),
    })
}

/// What the cursor says of each of the columns that order this kind. Where it is of the other kind, it stands before or
/// after all ticks of this kind at the same time: those without trade_id come first.
fn values(query: &TickQuery, after: &HistoryKey, with_trade_id: bool) -> Result<Vec<i64>, StoreError> {
    let time = after.event_time.nanos();
    let sequence = after.sequence.map(clamped);
    Ok(match (query.range, with_trade_id, after.trade_id) {
        (TickRange::Time(_), true, trade_id) => vec![time, trade_id.map_or(i64::MIN, clamped)],
        (TickRange::Time(_), false, None) => vec![time, sequence.unwrap_or(i64::MIN), after.id],
        (TickRange::Time(_), false, Some(_)) => vec![time, i64::MAX, i64::MAX],
        (TickRange::Sequence { .. }, _, _) => vec![sequence.unwrap_or(i64::MIN), after.id],
    })
}

/// Row values compare column by column, like the order itself, and both databases use an index for them.
fn beyond(query: &TickQuery, columns: &[Column], values: &[i64]) -> Expr {
    let left = Expr::tuple(columns.iter().map(|column| Expr::col((Entity, *column))));
    let right = Expr::tuple(values.iter().map(|value| Expr::val(*value)));
    match query.order {
        Order::Ascending => left.gt(right),
        Order::Descending => left.lt(right),
    }
}

/// No stored number is above the largest 64-bit integer.
fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
