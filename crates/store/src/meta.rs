//! What is true of the history as a whole: which one it is, and how far back it goes.

use std::time::Duration;

use domain::UnixNanos;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, EntityTrait, QuerySelect, Statement, sea_query::LockType,
};

use crate::{Store, StoreError, entity::meta, error::during};

impl Store {
    /// The random id of this history. Another database, or one that was set up anew, has another.
    pub async fn epoch(&self) -> Result<String, StoreError> {
        self.within("read the epoch", async {
            let row = meta::Entity::find_by_id(meta::EPOCH)
                .one(&self.inner.reader)
                .await
                .map_err(during("read the epoch"))?;
            row.and_then(|row| row.value).ok_or_else(|| StoreError::missing("meta", "value"))
        })
        .await
    }

    /// The event time before which ticks have been dropped; `None` while none have been. Ticks older than it are refused.
    pub async fn horizon(&self) -> Result<Option<UnixNanos>, StoreError> {
        self.within("read the horizon", async {
            let row = meta::Entity::find_by_id(meta::HORIZON)
                .one(&self.inner.reader)
                .await
                .map_err(during("read the horizon"))?;
            parse(row)
        })
        .await
    }

    /// The width of this database's partitions; `None` before the first one, and on SQLite, which has none.
    pub(crate) async fn stored_width(&self) -> Result<Option<Duration>, StoreError> {
        if !self.is_postgres() {
            return Ok(None);
        }
        self.within("read the width of partitions", async {
            let row = meta::Entity::find_by_id(meta::PARTITION_WIDTH)
                .one(&self.inner.reader)
                .await
                .map_err(during("read the width of partitions"))?;
            let Some(text) = row.and_then(|row| row.value) else { return Ok(None) };
            let seconds = text.parse().map_err(|_| StoreError::corrupt("meta", "value", &text))?;
            Ok(Some(Duration::from_secs(seconds)))
        })
        .await
    }

    /// Refuses a database whose partitions have another width than configured.
    pub(crate) async fn check_width(&self) -> Result<(), StoreError> {
        let configured = self.inner.partitions.width();
        match self.stored_width().await? {
            Some(stored) if stored != configured => Err(StoreError::PartitionWidth { stored, configured }),
            Some(_) | None => Ok(()),
        }
    }

    /// Fixes the width of partitions, unless another process was quicker, whose width then holds.
    pub(crate) async fn keep_width(&self) -> Result<(), StoreError> {
        let insert = Statement::from_sql_and_values(
            self.inner.writer.get_database_backend(),
            "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            [meta::PARTITION_WIDTH.into(), self.inner.partitions.width().as_secs().to_string().into()],
        );
        self.inner.writer.execute_raw(insert).await.map_err(during("write the width of partitions"))?;
        self.check_width().await
    }

    /// Moves the horizon forward to `horizon`; never back.
    pub(crate) async fn advance_horizon(&self, horizon: UnixNanos) -> Result<(), StoreError> {
        let writer = &self.inner.writer;
        let update = Statement::from_sql_and_values(
            writer.get_database_backend(),
            "UPDATE meta SET value = $1 WHERE key = 'horizon' AND (value IS NULL OR CAST(value AS BIGINT) < $2)",
            [horizon.nanos().to_string().into(), horizon.nanos().into()],
        );
        writer.execute_raw(update).await.map_err(during("advance the horizon"))?;
        Ok(())
    }
}

/// The horizon, which stays where it is until `transaction` ends: retention waits for the writers that have seen it, and
/// writers that come later see the new one. So nothing is written to what is being dropped.
pub(crate) async fn hold_horizon(transaction: &DatabaseTransaction) -> Result<Option<UnixNanos>, StoreError> {
    let row = meta::Entity::find_by_id(meta::HORIZON)
        .lock(LockType::Share)
        .one(transaction)
        .await
        .map_err(during("read the horizon"))?;
    parse(row)
}

fn parse(row: Option<meta::Model>) -> Result<Option<UnixNanos>, StoreError> {
    let Some(text) = row.and_then(|row| row.value) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(nanos) => Ok(Some(UnixNanos::new(nanos))),
        Err(_) => Err(StoreError::corrupt("meta", "value", &text)),
    }
}
