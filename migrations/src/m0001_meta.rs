//! `meta`: what is true of the database as a whole.

use sea_orm_migration::prelude::*;

use crate::columns::Dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = Dialect::of(manager)?;
        let table = Table::create()
            .table("meta")
            .col(dialect.name("key").not_null().primary_key())
            .col(ColumnDef::new("value").text())
            .take();
        manager.create_table(table).await?;

        // The epoch tells this history from every other one: a resume token of another database is refused. The row of the
        // horizon exists from the start, because writers lock it.
        let epoch = match dialect {
            Dialect::PostgreSql => "gen_random_uuid()::text",
            Dialect::Sqlite => "lower(hex(randomblob(16)))",
        };
        let insert = format!("INSERT INTO meta (key, value) VALUES ('epoch', {epoch}), ('horizon', NULL)");
        manager.get_connection().execute_unprepared(&insert).await?;
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("meta").take()).await
    }
}
