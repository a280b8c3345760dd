//! What nobody waits for any more ends on the server too.

use std::time::Duration;

use store::{Config, Order, Store, TickQuery, TickRange};
use testkit::eventually;

use crate::{
    database::Database,
    ticks::{at, instrument, trade},
};

const RUNNING: &str = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() \
    AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE '%tick_history%' AND query LIKE 'SELECT%'";

/// Half a second is usual. By itself the statement would end after 30 s.
const SOON: Duration = Duration::from_secs(10);

async fn running(db: &Database) -> String {
    db.select(RUNNING).await[0].clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_read_ends_long_before_its_time() {
    let db = Database::postgres().await;
    let store = Store::connect(&Config { url: db.url.clone(), ..Config::default() }).await.unwrap();
    let query = TickQuery {
        instrument: instrument("BTC-USD"),
        range: TickRange::Time(domain::TimeRange::ALL),
        order: Order::Ascending,
        after: None,
        limit: 10,
    };
    crate::database::write(&store, &[trade(1, at(1), "5")]).await;
    // A read that takes for ever: somebody else holds the table.
    let lock = db.raw().await;
    let held = sea_orm::TransactionTrait::begin(&lock).await.unwrap();
    sea_orm::ConnectionTrait::execute_unprepared(&held, "LOCK TABLE tick_history IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let reading = tokio::spawn({
        let (store, query) = (store.clone(), query.clone());
        async move { store.ticks(&query).await }
    });
    while running(&db).await != "1" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    reading.abort();
    eventually(SOON, || async { running(&db).await == "0" }).await;
    held.rollback().await.unwrap();
    // The store is as good as before.
    assert_eq!(store.ticks(&query).await.unwrap().len(), 1);
    store.close().await;
}
