//! How much is stored, and whether it lies where it should.

use metrics::gauge;
use sea_orm::{ConnectionTrait, Statement};

use crate::{Store, StoreError, error::during, metrics as names};

/// Rows in the default partition are counted up to here: there should be none, and counting costs time.
const STRAYS_MAX: i64 = 100_000;

/// What [`Store::measure`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measures {
    /// Ticks that have no partition of their own, up to 100,000: they are found as fast, but retention never drops them.
    /// Always 0 on SQLite.
    pub default_partition_rows: u64,
    /// What history takes on disk: the partitions with their indexes on PostgreSQL, the whole database on SQLite.
    pub size_bytes: u64,
}

impl Store {
    /// Measures the history and sets the gauges that are named after it. Takes milliseconds; to be called once a minute.
    pub async fn measure(&self) -> Result<Measures, StoreError> {
        let sql = if self.is_postgres() {
            format!(
                "SELECT (SELECT count(*) FROM (SELECT FROM tick_history_default LIMIT {STRAYS_MAX}) AS strays) AS strays, \
                 (SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint FROM pg_inherits \
                 WHERE inhparent = 'tick_history'::regclass) AS size"
            )
        } else {
            "SELECT 0 AS strays, page_count * page_size AS size FROM pragma_page_count(), pragma_page_size()"
                .to_owned()
        };
        let measures = self
            .within("measure the history", async {
                let reader = &self.inner.reader;
                let select = Statement::from_string(reader.get_database_backend(), sql);
                let row = reader.query_one_raw(select).await.map_err(during("measure the history"))?;
                let row = row.ok_or_else(|| StoreError::missing("tick_history", "size"))?;
                let number = |column: &str| {
                    let value: i64 = row.try_get("", column).map_err(during("measure the history"))?;
                    Ok::<u64, StoreError>(u64::try_from(value).unwrap_or_default())
                };
                Ok(Measures { default_partition_rows: number("strays")?, size_bytes: number("size")? })
            })
            .await?;
        gauge!(names::DEFAULT_PARTITION_ROWS).set(measures.default_partition_rows as f64);
        gauge!(names::SIZE).set(measures.size_bytes as f64);
        Ok(measures)
    }
}
