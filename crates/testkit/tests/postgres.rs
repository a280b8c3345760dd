//! The PostgreSQL harness against the real server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpStream;
use std::sync::Arc;

use testkit::Postgres;

#[tokio::test]
async fn tests_share_a_server_and_have_databases_of_their_own() {
    let postgres = Postgres::shared().await;
    let again = Postgres::shared().await;
    assert!(Arc::ptr_eq(&postgres, &again));
    let (first, second) = (postgres.create_database().await, again.create_database().await);
    assert_ne!(first, second);
    postgres
        .psql(&first, "CREATE TABLE only_here (value NUMERIC); INSERT INTO only_here VALUES (1.10)")
        .await;
    assert_eq!(postgres.psql(&first, "SELECT value, NULL, 'x' FROM only_here").await, "1.10||x");
    assert_eq!(postgres.psql(&second, "SELECT to_regclass('only_here') IS NULL").await, "t");
}

#[tokio::test]
async fn a_killed_server_comes_back_on_the_same_port_with_what_was_committed() {
    let postgres = Postgres::start().await;
    let database = postgres.create_database().await;
    postgres.psql(&database, "CREATE TABLE kept AS SELECT 42 AS answer").await;
    postgres.kill().await;
    assert!(TcpStream::connect(("127.0.0.1", postgres.port())).is_err());
    postgres.restart().await;
    assert_eq!(postgres.psql(&database, "SELECT answer FROM kept").await, "42");
    postgres.stop().await;
    postgres.restart().await;
    assert_eq!(postgres.psql(&database, "SELECT answer FROM kept").await, "42");
}

#[tokio::test]
async fn dropping_stops_the_server_and_removes_its_data() {
    let postgres = Postgres::start_with(&["max_connections=7"]).await;
    let database = postgres.create_database().await;
    assert_eq!(postgres.psql(&database, "SHOW max_connections").await, "7");
    let directory = postgres.psql(&database, "SHOW data_directory").await;
    assert!(std::path::Path::new(&directory).exists());
    let port = postgres.port();
    drop(postgres);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!std::path::Path::new(&directory).exists());
}

#[tokio::test]
async fn a_panic_stops_the_server_too() {
    let task = tokio::spawn(async {
        let postgres = Postgres::start().await;
        std::panic::panic_any(postgres.port());
        #[allow(unreachable_code)]
        drop(postgres);
    });
    let port = *task.await.unwrap_err().into_panic().downcast::<u16>().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
