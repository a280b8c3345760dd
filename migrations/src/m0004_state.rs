//! `latest_prices` and `snapshots`: one row per product.

use sea_orm_migration::prelude::*;

use crate::columns::Dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager)?;
        let latest_prices = Table::create()
            .table("latest_prices")
            .col(dialect.name("venue").not_null().default("coinbase"))
            .col(dialect.name("product").not_null())
            .col(dialect.number("price"))
            .col(dialect.number("bid"))
            .col(dialect.number("ask"))
            .col(dialect.number("volume"))
            .col(ColumnDef::new("ts_event").big_integer().not_null())
            .col(dialect.time("timestamp").not_null())
            .col(ColumnDef::new("run").big_integer().not_null())
            .col(ColumnDef::new("last_seq").big_integer().not_null())
            .primary_key(Index::create().col("venue").col("product"))
            .take();
        manager.create_table(latest_prices).await?;

        let snapshots = Table::create()
            .table("snapshots")
            .col(dialect.name("venue").not_null().default("coinbase"))
            .col(dialect.name("product").not_null())
            .col(ColumnDef::new("version").integer().not_null().default(1))
            .col(ColumnDef::new("run").big_integer().not_null())
            .col(ColumnDef::new("last_seq").big_integer().not_null())
            .col(ColumnDef::new("ts_snapshot").big_integer().not_null())
            .col(ColumnDef::new("state").json_binary().not_null())
            .col(dialect.time("created_at").not_null())
            .col(dialect.time("updated_at").not_null())
            .primary_key(Index::create().col("venue").col("product"))
            .take();
        manager.create_table(snapshots).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("snapshots").take()).await?;
        manager.drop_table(Table::drop().table("latest_prices").take()).await
    }
}
