//! What a ledger of missing trades needs: how many trades each day has, and gaps found by their trades.

use sea_orm_migration::prelude::*;

use crate::columns::Dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The writer asks for the gaps around the trades of each batch; nearly always those are newer than every gap, and then
/// this finds nothing at once.
const BY_TRADE: &str = "CREATE INDEX gaps_trades ON gaps (venue, product, last_trade_id)";
/// Which products have open gaps is asked every second.
const OPEN: &str = "CREATE INDEX gaps_open ON gaps (venue, product) WHERE state = 'open'";

const DAY_NS: &str = "86400000000000";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager)?;
        let table = Table::create()
            .table("trade_counts_1day")
            .col(dialect.name("venue").not_null().default("coinbase"))
            .col(dialect.name("product").not_null())
            .col(ColumnDef::new("ts_day").big_integer().not_null())
            .col(ColumnDef::new("trades").big_integer().not_null())
            .primary_key(Index::create().col("venue").col("product").col("ts_day"))
            .take();
        manager.create_table(table).await?;
        let day = match dialect {
            Dialect::PostgreSql => "(extract(epoch FROM time_bucket)::bigint / 86400)",
            Dialect::Sqlite => "(CAST(strftime('%s', substr(time_bucket, 1, 19)) AS INTEGER) / 86400)",
        };
        let count = format!(
            "INSERT INTO trade_counts_1day (venue, product, ts_day, trades) \
             SELECT venue, product, {day} * {DAY_NS}, sum(tick_count) FROM price_stats_1min GROUP BY 1, 2, 3"
        );
        for step in [count.as_str(), "DROP INDEX gaps_detected_at", BY_TRADE, OPEN] {
            manager.get_connection().execute_unprepared(step).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for step in [
            "DROP INDEX gaps_open",
            "DROP INDEX gaps_trades",
            "CREATE INDEX gaps_detected_at ON gaps (venue, product, detected_at)",
            "DROP TABLE trade_counts_1day",
        ] {
            manager.get_connection().execute_unprepared(step).await?;
        }
        Ok(())
    }
}
