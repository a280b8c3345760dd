//! Connecting, migrating, and what is refused.

use store::{Config, Store, StoreError};
use testkit::Postgres;

use crate::database::{Database, connect, on_each_database, sqlite_file, write};
use crate::ticks::{at, trade};

on_each_database!(migrating_again_changes_nothing, the_epoch_belongs_to_the_database);

async fn migrating_again_changes_nothing(db: Database) {
    write(&db.store, &[trade(1, at(0), "5")]).await;
    assert_eq!(migrations::migrate(&db.url, false).await.unwrap(), Vec::<String>::new());
    assert_eq!(write(&db.store, &[trade(1, at(0), "5")]).await.duplicates, 1);
    db.store.ping().await.unwrap();
    db.store.close().await;
    assert!(db.store.ping().await.unwrap_err().is_retryable());
}

async fn the_epoch_belongs_to_the_database(db: Database) {
    let epoch = db.store.epoch().await.unwrap();
    assert!(epoch.len() >= 32, "{epoch}");
    assert_eq!(connect(&db.url).await.unwrap().epoch().await.unwrap(), epoch);
    let other = if db.is_postgres() { Database::postgres().await } else { Database::sqlite().await };
    assert_ne!(other.store.epoch().await.unwrap(), epoch);
    assert_eq!(db.store.horizon().await.unwrap(), None);
}

#[tokio::test]
async fn refuses_a_database_that_is_not_migrated() {
    let server = Postgres::shared().await;
    let (sqlite, _file) = sqlite_file();
    for url in [sqlite, server.create_database().await] {
        let error = connect(&url).await.unwrap_err();
        assert!(matches!(error, StoreError::NotMigrated { missing: "m0001_meta" }), "{error:?}");
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("`ledgerflux migrate`"));
        let applied = migrations::migrate(&url, false).await.unwrap();
        assert_eq!(applied.first().map(String::as_str), Some("m0001_meta"));
        connect(&url).await.unwrap();
    }
}

#[tokio::test]
async fn refuses_an_older_schema() {
    let db = Database::sqlite().await;
    db.execute("DELETE FROM seaql_migrations WHERE version = 'm0005_gaps'").await;
    assert!(matches!(connect(&db.url).await, Err(StoreError::NotMigrated { missing: "m0005_gaps" })));
}

/// The list in the store is the list of the migrations.
#[tokio::test]
async fn knows_the_newest_migration() {
    use sea_orm::ConnectionTrait as _;
    let db = Database::sqlite().await;
    let raw = db.raw().await;
    raw.execute_unprepared("UPDATE seaql_migrations SET version = 'gone' WHERE version = (SELECT max(version) FROM seaql_migrations)")
        .await
        .unwrap();
    raw.close().await.unwrap();
    assert!(matches!(connect(&db.url).await, Err(StoreError::NotMigrated { .. })));
}

#[tokio::test]
async fn says_whether_trying_again_helps() {
    let unreachable = connect("postgres://nobody@127.0.0.1:1/none").await.unwrap_err();
    assert!(matches!(unreachable, StoreError::Connect(_)) && unreachable.is_retryable(), "{unreachable:?}");
    let missing = connect("sqlite:///nonexistent/folder/x.db").await.unwrap_err();
    assert!(matches!(missing, StoreError::Connect(_)), "{missing:?}");
    for url in ["mysql://root@127.0.0.1/x", "nonsense", ""] {
        let error = connect(url).await.unwrap_err();
        assert!(matches!(error, StoreError::UnsupportedUrl { .. }) && !error.is_retryable(), "{error:?}");
    }
    let server = Postgres::shared().await;
    let absent = server.create_database().await.replace("test_", "absent_");
    let error = connect(&absent).await.unwrap_err();
    assert!(matches!(error, StoreError::Connect(_)) && !error.is_retryable(), "{error:?}");
    let config = Config { url: "postgres://user:hidden@host/db".into(), ..Config::default() };
    assert!(!format!("{config:?}").contains("hidden"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_that_start_together_take_turns() {
    let server = Postgres::shared().await;
    let url = server.create_database().await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { migrations::migrate(&url, false).await.unwrap().len() })
        })
        .collect();
    let mut applied = Vec::new();
    for task in tasks {
        applied.push(task.await.unwrap());
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 7]);
    let store: Store =
        connect(&format!("{}?sslmode=disable", url.replace("postgres://", "postgresql://"))).await.unwrap();
    store.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_a_restart_of_the_server() {
    let server = Postgres::start().await;
    let url = server.create_database().await;
    migrations::migrate(&url, false).await.unwrap();
    let store = connect(&url).await.unwrap();
    write(&store, &[trade(1, at(0), "5")]).await;
    server.kill().await;
    let error = store.ping().await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    server.restart().await;
    store.ping().await.unwrap();
    assert_eq!(write(&store, &[trade(1, at(0), "5"), trade(2, at(0), "5")]).await.inserted, 1);
    store.close().await;
    server.stop().await;
}
