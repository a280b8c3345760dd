//! One tick, found by a number that somebody has of it, and with what the store alone knows.

use domain::{Instrument, Tick, UnixNanos};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, TryGetable,
};
use time::OffsetDateTime;

use crate::{
    Store, StoreError,
    entity::tick_history::{Column, Entity},
    error::during,
    row,
};

/// The most ticks that one number finds. A trade_id names one trade, and a sequence one tick of each run.
const FOUND_MAX: u64 = 64;
/// A sequence is looked for in so many runs, the newest ones.
const RUNS_MAX: u32 = 1_000;

/// A number of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TickNumber {
    /// The exchange's number of the trade.
    TradeId(u64),
    /// The exchange's sequence, in whatever run.
    Sequence(u64),
}

/// A tick as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTick {
    /// What it says.
    pub tick: Tick,
    /// When it was written, by the clock of whoever wrote it.
    pub stored_at: UnixNanos,
    /// The message of `LF_TICKS` that brought it.
    pub tick_sequence: Option<u64>,
}

impl Store {
    /// The ticks of `instrument` that have this number, oldest run first; at most 64. In time that does not depend on how
    /// much is stored.
    pub async fn find_ticks(
        &self,
        instrument: &Instrument,
        number: TickNumber,
    ) -> Result<Vec<StoredTick>, StoreError> {
        self.within("find a tick", async {
            match number {
                TickNumber::TradeId(trade_id) => {
                    let Ok(trade_id) = i64::try_from(trade_id) else { return Ok(Vec::new()) };
                    self.found(instrument, Column::TradeId.eq(trade_id).into()).await
                }
                TickNumber::Sequence(sequence) => self.find_sequence(instrument, sequence).await,
            }
        })
        .await
    }

    async fn find_sequence(
        &self,
        instrument: &Instrument,
        sequence: u64,
    ) -> Result<Vec<StoredTick>, StoreError> {
        let (Ok(sequence), Some(latest)) = (i64::try_from(sequence), self.latest(instrument).await?) else {
            return Ok(Vec::new());
        };
        // The run stands before the sequence in the indexes, so each is looked up.
        let newest = latest.position.run;
        let runs = newest.saturating_sub(RUNS_MAX)..=newest;
        let is =
            Condition::all().add(Column::Run.is_in(runs.map(i64::from))).add(Column::Sequence.eq(sequence));
        // Each kind has an index of its own.
        let mut found = self.found(instrument, is.clone().add(Column::TradeId.is_not_null())).await?;
        found.extend(self.found(instrument, is.add(Column::TradeId.is_null())).await?);
        found.sort_by_key(|stored| stored.tick.run);
        Ok(found)
    }

    async fn found(&self, wanted: &Instrument, is: Condition) -> Result<Vec<StoredTick>, StoreError> {
        let select = Entity::find()
            .select_only()
            .columns(row::TICK_COLUMNS)
            .columns([Column::Timestamp, Column::TickSeq])
            .filter(row::is(Column::Venue, Column::Product, wanted))
            .filter(is)
            .order_by_asc(Column::Id)
            .limit(FOUND_MAX);
        let finding = during("find a tick");
        let rows = sea_orm::ConnectionTrait::query_all(&self.inner.reader, select.as_query()).await;
        let rows = rows.map_err(&finding)?;
        let stored = rows.iter().map(|row| {
            let [written, message] = [row::TICK_COLUMNS.len(), row::TICK_COLUMNS.len() + 1];
            let failed = |error| finding(sea_orm::DbErr::from(error));
            let written = OffsetDateTime::try_get_by(row, written).map_err(failed)?;
            let tick_sequence = Option::<i64>::try_get_by(row, message).map_err(failed)?;
            Ok(StoredTick {
                tick: row::tick(row, wanted)?.1,
                stored_at: row::nanos("tick_history", "timestamp", written)?,
                tick_sequence: row::unsigned_option("tick_history", "tick_seq", tick_sequence)?,
            })
        });
        stored.collect()
    }
}
