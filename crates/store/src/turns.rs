//! Writers of one product take turns.

use std::time::Duration;

use domain::Instrument;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};

use crate::{Store, StoreError, error::during};

/// So much later than we do, the server gives up a statement of ours itself.
const SERVER_LATER: Duration = Duration::from_secs(1);

impl Store {
    /// Begins a transaction that nobody else who writes one of `instruments` overlaps: an advisory lock per product on
    /// PostgreSQL, the only writer on SQLite. What is read in it stays true until it ends.
    ///
    /// All take the locks in the same order, so that none waits for another in a circle; two products with the same hash
    /// merely wait for each other.
    ///
    /// The statements that follow get little more time from the server than the write has: where the server cannot see that
    /// nobody waits for one any more, it must not keep the turn from whoever repeats the write.
    pub(crate) async fn begin_turn<'a>(
        &self,
        instruments: impl Iterator<Item = &'a Instrument>,
    ) -> Result<DatabaseTransaction, StoreError> {
        // Immediate: a transaction of SQLite that starts as a reader cannot wait for the lock when it comes to write.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction =
            self.inner.writer.begin_with_options(options).await.map_err(during("begin a transaction"))?;
        if self.is_postgres() {
            let names: Vec<String> = instruments.map(ToString::to_string).collect();
            let statement_timeout = self.inner.patience.now() + SERVER_LATER;
            let lock = Statement::from_sql_and_values(
                DbBackend::Postgres,
                "SELECT set_config('statement_timeout', $2, true), count(pg_advisory_xact_lock(lock)) FROM \
                 (SELECT DISTINCT hashtextextended(name, 20210417) AS lock FROM unnest($1::text[]) AS name \
                 ORDER BY lock) AS locks",
                [names.into(), statement_timeout.as_millis().to_string().into()],
            );
            transaction.query_one_raw(lock).await.map_err(during("lock the products"))?;
        }
        Ok(transaction)
    }
}
