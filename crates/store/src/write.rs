//! Storing a batch exactly once, with everything that follows from its ticks, in one transaction.
//!
//! Writers of one product take turns, so what is read here stays true until the commit: which trades are stored, how a
//! minute's bar stands, what the newest price is, which of the trades were missing.

mod bars;
mod counts;
mod gaps;
mod insert;
mod latest;
mod prepare;
mod snapshots;

use std::time::Instant;

use domain::{Gap, Snapshot, Tick, UnixNanos};
use metrics::counter;

use self::{gaps::Around, prepare::Prepared};
use crate::{Store, StoreError, error::during, meta, metrics as names};

/// A tick, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct TickRow<'a> {
    /// The tick. Its statistics of the day are not stored: only snapshots have them.
    pub tick: &'a Tick,
    /// The message in `LF_TICKS` that brought it.
    pub tick_seq: Option<u64>,
}

/// What is written in one transaction: up to some thousand ticks of any products, in any order.
#[derive(Clone, Copy, Debug)]
pub struct WriteBatch<'a> {
    /// The ticks.
    pub ticks: &'a [TickRow<'a>],
    /// The newest states. One that is older than what is stored is left out.
    pub snapshots: &'a [Snapshot],
    /// The writer's clock.
    pub written_at: UnixNanos,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many ticks were stored for the first time.
    pub inserted: usize,
    /// How many were stored already, or stood in the batch twice.
    pub duplicates: usize,
    /// The indexes in the batch of the ticks that were not stored because they are older than the horizon, and have no place
    /// but the rejects.
    pub too_old: Vec<usize>,
    /// How many were not stored for that reason and are left to the gap that their trade lies in, which retention gives up.
    pub left_to_gaps: usize,
    /// The gaps that trades of the batch lie in, as they are now. When the batch is written again they are told again.
    pub gaps: Vec<Gap>,
}

impl Store {
    /// Stores `batch`: ticks that are not stored yet, the minute bars and newest prices that follow from exactly those,
    /// and the snapshots; all of it or nothing. Writing the same batch again, also after an error that left open
    /// whether it was committed, changes nothing.
    ///
    /// A backfilled tick counts as stored when its product has a tick with its trade_id, whatever its time; so does a live
    /// one that lies in a gap, where it may have been fetched before it came. A trade that is stored and lies in a gap counts
    /// there as repaired, whichever way it came; the gap whose trades are all there is repaired. A backfilled trade that
    /// lies in no gap of its own run is taken to be of the newest run with a gap for it, and stored so: whoever fetched it
    /// may not know the run.
    pub async fn write(&self, batch: &WriteBatch<'_>) -> Result<Written, StoreError> {
        let started = Instant::now();
        let result = self.within_write("write a batch", self.write_batch(batch)).await;
        match &result {
            Ok(written) => {
                names::written(
                    written.inserted,
                    written.duplicates,
                    written.too_old.len().saturating_add(written.left_to_gaps),
                    started.elapsed(),
                );
            }
            Err(_) => counter!(names::WRITE_FAILURES).increment(1),
        }
        result
    }

    async fn write_batch(&self, batch: &WriteBatch<'_>) -> Result<Written, StoreError> {
        let mut prepared = Prepared::of(batch)?;
        if prepared.is_empty() && batch.snapshots.is_empty() {
            return Ok(Written { duplicates: batch.ticks.len(), ..Written::default() });
        }
        if self.is_postgres() {
            self.make_partitions(prepared.event_times()).await?;
        }
        let transaction = self.begin_turn(prepared.instruments()).await?;
        let horizon = meta::hold_horizon(&transaction).await?;
        let mut around = Around::of(&transaction, &mut prepared).await?;
        let expired = prepared.remove_older_than(horizon);
        let placeless = expired.iter().filter(|row| around.gap_of(row).is_none());
        let too_old: Vec<usize> = placeless.map(|row| row.index).collect();
        let left_to_gaps = expired.len().saturating_sub(too_old.len());
        insert::remove_stored_trades(&transaction, &mut prepared, &around).await?;
        let inserted = insert::insert(&transaction, &prepared, batch.written_at).await?;
        bars::add(&transaction, &prepared, &inserted).await?;
        counts::add(&transaction, &inserted).await?;
        around.fill(&transaction, &inserted).await?;
        latest::advance(&transaction, &prepared, &inserted, batch.written_at).await?;
        snapshots::replace(&transaction, batch.snapshots, batch.written_at).await?;
        transaction.commit().await.map_err(during("commit a batch"))?;
        let duplicates = batch.ticks.len().saturating_sub(inserted.len()).saturating_sub(expired.len());
        Ok(Written { inserted: inserted.len(), duplicates, too_old, left_to_gaps, gaps: around.touched()? })
    }
}
