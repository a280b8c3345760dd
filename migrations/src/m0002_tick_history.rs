//! `tick_history`: every tick, once.

use sea_orm_migration::prelude::*;

use crate::columns::Dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// What makes a tick the same one when it is delivered again (nothing of it comes from the writer's clock), and what the
/// queries need. All are partial, so a trade costs three entries and any other tick two. Beside each: bytes a row, and how
/// much of the time of a bare insert it takes (`make bench-store`, medians; the rows themselves take 181 and 157 bytes).
const INDEXES: [&str; 5] = [
    // The key of a trade, and trades by time: every page of history by time. 104 bytes, 33 % of the time.
    "CREATE UNIQUE INDEX tick_history_trade_key ON tick_history (venue, product, ts_event, trade_id) WHERE trade_id IS NOT NULL",
    // The key of a tick without a trade_id, and those ticks by sequence. 119 bytes, 35 % of the time.
    "CREATE UNIQUE INDEX tick_history_quote_key ON tick_history (venue, product, run, sequence, ts_event) WHERE trade_id IS NULL",
    // Trades by sequence: pages of a sequence range, and resuming a stream from a token. 104 bytes, 22 % of the time.
    "CREATE INDEX tick_history_sequence ON tick_history (venue, product, run, sequence) WHERE trade_id IS NOT NULL",
    // Ticks without a trade_id by time: the other half of every page by time. 104 bytes, 20 % of the time.
    "CREATE INDEX tick_history_quote_time ON tick_history (venue, product, ts_event, sequence) WHERE trade_id IS NULL",
    // Whether a backfilled trade is stored, whatever its time. By the number alone, which grows: new entries lie side by
    // side. 22 bytes, 4 % of the time.
    "CREATE INDEX tick_history_trade_id ON tick_history (trade_id) WHERE trade_id IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager)?;
        let db = manager.get_connection();
        match dialect {
            Dialect::PostgreSql => {
                let table = table(dialect).to_string(PostgresQueryBuilder);
                db.execute_unprepared(&format!("{table} PARTITION BY RANGE (ts_event)")).await?;
                // The writer makes a partition for each day before it writes to it; this one takes what cannot be placed.
                db.execute_unprepared("CREATE TABLE tick_history_default PARTITION OF tick_history DEFAULT")
                    .await?;
            }
            Dialect::Sqlite => manager.create_table(table(dialect)).await?,
        }
        for index in INDEXES {
            db.execute_unprepared(index).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("tick_history").take()).await
    }
}

fn table(dialect: Dialect) -> TableCreateStatement {
    let mut id = ColumnDef::new("id");
    id.big_integer().not_null().auto_increment();
    if dialect == Dialect::Sqlite {
        // In PostgreSQL a primary key would have to contain ts_event and cost an index that no query uses.
        id.primary_key();
    }
    Table::create()
        .table("tick_history")
        .col(id)
        .col(dialect.name("venue").not_null().default("coinbase"))
        .col(dialect.name("product").not_null())
        .col(dialect.time("timestamp").not_null().default(Expr::current_timestamp()))
        .col(ColumnDef::new("run").big_integer().not_null().default(0))
        .col(ColumnDef::new("sequence").big_integer())
        .col(dialect.number("price"))
        .col(dialect.number("bid"))
        .col(dialect.number("ask"))
        .col(dialect.number("volume"))
        .col(dialect.number("bid_size"))
        .col(dialect.number("ask_size"))
        .col(ColumnDef::new("side").text())
        .col(ColumnDef::new("trade_id").big_integer())
        .col(ColumnDef::new("flags").integer().not_null().default(0))
        .col(ColumnDef::new("ts_event").big_integer().not_null())
        .col(ColumnDef::new("ts_ingest").big_integer().not_null())
        .col(ColumnDef::new("tick_seq").big_integer())
        .take()
}
