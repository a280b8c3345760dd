//! `gaps`: trades that the exchange made and that were missed.

use sea_orm_migration::prelude::*;

use crate::columns::Dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager)?;
        let table = Table::create()
            .table("gaps")
            .col(dialect.name("venue").not_null().default("coinbase"))
            .col(dialect.name("product").not_null())
            .col(ColumnDef::new("run").big_integer().not_null())
            .col(ColumnDef::new("first_trade_id").big_integer().not_null())
            .col(ColumnDef::new("last_trade_id").big_integer().not_null())
            .col(ColumnDef::new("ts_before").big_integer())
            .col(ColumnDef::new("ts_after").big_integer())
            .col(ColumnDef::new("detected_at").big_integer().not_null())
            .col(ColumnDef::new("cause").text().not_null())
            .col(ColumnDef::new("state").text().not_null())
            .col(ColumnDef::new("repaired_count").big_integer().not_null().default(0))
            .primary_key(
                Index::create()
                    .col("venue")
                    .col("product")
                    .col("run")
                    .col("first_trade_id")
                    .col("last_trade_id"),
            )
            .take();
        manager.create_table(table).await?;
        let index = Index::create()
            .name("gaps_detected_at")
            .table("gaps")
            .col("venue")
            .col("product")
            .col("detected_at")
            .take();
        manager.create_index(index).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("gaps").take()).await
    }
}
