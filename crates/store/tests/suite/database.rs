//! A migrated database of its own for each test.

use std::sync::Arc;

use domain::{Instrument, Snapshot, Tick, UnixNanos};
use sea_orm::{ConnectionTrait, Database as Connections, DatabaseConnection, DbBackend, Statement};
use store::{
    Config, HistoryKey, Order, Store, StoreError, TickQuery, TickRange, TickRow, WriteBatch, Written,
};
use tempfile::TempDir;
use testkit::Postgres;

/// When the tests write.
pub(crate) const NOW: UnixNanos = UnixNanos::new(1_800_000_000_123_456_789);

/// A database, and what keeps it alive.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) url: String,
    _file: Option<TempDir>,
    _server: Option<Arc<Postgres>>,
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let (url, file) = sqlite_file();
        Self::migrated(url, Some(file), None).await
    }

    pub(crate) async fn postgres() -> Self {
        let server = Postgres::shared().await;
        let url = server.create_database().await;
        Self::migrated(url, None, Some(server)).await
    }

    async fn migrated(url: String, file: Option<TempDir>, server: Option<Arc<Postgres>>) -> Self {
        migrations::migrate(&url, false).await.unwrap();
        let store = connect(&url).await.unwrap();
        Self { store, url, _file: file, _server: server }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// The first column of what `sql` selects, as text.
    pub(crate) async fn select(&self, sql: &str) -> Vec<Option<String>> {
        let db = self.raw().await;
        let statement = Statement::from_string(db.get_database_backend(), sql);
        let rows = db.query_all_raw(statement).await.unwrap();
        db.close().await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let db = self.raw().await;
        db.execute_unprepared(sql).await.unwrap();
        db.close().await.unwrap();
    }

    pub(crate) async fn raw(&self) -> DatabaseConnection {
        let db = Connections::connect(self.url.clone()).await.unwrap();
        assert_ne!(db.get_database_backend(), DbBackend::MySql);
        db
    }
}

pub(crate) fn sqlite_file() -> (String, TempDir) {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("ledgerflux.db").display());
    (url, folder)
}

pub(crate) async fn connect(url: &str) -> Result<Store, StoreError> {
    Store::connect(&Config { url: url.into(), ..Config::default() }).await
}

pub(crate) async fn write(store: &Store, ticks: &[Tick]) -> Written {
    write_all(store, ticks, &[]).await.unwrap()
}

pub(crate) async fn write_all(
    store: &Store,
    ticks: &[Tick],
    snapshots: &[Snapshot],
) -> Result<Written, StoreError> {
    let rows: Vec<_> = ticks.iter().map(|tick| TickRow { tick, tick_seq: Some(7) }).collect();
    store.write(&WriteBatch { ticks: &rows, snapshots, written_at: NOW }).await
}

/// All of history, read in pages.
pub(crate) async fn history(store: &Store, instrument: &Instrument) -> Vec<(HistoryKey, Tick)> {
    let range = TickRange::Time(domain::TimeRange::ALL);
    read(store, instrument, range, Order::Ascending, 1000).await
}

/// A range, read in pages of `page`.
pub(crate) async fn read(
    store: &Store,
    instrument: &Instrument,
    range: TickRange,
    order: Order,
    page: usize,
) -> Vec<(HistoryKey, Tick)> {
    let mut query = TickQuery { instrument: instrument.clone(), range, order, after: None, limit: page };
    let mut all = Vec::new();
    loop {
        let ticks = store.ticks(&query).await.unwrap();
        let is_last = ticks.len() < page;
        all.extend(ticks);
        query.after = all.last().map(|(key, _)| *key);
        if is_last {
            return all;
        }
    }
}

/// Runs each test on each database.
macro_rules! on_each_database {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::database::Database::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::database::Database::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_each_database;
