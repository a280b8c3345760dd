//! How to reach the database.

use std::{fmt, time::Duration};

/// A day: a year of history has 365 partitions, and planning stays quick. Who keeps an hour takes a few minutes.
pub const PARTITION_WIDTH_DEFAULT: Duration = Duration::from_secs(86_400);

/// How to reach the database, and how long to wait for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `postgres://user:password@host:port/database` or `sqlite://path?mode=rwc`; with `mode=ro` nothing can be written.
    pub url: String,
    /// The most connections of this process, 1 to 1000. On SQLite these are readers; one more writes.
    pub pool_size_max: u32,
    /// How long a connection attempt may take.
    pub connect_timeout: Duration,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// How long one statement may take; PostgreSQL cancels it then.
    pub statement_timeout: Duration,
    /// How long a write to PostgreSQL may take before its connection is taken for dead and it fails, to be repeated on
    /// another one. Each write that took too long doubles the time of the next, up to what any operation may take.
    pub write_timeout: Duration,
    /// How much event time one partition of `tick_history` holds on PostgreSQL: whole minutes, up to a year; fixed with the
    /// first partition of a database. `None`: what the database has, and [`PARTITION_WIDTH_DEFAULT`] in a new one. Retention
    /// drops whole partitions, so up to so much more is kept than is asked for.
    pub partition_width: Option<Duration>,
    /// What the sessions are called in `pg_stat_activity`.
    pub application_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "sqlite://.ledgerflux/ledgerflux.db?mode=rwc".into(),
            // A role writes with one connection at a time and a query process serves a few readers at once.
            pool_size_max: 10,
            connect_timeout: Duration::from_secs(5),
            // Shorter than any caller's own deadline, so that a caller learns what it waited for.
            acquire_timeout: Duration::from_secs(5),
            // A page of history takes milliseconds. What takes longer than this holds locks and is better repeated.
            statement_timeout: Duration::from_secs(30),
            // A batch takes milliseconds, and half of the time in which everything is to be live again is left for the rest.
            write_timeout: Duration::from_secs(4),
            partition_width: None,
            application_name: "ledgerflux".into(),
        }
    }
}

impl Config {
    /// The longest that one operation may take in all: its statements, the wait for a connection, and some time for the
    /// network. A connection whose other end vanished without a word is given up after this.
    pub(crate) fn operation_timeout(&self) -> Duration {
        self.statement_timeout.saturating_mul(2).saturating_add(self.acquire_timeout)
    }

    /// The URL in the one spelling that the driver knows.
    pub(crate) fn driver_url(&self) -> String {
        match self.url.strip_prefix("postgresql://") {
            Some(rest) => format!("postgres://{rest}"),
            None => self.url.clone(),
        }
    }
}

impl fmt::Debug for Config {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &"***")
            .field("pool_size_max", &self.pool_size_max)
            .field("connect_timeout", &self.connect_timeout)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("partition_width", &self.partition_width)
            .field("application_name", &self.application_name)
            .finish()
    }
}
