//! Storing a batch exactly once, with everything that follows from its ticks, in one transaction.
//!
//! Writers of one product take turns (an advisory lock per product on PostgreSQL, the only writer on SQLite). So what is
//! read here stays true until the commit: which trades are stored, how a minute's bar stands, what the newest price is.

mod bars;
mod insert;
mod latest;
mod prepare;
mod snapshots;

use std::time::Instant;

use domain::{Snapshot, Tick, UnixNanos};
use metrics::counter;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};

use self::prepare::Prepared;
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
    /// The indexes in the batch of the ticks that were not stored because they are older than the horizon.
    pub too_old: Vec<usize>,
}

impl Store {
    /// Stores `batch`: ticks that are not stored yet, the minute bars and newest prices that follow from exactly those,
    /// and the snapshots; all of it or nothing. Writing the same batch again, also after an error that left open
    /// whether it was committed, changes nothing.
    ///
    /// A backfilled tick counts as stored when its product has a tick with its trade_id, whatever its time.
    pub async fn write(&self, batch: &WriteBatch<'_>) -> Result<Written, StoreError> {
        let started = Instant::now();
        let result = self.within("write a batch", self.write_batch(batch)).await;
        match &result {
            Ok(written) => {
                names::written(
                    written.inserted,
                    written.duplicates,
                    written.too_old.len(),
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
        let transaction = self.begin().await?;
        if self.is_postgres() {
            take_turns(&transaction, &prepared).await?;
        }
        let horizon = meta::hold_horizon(&transaction).await?;
        let too_old = prepared.remove_older_than(horizon);
        insert::remove_stored_backfills(&transaction, &mut prepared).await?;
        let inserted = insert::insert(&transaction, &prepared, batch.written_at).await?;
        bars::add(&transaction, &prepared, &inserted).await?;
        latest::advance(&transaction, &prepared, &inserted, batch.written_at).await?;
        snapshots::replace(&transaction, batch.snapshots, batch.written_at).await?;
        transaction.commit().await.map_err(during("commit a batch"))?;
        let duplicates = batch.ticks.len().saturating_sub(inserted.len()).saturating_sub(too_old.len());
        Ok(Written { inserted: inserted.len(), duplicates, too_old })
    }

    async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        // Immediate: a transaction of SQLite that starts as a reader cannot wait for the lock when it comes to write.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.inner.writer.begin_with_options(options).await.map_err(during("begin a transaction"))
    }
}

/// Waits until no other transaction writes a product of this batch. All take the locks in the same order, so that none
/// waits for another in a circle; two products with the same hash merely wait for each other.
async fn take_turns(transaction: &DatabaseTransaction, prepared: &Prepared<'_>) -> Result<(), StoreError> {
    let names: Vec<String> = prepared.instruments().map(ToString::to_string).collect();
    let lock = Statement::from_sql_and_values(
        transaction.get_database_backend(),
        "SELECT count(pg_advisory_xact_lock(lock)) FROM \
         (SELECT DISTINCT hashtextextended(name, 20210417) AS lock FROM unnest($1::text[]) AS name ORDER BY lock) AS locks",
        [names.into()],
    );
    transaction.query_one_raw(lock).await.map_err(during("lock the products"))?;
    Ok(())
}
