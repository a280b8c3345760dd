//! Trades that are known to be missing, as they stand in the ledger.

use domain::{Gap, GapCause, GapState, Instrument, Product, TimeRange, UnixNanos, Venue};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement,
    sea_query::{Expr, Func},
};

use crate::{
    Order, Store, StoreError,
    entity::gaps::{Column, Entity, Model},
    error::during,
    row::{instrument, is, run, signed, unsigned},
};

const TABLE: &str = "gaps";
/// The most gaps of one call.
pub(crate) const GAPS_LIMIT_MAX: usize = 10_000;

/// Where a gap stands among those of its venue: by product, then by run and trade, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GapKey {
    /// Of what.
    pub product: Product,
    /// The run in which it was seen.
    pub run: u32,
    /// The first missing trade.
    pub first_trade_id: u64,
}

impl From<&Gap> for GapKey {
    fn from(gap: &Gap) -> Self {
        let product = gap.instrument.product.clone();
        Self { product, run: gap.run, first_trade_id: gap.first_trade_id }
    }
}

/// Which gaps to read, in the order of [`GapKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapQuery {
    /// Of which exchange.
    pub venue: Venue,
    /// Only of this product.
    pub product: Option<Product>,
    /// Only those that touch this range of event time: what is not known of the times around a gap, the time when it was
    /// noticed stands for.
    pub range: TimeRange,
    /// Only those in one of these states; none: in any.
    pub states: Vec<GapState>,
    /// Only those after this one.
    pub after: Option<GapKey>,
    /// At most so many, and at most 10,000.
    pub limit: usize,
}

/// What is missing of a product and may still come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenGaps {
    /// Of what.
    pub instrument: Instrument,
    /// How many gaps are open.
    pub gaps: u64,
    /// How many of their trades are missing.
    pub missing_trades: u64,
}

/// What the gaps of a product in one state add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapTotals {
    /// Of what.
    pub instrument: Instrument,
    /// In which state.
    pub state: GapState,
    /// How many gaps.
    pub gaps: u64,
    /// How many of their trades are missing.
    pub missing_trades: u64,
    /// How many of their trades came afterwards.
    pub repaired_trades: u64,
}

impl Store {
    /// One page of gaps.
    pub async fn gaps(&self, query: &GapQuery) -> Result<Vec<Gap>, StoreError> {
        let mut select = Entity::find()
            .filter(Column::Venue.eq(query.venue.as_str()))
            .filter(touches(query.range))
            .order_by_asc(Column::Product)
            .order_by_asc(Column::Run)
            .order_by_asc(Column::FirstTradeId)
            .limit(u64::try_from(query.limit.min(GAPS_LIMIT_MAX)).unwrap_or(u64::MAX));
        if let Some(product) = &query.product {
            select = select.filter(Column::Product.eq(product.as_str()));
        }
        if !query.states.is_empty() {
            select =
                select.filter(Column::State.is_in(query.states.iter().map(|state| name_of_state(*state))));
        }
        if let Some(after) = &query.after {
            let place = [Column::Product, Column::Run, Column::FirstTradeId].map(Expr::col);
            let first_trade_id = i64::try_from(after.first_trade_id).unwrap_or(i64::MAX);
            let after = [
                Expr::val(after.product.as_str()),
                Expr::val(i64::from(after.run)),
                Expr::val(first_trade_id),
            ];
            select = select.filter(Expr::tuple(place).gt(Expr::tuple(after)));
        }
        self.within("read gaps", async {
            let rows = select.all(&self.inner.reader).await.map_err(during("read gaps"))?;
            rows.iter().map(read).collect()
        })
        .await
    }

