//! `price_stats_1min`: what each minute of trades adds up to.

use sea_orm_migration::prelude::*;

use crate::columns::Dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager)?;
        let mut table = Table::create();
        table
            .table("price_stats_1min")
            .col(dialect.name("venue").not_null().default("coinbase"))
            .col(dialect.name("product").not_null())
            .col(dialect.time("time_bucket").not_null())
            .col(ColumnDef::new("tick_count").big_integer().not_null());
        for number in ["sum_price", "min_price", "max_price", "open_price", "close_price", "sum_volume"] {
            table.col(dialect.number(number).not_null());
        }
        // Where the first and the last trade stand in history, so that a late one is put where it belongs.
        for side in [
            ["open_ts_event", "open_trade_id", "open_sequence"],
            ["close_ts_event", "close_trade_id", "close_sequence"],
        ] {
            let [ts_event, trade_id, sequence] = side;
            table
                .col(ColumnDef::new(ts_event).big_integer().not_null())
                .col(ColumnDef::new(trade_id).big_integer())
                .col(ColumnDef::new(sequence).big_integer());
        }
        table
            .col(dialect.mean("avg_price", "sum_price"))
            .col(dialect.mean("avg_volume", "sum_volume"))
            .primary_key(Index::create().col("venue").col("product").col("time_bucket"));
        manager.create_table(table).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("price_stats_1min").take()).await
    }
}
