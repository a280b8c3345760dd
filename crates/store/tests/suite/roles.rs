//! Each role may do its work, and nothing else.

use std::time::Duration;

use sea_orm::{ConnectionTrait, Database as Connections, DbErr, RuntimeErr, TransactionTrait};
use store::StoreError;
use testkit::Postgres;

use crate::{
    database::{connect, history, write, write_all},
    ticks::{DAY, at, instrument, trade},
};

const ROLES: [&str; 3] = ["owner", "writer", "reader"];

/// What may be done by whom, in the order of [`ROLES`].
const MATRIX: [(&str, [bool; 3]); 29] = [
    ("SELECT count(*) FROM tick_history", [true, true, true]),
    ("SELECT count(*) FROM tick_history_20261122", [true, true, true]),
    ("SELECT count(*) FROM tick_history_default", [true, true, true]),
    (
        "SELECT count(*) FROM price_stats_1min, trade_counts_1day, latest_prices, snapshots, gaps, meta",
        [true, true, true],
    ),
    ("INSERT INTO tick_history SELECT * FROM tick_history WHERE false", [true, true, false]),
    ("UPDATE tick_history SET price = 1", [true, false, false]),
    ("DELETE FROM tick_history", [true, false, false]),
    ("TRUNCATE tick_history", [true, false, false]),
    ("INSERT INTO tick_history_20261122 SELECT * FROM tick_history WHERE false", [true, false, false]),
    ("DROP TABLE tick_history_20261122", [true, false, false]),
    ("INSERT INTO gaps SELECT * FROM gaps WHERE false", [true, true, false]),
    ("UPDATE latest_prices SET price = price", [true, true, false]),
    ("UPDATE price_stats_1min SET tick_count = tick_count", [true, true, false]),
    ("UPDATE snapshots SET version = version", [true, true, false]),
    ("UPDATE trade_counts_1day SET trades = trades", [true, true, false]),
    ("DELETE FROM trade_counts_1day", [true, false, false]),
    ("UPDATE gaps SET last_trade_id = last_trade_id", [true, true, false]),
    ("DELETE FROM gaps", [true, false, false]),
    ("DELETE FROM price_stats_1min", [true, false, false]),
    ("DELETE FROM snapshots", [true, false, false]),
    ("UPDATE meta SET value = value WHERE key = 'horizon'", [true, true, false]),
    ("UPDATE meta SET key = 'x' WHERE key = 'epoch'", [true, false, false]),
    ("DELETE FROM meta", [true, false, false]),
    ("SELECT nextval('tick_history_id_seq')", [true, true, false]),
    ("SELECT setval('tick_history_id_seq', 1)", [true, false, false]),
    (
        "SELECT ledgerflux_make_partition('tick_history_20300101', 1893456000000000000, 1893542400000000000)",
        [true, true, false],
    ),
    ("SELECT ledgerflux_drop_partition('tick_history_19990101')", [true, true, false]),
    ("CREATE TABLE extra (x integer)", [true, false, false]),
    ("DELETE FROM seaql_migrations", [true, false, false]),
];

/// Runs a statement and takes it back.
async fn attempt(url: &str, sql: &str) -> Result<(), String> {
    let db = Connections::connect(url).await.unwrap();
    let transaction = db.begin().await.unwrap();
    let result = transaction.execute_unprepared(sql).await;
    transaction.rollback().await.unwrap();
    db.close().await.unwrap();
    result.map(|_| ()).map_err(|error| sql_state(&error))
}

