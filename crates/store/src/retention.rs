//! Dropping the oldest ticks. Bars, gaps and snapshots stay; a gap whose trades would be refused now is given up.

use std::time::Duration;

use domain::{Gap, GapState, MINUTE, UnixNanos};
use metrics::counter;
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Func},
};

use crate::{
    Store, StoreError,
    entity::{
        gaps,
        tick_history::{Column, Entity},
    },
    error::during,
    gaps::{GAPS_LIMIT_MAX, name_of_state, read},
    metrics as names, partitions,
};

/// How many rows SQLite deletes in one step: writers wait no longer than that takes.
const STEP_ROWS_MAX: u64 = 2000;

/// What retention did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Ticks before this time are gone and will be refused; `None` while none ever were.
    pub horizon: Option<UnixNanos>,
    /// How many partitions were dropped (PostgreSQL).
    pub partitions_dropped: u64,
    /// How many rows were deleted (SQLite).
    pub rows_deleted: u64,
    /// The gaps that were open, lie before the horizon and were given up: their trades would be refused. At most 10,000 or so,
    /// those of the oldest times; the next call gives up the others.
    pub gaps_given_up: Vec<Gap>,
}

impl Store {
    /// Drops ticks whose event time is more than `keep` before `now`, in whole partitions on PostgreSQL and whole
    /// minutes on SQLite, so that each minute's bar is either complete in history or sealed.
    ///
    /// The horizon moves first: from then on older ticks are refused, so nothing comes back. It never moves back. A call
    /// that was interrupted is completed by the next one.
    pub async fn retain(&self, keep: Duration, now: UnixNanos) -> Result<RetentionReport, StoreError> {
        let unit = if self.is_postgres() { self.inner.partitions.width() } else { MINUTE };
        let wanted = now.saturating_sub(keep).floor_to(unit);
        self.within("advance the horizon", self.advance_horizon(wanted)).await?;
        let mut report = RetentionReport { horizon: self.horizon().await?, ..RetentionReport::default() };
        let Some(horizon) = report.horizon else {
            return Ok(report);
        };
        if self.is_postgres() {
            report.partitions_dropped = self.drop_partitions(horizon).await?;
        } else {
            report.rows_deleted = self.delete_rows(horizon).await?;
        }
        // A large future, of the two statements.
        let giving_up = Box::pin(self.give_up_gaps(horizon));
        report.gaps_given_up = self.within_write("give up old gaps", giving_up).await?;
        Ok(report)
    }

    /// The time of what is missing is at most that of the trade after it, or else of when it was noticed.
    async fn give_up_gaps(&self, horizon: UnixNanos) -> Result<Vec<Gap>, StoreError> {
        let last =
            || Expr::expr(Func::coalesce([gaps::Column::TsAfter, gaps::Column::DetectedAt].map(Expr::col)));
        let old = Condition::all()
            .add(gaps::Column::State.eq(name_of_state(GapState::Open)))
            .add(last().lt(horizon.nanos()));
        // Where there are more than one call takes: the time of the last one that it takes.
        let until: Option<i64> = gaps::Entity::find()
            .select_only()
            .column_as(last(), "last")
            .filter(old.clone())
            .order_by_asc(last())
            .offset(GAPS_LIMIT_MAX as u64 - 1)
            .limit(1)
            .into_tuple()
            .one(&self.inner.writer)
            .await
            .map_err(during("find old gaps"))?;
        let mut update = gaps::Entity::update_many()
            .col_expr(gaps::Column::State, Expr::value(name_of_state(GapState::Unrepairable)))
            .filter(old);
        if let Some(until) = until {
            update = update.filter(last().lte(until));
        }
        let given_up =
            update.exec_with_returning(&self.inner.writer).await.map_err(during("give up old gaps"))?;
        given_up.iter().map(read).collect()
    }

    async fn drop_partitions(&self, horizon: UnixNanos) -> Result<u64, StoreError> {
        let writer = &self.inner.writer;
        let known = &self.inner.partitions;
        let partitions = self
            .within("list the partitions", async {
                known.existing(writer).await.map_err(during("list the partitions"))
            })
            .await?;
        let first_kept = known.number_of(horizon);
        let mut dropped = 0;
        for (number, name) in partitions.into_iter().filter(|(number, _)| *number < first_kept) {
            let drop =
                async { partitions::drop_partition(writer, &name).await.map_err(during("drop a partition")) };
            let is_ours = self.within("drop a partition", drop).await?;
            known.forget(number);
            if is_ours {
                counter!(names::PARTITIONS_DROPPED).increment(1);
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    async fn delete_rows(&self, horizon: UnixNanos) -> Result<u64, StoreError> {
        let mut deleted = 0;
        // Rows are written roughly in the order of time, so the old ones are found first; what was looked at is not
        // looked at again.
        let mut after = i64::MIN;
        loop {
            let ids = self.within("find old ticks", self.old_rows(horizon, after)).await?;
            let Some(last) = ids.last() else {
                return Ok(deleted);
            };
            after = *last;
            let step = self.within("delete old ticks", self.delete_step(ids)).await?;
            counter!(names::ROWS_DROPPED).increment(step);
            deleted += step;
        }
    }

    async fn old_rows(&self, horizon: UnixNanos, after: i64) -> Result<Vec<i64>, StoreError> {
        Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Id.gt(after))
            .filter(Column::TsEvent.lt(horizon.nanos()))
            .order_by_asc(Column::Id)
            .limit(STEP_ROWS_MAX)
            .into_tuple()
            .all(&self.inner.reader)
            .await
            .map_err(during("find old ticks"))
    }

    async fn delete_step(&self, ids: Vec<i64>) -> Result<u64, StoreError> {
        let result = Entity::delete_many()
            .filter(Column::Id.is_in(ids))
            .exec(&self.inner.writer)
            .await
            .map_err(during("delete old ticks"))?;
        Ok(result.rows_affected)
    }
}
