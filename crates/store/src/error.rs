//! What can go wrong, and whether trying again helps.

use std::time::Duration;

use domain::{Instrument, UnixNanos};
use sea_orm::{DbErr, RuntimeErr};
use thiserror::Error;

/// Why the store could not do something.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The URL names neither PostgreSQL nor SQLite. Only its scheme is kept: the rest may hold a password.
    #[error("{scheme:?} is not a supported database, allowed are postgres:// and sqlite://")]
    UnsupportedUrl {
        /// What stands before the first colon.
        scheme: String,
    },
    /// The database cannot be reached, or refuses us.
    #[error("the database is not reachable")]
    Connect(#[source] DbErr),
    /// The schema is missing or older than this program.
    #[error("the database lacks migration {missing}, run `ledgerflux migrate`")]
    NotMigrated {
        /// The first step that has not been applied.
        missing: &'static str,
    },
    /// The user may not read the tables: the roles of the database are not set up yet, or it has none of them.
    #[error("the database gives this user no rights, run `ledgerflux migrate --roles` and grant it a role")]
    NoRights(#[source] DbErr),
    /// The partitions of this database have another width; it cannot be changed.
    #[error("the partitions of this database are {stored:?} wide, not {configured:?} as configured")]
    PartitionWidth {
        /// What the database was made with.
        stored: Duration,
        /// What the configuration says.
        configured: Duration,
    },
    /// A statement did not succeed.
    #[error("the database did not {operation}")]
    Query {
        /// What was to be done, e.g. `insert ticks`.
        operation: &'static str,
        /// What the database says.
        #[source]
        source: DbErr,
    },
    /// An operation took longer than the configured statement timeout allows.
    #[error("the database did not {operation} within {limit:?}")]
    TimedOut {
        /// What was to be done.
        operation: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// A row holds what this program never writes.
    #[error("a row of {table} is not readable: {column} is {value:?}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What it holds, cut at 64 characters.
        value: String,
    },
    /// A tick cannot be stored, now or later.
    #[error(transparent)]
    NotStorable(#[from] NotStorable),
}

/// Why a tick can never be stored. Validation refuses such ticks long before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotStorable {
    /// With neither a trade_id nor a sequence it could not be recognised when it is delivered again.
    #[error("a tick of {instrument} at {event_time} has neither trade_id nor sequence")]
    WithoutIdentity {
        /// Its product.
        instrument: Instrument,
        /// Its time.
        event_time: UnixNanos,
    },
    /// A number exceeds what the database's 64-bit integers hold.
    #[error("{field} {value} of {instrument} is above 9223372036854775807")]
    TooLarge {
        /// Its product.
        instrument: Instrument,
        /// `sequence`, `trade_id` or `tick_seq`.
        field: &'static str,
        /// What it says.
        value: u64,
    },
}

impl StoreError {
    /// Whether the same call can succeed later without anyone changing anything: the database is away, busy, full or
    /// was restarted. The others are faults of data, schema or program.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(source) | Self::Query { source, .. } => is_transient(source),
            Self::TimedOut { .. } => true,
            Self::UnsupportedUrl { .. }
            | Self::NotMigrated { .. }
            | Self::NoRights(_)
            | Self::PartitionWidth { .. }
            | Self::Corrupt { .. }
            | Self::NotStorable(_) => false,
        }
    }

    /// Whether a row is at fault, so that the others of its batch can be stored without it. Whatever else the database
    /// refuses (a missing table, a right that was taken away, a full disk) says nothing about the rows.
    pub fn is_of_rows(&self) -> bool {
        match self {
            Self::NotStorable(_) => true,
            Self::Query { source, .. } => {
                code(source).map_or_else(|| is_of_value(source), |code| is_of_rows_code(&code))
            }
            _ => false,
        }
    }

    pub(crate) fn corrupt(table: &'static str, column: &'static str, value: &str) -> Self {
        Self::Corrupt { table, column, value: value.chars().take(64).collect() }
    }

    pub(crate) fn missing(table: &'static str, column: &'static str) -> Self {
        Self::corrupt(table, column, "NULL")
    }
}