fn sql_state(error: &DbErr) -> String {
    let (DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        panic!("{error:?}")
    };
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

/// Login roles, one for each role and one that has none; `login_owner` and so on.
async fn log_in_as(server: &Postgres, url: &str) {
    for role in ROLES {
        server.psql(url, &format!("CREATE ROLE login_{role} LOGIN IN ROLE ledgerflux_{role}")).await;
    }
    server.psql(url, "CREATE ROLE login_stranger LOGIN").await;
}

fn url_of(url: &str, role: &str) -> String {
    url.replace("postgres@", &format!("login_{role}@"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_its_work_and_nothing_else() {
    let server = Postgres::start().await;
    let url = server.create_database().await;
    migrations::migrate(&url, false).await.unwrap();
    // A database that was used before it had roles.
    let store = connect(&url).await.unwrap();
    write(&store, &[trade(1, DAY, "5")]).await;
    assert_eq!(migrations::migrate(&url, true).await.unwrap(), Vec::<String>::new());
    migrations::migrate(&url, true).await.unwrap();
    log_in_as(&server, &url).await;

    for (sql, allowed) in MATRIX {
        for (role, allowed) in ROLES.into_iter().zip(allowed) {
            let outcome = attempt(&url_of(&url, role), sql).await;
            let expected = if allowed { Ok(()) } else { Err("42501".to_owned()) };
            assert_eq!(outcome, expected, "{role}: {sql}");
        }
    }
    let error = Connections::connect(url_of(&url, "stranger")).await.unwrap_err();
    assert!(matches!(error, DbErr::Conn(_)), "{error:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_works_with_the_rights_of_each_role() {
    let server = Postgres::start().await;
    let url = server.create_database().await;
    // Not a superuser: the owner of the database, who may make roles.
    server
        .psql(&url, "CREATE ROLE login_admin LOGIN CREATEROLE; ALTER DATABASE test_1 OWNER TO login_admin")
        .await;
    migrations::migrate(&url_of(&url, "admin"), true).await.unwrap();
    log_in_as(&server, &url).await;
    // The owner migrates from then on.
    migrations::migrate(&url_of(&url, "owner"), true).await.unwrap();

    let btc = instrument("BTC-USD");
    let writer = connect(&url_of(&url, "writer")).await.unwrap();
    let ticks = [trade(1, DAY, "5"), trade(2, at(86_400), "6"), trade(3, at(2 * 86_400), "7")];
    assert_eq!(write(&writer, &ticks).await.inserted, 3);
    assert_eq!(write(&writer, &ticks).await.duplicates, 3);
    assert_eq!(writer.measure().await.unwrap().default_partition_rows, 0);

    // What the writer made belongs to the owner, and the reader reads it.
    let owners = "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relname LIKE 'tick_history%'";
    assert_eq!(server.psql(&url, owners).await, "ledgerflux_owner");
    let reader = connect(&url_of(&url, "reader")).await.unwrap();
    assert_eq!(history(&reader, &btc).await.len(), 3);
    assert_eq!(attempt(&url_of(&url, "reader"), "SELECT * FROM tick_history_20261124").await, Ok(()));
    assert!(reader.measure().await.is_ok());
    for ticks in [[trade(4, DAY, "5")], [trade(5, at(9 * 86_400), "5")]] {
        let error = write_all(&reader, &ticks, &[]).await.unwrap_err();
        let StoreError::Query { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!((sql_state(source).as_str(), error.is_retryable()), ("42501", false));
    }

    // Retention is the writer's too, and the functions do no more than that.
    let report = writer.retain(Duration::ZERO, at(86_400)).await.unwrap();
    assert_eq!(report.partitions_dropped, 1);
    assert_eq!(history(&reader, &btc).await.len(), 2);
    assert!(reader.retain(Duration::ZERO, at(2 * 86_400)).await.is_err());
    for (sql, code) in [
        ("SELECT ledgerflux_drop_partition('tick_history_20261123')", "22023"),
        ("SELECT ledgerflux_make_partition('meta; DROP TABLE meta', 0, 1)", "22023"),
        ("SELECT ledgerflux_make_partition('tick_history_20300101', 1, 1)", "22023"),
    ] {
        assert_eq!(attempt(&url_of(&url, "writer"), sql).await, Err(code.to_owned()), "{sql}");
    }
    for name in ["meta", "tick_history", "tick_history_default", "pg_class", "no such table"] {
        let sql = format!("SELECT ledgerflux_drop_partition('{name}')");
        assert_eq!(server.psql(&url_of(&url, "writer"), &sql).await, "f", "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn sqlite_has_no_roles() {
    let (url, _file) = crate::database::sqlite_file();
    let error = migrations::migrate(&url, true).await.unwrap_err();
    assert!(matches!(error, migrations::MigrateError::RolesUnsupported), "{error:?}");
}
