//! Connections: how they are made, tested and bounded.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, RuntimeErr, Statement,
};
use sqlx::{
    Connection,
    postgres::PgConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{
    Config, PARTITION_WIDTH_DEFAULT, StoreError,
    error::{code, during},
    partitions::Partitions,
    patience::Patience,
};

/// What [`Store::connect`] wants to find applied.
const MIGRATIONS: [&str; 7] = [
    "m0001_meta",
    "m0002_tick_history",
    "m0003_bars",
    "m0004_state",
    "m0005_gaps",
    "m0006_partitions",
    "m0007_ledger",
];
/// What PostgreSQL says when a user may not do something.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// How long the test of a connection before its use may take: one whose other end vanished never answers.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for so long after one was found like that.
const SUSPECT_TEST_TIMEOUT: Duration = Duration::from_millis(250);
const SUSPICION: Duration = Duration::from_secs(10);
/// How long the end of a store may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// How long SQLite waits for another process to end its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database. Cheap to clone; all clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// For statements that only read.
    pub(crate) reader: DatabaseConnection,
    /// For everything else; the same pool on PostgreSQL, one connection on SQLite.
    pub(crate) writer: DatabaseConnection,
    pub(crate) partitions: Partitions,
    operation_timeout: Duration,
    pub(crate) patience: Patience,
}

impl Store {
    /// Connects and checks that the migrations have been applied. One attempt: callers repeat it with their own backoff
    /// while [`StoreError::is_retryable`] says so.
    pub async fn connect(config: &Config) -> Result<Self, StoreError> {
        let url = config.driver_url();
        let (reader, writer) = match url.split_once(':').unwrap_or((url.as_str(), "")) {
            ("postgres", _) => {
                probe(config, &url).await?;
                let pool = postgres(config, url).await?;
                (pool.clone(), pool)
            }
            // A database in memory belongs to one connection.
            ("sqlite", path) if path.contains(":memory:") || path.contains("mode=memory") => {
                let connection = sqlite_writer(config, url).await?;
                (connection.clone(), connection)
            }
            // The file of another process, which this one cannot disturb.
            ("sqlite", path) if path.contains("mode=ro") => {
                let readers = sqlite_readers(config, url).await?;
                (readers.clone(), readers)
            }
            // The writer comes first: it creates the file and turns on the write-ahead log.
            ("sqlite", _) => {
                let writer = sqlite_writer(config, url.clone()).await?;
                (sqlite_readers(config, url).await?, writer)
            }
            (scheme, _) => {
                return Err(StoreError::UnsupportedUrl { scheme: scheme.chars().take(32).collect() });
            }
        };
        let operation_timeout = config.operation_timeout();
        let inner = Inner {
            reader,
            writer,
            partitions: Partitions::of_width(config.partition_width.unwrap_or(PARTITION_WIDTH_DEFAULT)),
            operation_timeout,
            patience: Patience::new(config.write_timeout, operation_timeout),
        };
        let mut store = Self { inner: Arc::new(inner) };
        store.within("read the applied migrations", store.check_migrations()).await?;
        if config.partition_width.is_some() {
            store.check_width().await?;
        } else if let Some(width) = store.stored_width().await? {
            store.adopt_width(width);
        }
        store.end_what_is_abandoned().await;
        Ok(store)
    }

    /// Before anybody else has the store.
    fn adopt_width(&mut self, width: Duration) {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.partitions = Partitions::of_width(width);
        }
    }

    /// Answers when the database does.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.within("answer", async { self.inner.reader.ping().await.map_err(during("answer")) }).await
    }

    /// Closes the connections once the operations in progress have ended, or leaves them after 5 s: one whose other end
    /// is gone without a word may never take its leave.
    pub async fn close(&self) {
        for pool in [&self.inner.reader, &self.inner.writer] {
            match tokio::time::timeout(CLOSE_MAX, pool.close_by_ref()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "closing the database"),
                Err(_) => tracing::debug!("connections to the database are left without a goodbye"),
            }
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.inner.writer.get_database_backend() == DbBackend::Postgres
    }

    /// Gives `work` the time that one operation may take. What is dropped halfway rolls back.
    pub(crate) async fn within<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        within(operation, self.inner.operation_timeout, work).await
    }

    /// The same for what is written, which may always be repeated: on PostgreSQL it gets the short time of a write, so that
    /// a connection that fell silent does not hold up a shard.
    pub(crate) async fn within_write<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if !self.is_postgres() {
            return self.within(operation, work).await;
        }
        let limit = self.inner.patience.now();
        let result = within(operation, limit, work).await;
        if result.as_ref().is_err_and(|error| matches!(error, StoreError::TimedOut { .. })) {
            self.inner.patience.was_too_short(limit);
        }
        result
    }

    async fn check_migrations(&self) -> Result<(), StoreError> {
        let reader = &self.inner.reader;
        let select =
            Statement::from_string(reader.get_database_backend(), "SELECT version FROM seaql_migrations");
        let rows = match reader.query_all_raw(select).await {
            Ok(rows) => rows,
            Err(error) if is_missing_table(&error) => Vec::new(),
            Err(error) if code(&error).as_deref() == Some(INSUFFICIENT_PRIVILEGE) => {
                return Err(StoreError::NoRights(error));
            }
            Err(error) => return Err(during("read the applied migrations")(error)),
        };
        let applied = rows
            .iter()
            .map(|row| row.try_get::<String>("", "version"))
            .collect::<Result<Vec<_>, _>>()
            .map_err(during("read the applied migrations"))?;
        match MIGRATIONS.into_iter().find(|name| !applied.iter().any(|version| version == name)) {
            Some(missing) => Err(StoreError::NotMigrated { missing }),
            None => Ok(()),
        }
    }
}

