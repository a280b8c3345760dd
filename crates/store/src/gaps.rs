//! Trades that are known to be missing.

use domain::{Gap, GapCause, GapState, Instrument, TimeRange, UnixNanos};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict},
};

use crate::{
    Store, StoreError,
    entity::gaps::{Column, Entity, Model},
    error::during,
    row::{instrument, is, run, signed, unsigned},
};

const TABLE: &str = "gaps";
/// The most gaps of one call.
const GAPS_LIMIT_MAX: usize = 10_000;

/// Which gaps to read, in the order in which they were noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapQuery {
    /// Of what.
    pub instrument: Instrument,
    /// When they were noticed.
    pub range: TimeRange,
    /// Only those after this one: when it was noticed, and its first trade.
    pub after: Option<(UnixNanos, u64)>,
    /// At most so many, and at most 10,000.
    pub limit: usize,
}

impl Store {
    /// Stores `gap`, or what has become of it since. Said again, or said late, it changes nothing: a gap that is closed
    /// stays closed and its count never falls.
    pub async fn record_gap(&self, gap: &Gap) -> Result<(), StoreError> {
        let row = row(gap)?.into_active_model();
        let stored = [Column::State, Column::RepairedCount].map(|column| Expr::col((Entity, column)));
        let [stored_state, stored_count] = stored;
        let newer = Condition::all()
            .add(stored_state.eq(name_of_state(GapState::Open)))
            .add(stored_count.lte(Expr::col(("excluded", Column::RepairedCount))));
        let advance = OnConflict::columns([
            Column::Venue,
            Column::Product,
            Column::Run,
            Column::FirstTradeId,
            Column::LastTradeId,
        ])
        .update_columns([Column::State, Column::RepairedCount])
        .action_cond_where(newer)
        .to_owned();
        self.within("record a gap", async {
            Entity::insert_many([row])
                .on_conflict(advance)
                .exec_without_returning(&self.inner.writer)
                .await
                .map_err(during("record a gap"))?;
            Ok(())
        })
        .await
    }

    /// One page of gaps.
    pub async fn gaps(&self, query: &GapQuery) -> Result<Vec<Gap>, StoreError> {
        let mut select = Entity::find()
            .filter(is(Column::Venue, Column::Product, &query.instrument))
            .filter(Column::DetectedAt.gte(query.range.from.nanos()))
            .filter(Column::DetectedAt.lt(query.range.until.nanos()))
            .order_by_asc(Column::DetectedAt)
            .order_by_asc(Column::FirstTradeId)
            .limit(u64::try_from(query.limit.min(GAPS_LIMIT_MAX)).unwrap_or(u64::MAX));
        if let Some((detected_at, first_trade_id)) = query.after {
            let place = Expr::tuple([Column::DetectedAt, Column::FirstTradeId].map(Expr::col));
            let first_trade_id = i64::try_from(first_trade_id).unwrap_or(i64::MAX);
            select =
                select.filter(place.gt(Expr::tuple([detected_at.nanos(), first_trade_id].map(Expr::val))));
        }
        self.within("read gaps", async {
            let rows = select.all(&self.inner.reader).await.map_err(during("read gaps"))?;
            rows.iter().map(read).collect()
        })
        .await
    }
}

fn row(gap: &Gap) -> Result<Model, StoreError> {
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

fn read(row: &Model) -> Result<Gap, StoreError> {
    let cause = CAUSES.into_iter().find(|cause| name_of_cause(*cause) == row.cause);
    let state = STATES.into_iter().find(|state| name_of_state(*state) == row.state);
    Ok(Gap {
        instrument: instrument(TABLE, &row.venue, &row.product)?,
        run: run(TABLE, row.run)?,
        first_trade_id: unsigned(TABLE, "first_trade_id", row.first_trade_id)?,
        last_trade_id: unsigned(TABLE, "last_trade_id", row.last_trade_id)?,
        after: row.ts_before.map(UnixNanos::new),
        before: row.ts_after.map(UnixNanos::new),
        detected_at: UnixNanos::new(row.detected_at),
        cause: cause.ok_or_else(|| StoreError::corrupt(TABLE, "cause", &row.cause))?,
        state: state.ok_or_else(|| StoreError::corrupt(TABLE, "state", &row.state))?,
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

fn name_of_state(state: GapState) -> &'static str {
    match state {
        GapState::Open => "open",
        GapState::Repaired => "repaired",
        GapState::Unrepairable => "unrepairable",
    }
}