    /// The gaps of `wanted` that touch `range` and have a trade among `trades` (the first and the last), by trade number in
    /// `order`, at most `limit` and at most 10,000: what the trades of a range have to be judged by.
    pub async fn gaps_among(
        &self,
        wanted: &Instrument,
        trades: (u64, u64),
        range: TimeRange,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Gap>, StoreError> {
        let [first, last] = [trades.0, trades.1].map(|trade| i64::try_from(trade).unwrap_or(i64::MAX));
        let select = Entity::find()
            .filter(is(Column::Venue, Column::Product, wanted))
            .filter(Column::LastTradeId.gte(first))
            .filter(Column::FirstTradeId.lte(last))
            .filter(touches(range))
            .limit(u64::try_from(limit.min(GAPS_LIMIT_MAX)).unwrap_or(u64::MAX));
        let select = match order {
            Order::Ascending => select.order_by_asc(Column::LastTradeId).order_by_asc(Column::Run),
            Order::Descending => select.order_by_desc(Column::LastTradeId).order_by_desc(Column::Run),
        };
        self.within("read gaps", async {
            let rows = select.all(&self.inner.reader).await.map_err(during("read gaps"))?;
            rows.iter().map(read).collect()
        })
        .await
    }

    /// The newest gaps that are open and were noticed before `before`, the newest first, at most `limit` and at most 10,000: in
    /// time that depends on the open gaps alone.
    pub async fn newest_open_gaps(&self, before: UnixNanos, limit: usize) -> Result<Vec<Gap>, StoreError> {
        let select = Entity::find()
            // As the index of the open gaps says it.
            .filter(Expr::cust("state = 'open'"))
            .filter(Column::DetectedAt.lt(before.nanos()))
            .order_by_desc(Column::DetectedAt)
            .order_by_desc(Column::Run)
            .order_by_desc(Column::FirstTradeId)
            .limit(u64::try_from(limit.min(GAPS_LIMIT_MAX)).unwrap_or(u64::MAX));
        self.within("read gaps", async {
            let rows = select.all(&self.inner.reader).await.map_err(during("read gaps"))?;
            rows.iter().map(read).collect()
        })
        .await
    }

    /// The products that have open gaps, by venue and name: in time that depends on the open gaps alone.
    pub async fn open_gaps(&self) -> Result<Vec<OpenGaps>, StoreError> {
        let select = "SELECT venue, product, count(*) AS gaps, \
             CAST(sum(last_trade_id - first_trade_id + 1 - repaired_count) AS BIGINT) AS missing \
             FROM gaps WHERE state = 'open' GROUP BY venue, product ORDER BY venue, product";
        self.within("count the open gaps", async {
            let reader = &self.inner.reader;
            let select = Statement::from_string(reader.get_database_backend(), select);
            let counting = during("count the open gaps");
            let rows = reader.query_all_raw(select).await.map_err(&counting)?;
            rows.iter()
                .map(|row| {
                    let (venue, product) = (text(row, "venue")?, text(row, "product")?);
                    Ok(OpenGaps {
                        instrument: instrument(TABLE, &venue, &product)?,
                        gaps: count(row, "gaps")?,
                        missing_trades: count(row, "missing")?,
                    })
                })
                .collect()
        })
        .await
    }

    /// What the gaps of each product add up to in each state, by venue and name. It looks at all gaps: for metrics.
    pub async fn gap_totals(&self) -> Result<Vec<GapTotals>, StoreError> {
        let select = "SELECT venue, product, state, count(*) AS gaps, \
             CAST(sum(last_trade_id - first_trade_id + 1 - repaired_count) AS BIGINT) AS missing, \
             CAST(sum(repaired_count) AS BIGINT) AS repaired \
             FROM gaps GROUP BY venue, product, state ORDER BY venue, product, state";
        self.within("add up the gaps", async {
            let reader = &self.inner.reader;
            let select = Statement::from_string(reader.get_database_backend(), select);
            let rows = reader.query_all_raw(select).await.map_err(during("add up the gaps"))?;
            rows.iter()
                .map(|row| {
                    let (venue, product) = (text(row, "venue")?, text(row, "product")?);
                    Ok(GapTotals {
                        instrument: instrument(TABLE, &venue, &product)?,
                        state: state(&text(row, "state")?)?,
                        gaps: count(row, "gaps")?,
                        missing_trades: count(row, "missing")?,
                        repaired_trades: count(row, "repaired")?,
                    })
                })
                .collect()
        })
        .await
    }
}

fn text(row: &sea_orm::QueryResult, column: &str) -> Result<String, StoreError> {
    row.try_get("", column).map_err(during("read gaps"))
}

fn count(row: &sea_orm::QueryResult, column: &'static str) -> Result<u64, StoreError> {
    unsigned(TABLE, column, row.try_get("", column).map_err(during("read gaps"))?)
}

/// Gaps whose trades may lie in `range`.
fn touches(range: TimeRange) -> Condition {
    let known = |columns: &[Column]| Func::coalesce(columns.iter().map(|column| Expr::col(*column)));
    let first = known(&[Column::TsBefore, Column::TsAfter, Column::DetectedAt]);
    let last = known(&[Column::TsAfter, Column::DetectedAt]);
    Condition::all()
        .add(Expr::expr(first).lt(range.until.nanos()))
        .add(Expr::expr(last).gte(range.from.nanos()))
}

pub(crate) fn row(gap: &Gap) -> Result<Model, StoreError> {
    let name = &gap.instrument;
    Ok(Model {
        venue: name.venue.to_string(),
        product: name.product.to_string(),
        run: i64::from(gap.run),
        first_trade_id: signed(name, "trade_id", gap.first_trade_id)?,
        last_trade_id: signed(name, "trade_id", gap.last_trade_id)?,
        ts_before: gap.after.map(UnixNanos::nanos),
        ts_after: gap.before.map(UnixNanos::nanos),
        detected_at: gap.detected_at.nanos(),
        cause: name_of_cause(gap.cause).into(),
        state: name_of_state(gap.state).into(),
        repaired_count: signed(name, "repaired_count", gap.repaired_count)?,
    })
}

pub(crate) fn read(row: &Model) -> Result<Gap, StoreError> {
    let cause = CAUSES.into_iter().find(|cause| name_of_cause(*cause) == row.cause);
    Ok(Gap {
        instrument: instrument(TABLE, &row.venue, &row.product)?,
        run: run(TABLE, row.run)?,
        first_trade_id: unsigned(TABLE, "first_trade_id", row.first_trade_id)?,
        last_trade_id: unsigned(TABLE, "last_trade_id", row.last_trade_id)?,
        after: row.ts_before.map(UnixNanos::new),
        before: row.ts_after.map(UnixNanos::new),
        detected_at: UnixNanos::new(row.detected_at),
        cause: cause.ok_or_else(|| StoreError::corrupt(TABLE, "cause", &row.cause))?,
        state: state(&row.state)?,
        repaired_count: unsigned(TABLE, "repaired_count", row.repaired_count)?,
    })
}

const CAUSES: [GapCause; 5] =
    [GapCause::Disconnect, GapCause::Restart, GapCause::Drop, GapCause::Batched, GapCause::Overflow];
const STATES: [GapState; 3] = [GapState::Open, GapState::Repaired, GapState::Unrepairable];

fn name_of_cause(cause: GapCause) -> &'static str {
    match cause {
        GapCause::Disconnect => "disconnect",
        GapCause::Restart => "restart",
        GapCause::Drop => "drop",
        GapCause::Batched => "batched",
        GapCause::Overflow => "overflow",
    }
}

pub(crate) fn name_of_state(state: GapState) -> &'static str {
    match state {
        GapState::Open => "open",
        GapState::Repaired => "repaired",
        GapState::Unrepairable => "unrepairable",
    }
}

fn state(name: &str) -> Result<GapState, StoreError> {
    let state = STATES.into_iter().find(|state| name_of_state(*state) == name);
    state.ok_or_else(|| StoreError::corrupt(TABLE, "state", name))
}