/// Names what was being done when the database refused.
pub(crate) fn during(operation: &'static str) -> impl Fn(DbErr) -> StoreError {
    move |source| StoreError::Query { operation, source }
}

/// The error code of the database (SQLSTATE, or SQLite's extended code in decimal), where there is one.
pub(crate) fn code(error: &DbErr) -> Option<String> {
    match sqlx_error(error)? {
        sqlx::Error::Database(error) => error.code().map(|code| code.into_owned()),
        _ => None,
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

fn is_transient(error: &DbErr) -> bool {
    if matches!(error, DbErr::ConnectionAcquire(_)) {
        return true;
    }
    match sqlx_error(error) {
        Some(sqlx::Error::Database(database)) => database.code().is_some_and(|code| is_transient_code(&code)),
        Some(
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed,
        ) => true,
        _ => false,
    }
}

/// Whether a value could not be put into the statement, so that the database was not asked. What else has no code is a fault of
/// the connection, of the schema (a column that is read is of another type) or of the program.
fn is_of_value(error: &DbErr) -> bool {
    matches!(sqlx_error(error), Some(sqlx::Error::Encode(_)))
}

/// By SQLSTATE (five characters) or SQLite's extended result code (a number, whose lowest byte is the class).
fn is_transient_code(code: &str) -> bool {
    if code.len() == 5 {
        // Connection, no longer a primary, a transaction that was silent for too long, serialization and deadlock, resources,
        // locks, shutdown and cancellation, the system below the database, and faults of the database itself.
        return ["08", "25006", "25P03", "40", "53", "55P03", "57", "58", "XX"]
            .iter()
            .any(|class| code.starts_with(class));
    }
    // BUSY, LOCKED, IOERR, FULL, CANTOPEN.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13 | 14))
}

/// By SQLSTATE or SQLite's extended result code: what the row holds, or that it breaks a constraint.
fn is_of_rows_code(code: &str) -> bool {
    if code.len() == 5 {
        // Data exceptions, constraints, and a row or index entry that is too large (program limits).
        return ["22", "23", "54000"].iter().any(|class| code.starts_with(class));
    }
    // TOOBIG, CONSTRAINT, MISMATCH.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_when_a_row_is_at_fault() {
        for code in ["22003", "22P02", "23502", "23505", "54000", "18", "19", "2067", "20"] {
            assert!(is_of_rows_code(code) && !is_transient_code(code), "{code}");
        }
        for code in ["42P01", "42501", "08006", "53100", "57014", "1", "5", "11", "13", "26"] {
            assert!(!is_of_rows_code(code), "{code}");
        }
        assert!(!StoreError::NotMigrated { missing: "m0001_meta" }.is_of_rows());
        let without_code = |error: sqlx::Error| {
            during("test")(DbErr::Query(RuntimeErr::SqlxError(std::sync::Arc::new(error)))).is_of_rows()
        };
        assert!(without_code(sqlx::Error::Encode("too long".into())));
        for error in [sqlx::Error::RowNotFound, sqlx::Error::ColumnNotFound("run".into())] {
            assert!(!without_code(error), "the schema is another one");
        }
    }

    #[test]
    fn says_when_trying_again_helps() {
        for code in [
            "08006", "25P03", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P03",
            "58030", "58P01", "XX000", "XX001", "5", "261", "517", "10", "13", "14",
        ] {
            assert!(is_transient_code(code), "{code}");
        }
        for code in
            ["23505", "42P01", "22003", "28P01", "3D000", "25001", "25P02", "1", "19", "2067", "11", "26"]
        {
            assert!(!is_transient_code(code), "{code}");
        }
        assert!(
            StoreError::Connect(DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout)).is_retryable()
        );
        assert!(!StoreError::NotMigrated { missing: "m0001_meta" }.is_retryable());
    }
}
