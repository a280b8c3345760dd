//! The column types that differ between PostgreSQL and SQLite.

use sea_orm_migration::{
    prelude::{ColumnDef, DbErr, SchemaManager},
    sea_orm::DbBackend,
};

/// The two databases that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    PostgreSql,
    Sqlite,
}

impl Dialect {
    pub(crate) fn of(manager: &SchemaManager<'_>) -> Result<Self, DbErr> {
        match manager.get_database_backend() {
            DbBackend::Postgres => Ok(Self::PostgreSql),
            DbBackend::Sqlite => Ok(Self::Sqlite),
            other => Err(DbErr::Migration(format!("{other:?} is not supported, use PostgreSQL or SQLite"))),
        }
    }

    /// A name. Compared byte by byte in both databases: a locale's rules would cost time in each index entry and could
    /// change with an update of the operating system, which corrupts indexes.
    pub(crate) fn name(self, column: &'static str) -> ColumnDef {
        let mut column = ColumnDef::new(column);
        match self {
            Self::PostgreSql => column.custom("text COLLATE \"C\""),
            Self::Sqlite => column.text(),
        };
        column
    }

    /// A price, a size or a sum of them, exact: NUMERIC without a scale in PostgreSQL; text in SQLite, whose numbers would be
    /// floats (NUMERIC and DECIMAL columns have an affinity that converts).
    pub(crate) fn number(self, column: &'static str) -> ColumnDef {
        let mut column = ColumnDef::new(column);
        match self {
            Self::PostgreSql => column.custom("numeric"),
            Self::Sqlite => column.text(),
        };
        column
    }

    /// A point in time for people and dashboards: microseconds in PostgreSQL, RFC 3339 in UTC in SQLite.
    pub(crate) fn time(self, column: &'static str) -> ColumnDef {
        let mut column = ColumnDef::new(column);
        column.timestamp_with_time_zone();
        column
    }

    /// A mean that the database derives from a sum and a count. SQLite has no exact division, so there it is a float for
    /// dashboards; whoever needs the exact value divides the sum, as the API does.
    pub(crate) fn mean(self, column: &'static str, sum: &'static str) -> ColumnDef {
        let mut definition = ColumnDef::new(column);
        match self {
            Self::PostgreSql => {
                definition.custom("numeric").extra(format!("GENERATED ALWAYS AS ({sum} / tick_count) STORED"))
            }
            Self::Sqlite => definition
                .custom("real")
                .extra(format!("GENERATED ALWAYS AS (CAST({sum} AS REAL) / tick_count) VIRTUAL")),
        };
        definition
    }
}
