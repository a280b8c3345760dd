//! Applying the steps, one process at a time.

use std::time::Duration;

use sea_orm_migration::{
    MigratorTrait,
    sea_orm::{
        ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, TransactionTrait,
    },
};
use thiserror::Error;

use crate::{Migrator, roles};

/// The number of the advisory lock in PostgreSQL: "ledgerfx" in ASCII.
const MIGRATION_LOCK: i64 = 0x6c65_6467_6572_6678;

/// Why the schema could not be brought up to date.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The database cannot be reached, or the URL is wrong.
    #[error("the database is not reachable")]
    Connect(#[source] DbErr),
    /// The lock that keeps two migrations apart could not be taken.
    #[error("the migration lock could not be taken")]
    Lock(#[source] DbErr),
    /// A step did not apply; in PostgreSQL nothing of it remains.
    #[error("a migration did not apply")]
    Apply(#[source] DbErr),
    /// The roles could not be set up: it takes a role that may create roles, and owns the tables or is a superuser.
    #[error("the roles could not be set up")]
    Roles(#[source] DbErr),
    /// SQLite has no roles.
    #[error("roles are for PostgreSQL, SQLite has none")]
    RolesUnsupported,
}

/// Brings the schema of the database at `url` (`postgres://…` or `sqlite://path?mode=rwc`) up to date and returns the names
/// of the steps that were applied, none when it was.
///
/// With `roles` it also sets up, on PostgreSQL, the roles `ledgerflux_owner`, `ledgerflux_writer` and `ledgerflux_reader`
/// with the least rights that each needs, and takes away those of everybody else. Repeat it with each new version.
///
/// On PostgreSQL an advisory lock keeps several processes that start together apart: the others wait, then find nothing
/// to do. On SQLite the file has one owner, which is the process that holds the data directory.
pub async fn migrate(url: &str, roles: bool) -> Result<Vec<String>, MigrateError> {
    let db = connect(url).await?;
    if db.get_database_backend() != DbBackend::Postgres {
        return if roles { Err(MigrateError::RolesUnsupported) } else { apply(&db).await };
    }
    // The lock lives in a transaction of its own connection: it is released however this ends.
    let keeper = connect(url).await?;
    let guard = keeper.begin().await.map_err(MigrateError::Lock)?;
    let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
    guard.execute_unprepared(&lock).await.map_err(MigrateError::Lock)?;
    let applied = apply(&db).await?;
    if roles {
        roles::set_up(&db).await.map_err(MigrateError::Roles)?;
    }
    guard.commit().await.map_err(MigrateError::Lock)?;
    Ok(applied)
}

async fn connect(url: &str) -> Result<DatabaseConnection, MigrateError> {
    // Both spellings of the scheme are in use; the driver knows one.
    let url = match url.strip_prefix("postgresql://") {
        Some(rest) => format!("postgres://{rest}"),
        None => url.to_owned(),
    };
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(1)
        .connect_timeout(Duration::from_secs(5))
        .acquire_timeout(Duration::from_secs(5))
        .sqlx_logging(false)
        .set_application_name("ledgerflux-migrate");
    Database::connect(options).await.map_err(MigrateError::Connect)
}

async fn apply(db: &DatabaseConnection) -> Result<Vec<String>, MigrateError> {
    let pending = Migrator::get_pending_migrations(db).await.map_err(MigrateError::Apply)?;
    let names = pending.iter().map(|migration| migration.name().to_owned()).collect();
    Migrator::up(db, None).await.map_err(MigrateError::Apply)?;
    Ok(names)
}