async fn within<T>(
    operation: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::TimedOut { operation, limit }),
    }
}

fn is_missing_table(error: &DbErr) -> bool {
    // SQLite has no code of its own for it.
    code(error).is_some_and(|code| code == "42P01") || error.to_string().contains("no such table")
}

fn options(config: &Config, url: String) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .connect_timeout(config.connect_timeout)
        .acquire_timeout(config.acquire_timeout)
        .idle_timeout(Duration::from_secs(600))
        // By default each statement is logged at info level.
        .sqlx_logging(false);
    options
}

/// One connection outside the pool: the pool tries again until its time is over and then says only that it is; this one
/// says why.
async fn probe(config: &Config, url: &str) -> Result<(), StoreError> {
    let refused = |error| StoreError::Connect(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))));
    match tokio::time::timeout(config.connect_timeout, PgConnection::connect(url)).await {
        Ok(Ok(connection)) => connection.close().await.map_err(refused),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(refused(sqlx::Error::PoolTimedOut)),
    }
}

/// Our transactions go from statement to statement without a pause: one that waits for so long has nobody behind it.
const IDLE_IN_TRANSACTION_MAX_MS: &str = "5000";

async fn postgres(config: &Config, url: String) -> Result<DatabaseConnection, StoreError> {
    let mut options = options(config, url);
    let silence = Arc::new(Silence::default());
    let statement_timeout_ms = config.statement_timeout.as_millis().to_string();
    options
        .max_connections(config.pool_size_max.max(1))
        // A failover moves the name to another server; old connections must not stay for ever.
        .max_lifetime(Duration::from_secs(1800))
        .set_application_name(config.application_name.clone())
        // After a restart of the server every old connection is dead. Tested before each use, they are replaced without
        // anyone noticing. The default test has no deadline of its own; ours has.
        .test_before_acquire(false)
        .map_sqlx_postgres_opts(move |options| {
            options.options([
                ("statement_timeout", statement_timeout_ms.as_str()),
                // A writer that hangs in the middle of a transaction must not keep its locks from whoever takes its place.
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MAX_MS),
                // The server notices within a minute that we are gone.
                ("tcp_keepalives_idle", "30"),
                ("tcp_keepalives_interval", "10"),
                ("tcp_keepalives_count", "3"),
                // Whoever looks at the session sees the times that the API gives.
                ("TimeZone", "UTC"),
            ])
        })
        .map_sqlx_postgres_before_acquire(move |connection, _| {
            let silence = Arc::clone(&silence);
            Box::pin(async move { Ok(silence.answers(connection).await) })
        });
    Database::connect(options).await.map_err(StoreError::Connect)
}

/// When a connection last failed its test by saying nothing.
///
/// Where one connection has fallen silent the others of the pool mostly have, too, and they are tested one after the other:
/// with the full time for each, the first call would wait for all of them together.
#[derive(Debug, Default)]
struct Silence(Mutex<Option<Instant>>);

impl Silence {
    async fn answers(&self, connection: &mut PgConnection) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = last.is_some_and(|at| at.elapsed() < SUSPICION);
        let limit = if is_recent { SUSPECT_TEST_TIMEOUT } else { TEST_TIMEOUT };
        match tokio::time::timeout(limit, connection.ping()).await {
            Ok(answer) => answer.is_ok(),
            Err(_) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                false
            }
        }
    }
}

/// SQLite has one writer at a time; one connection makes writers queue here instead of polling for a lock.
async fn sqlite_writer(config: &Config, url: String) -> Result<DatabaseConnection, StoreError> {
    let mut options = options(config, url);
    options.max_connections(1).min_connections(1).map_sqlx_sqlite_opts(sqlite_file);
    Database::connect(options).await.map_err(StoreError::Connect)
}

async fn sqlite_readers(config: &Config, url: String) -> Result<DatabaseConnection, StoreError> {
    let mut options = options(config, url);
    options
        .max_connections(config.pool_size_max.max(1))
        .map_sqlx_sqlite_opts(|options| sqlite_file(options).pragma("query_only", "1"));
    Database::connect(options).await.map_err(StoreError::Connect)
}

/// The write-ahead log lets readers and the writer work at the same time. FULL syncs it at each commit: a batch is
/// acknowledged to the bus after its commit, so a commit has to survive a power loss; one sync per batch is cheap.
fn sqlite_file(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}
