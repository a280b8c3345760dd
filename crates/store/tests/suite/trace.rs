//! One tick, found by a number.

use store::{StoreError, StoredTick, TickNumber};

use crate::database::{Database, NOW, connect, on_each_database, write};
use crate::ticks::{at, backfilled, instrument, quote, trade, trade_of};

on_each_database!(a_tick_is_found_by_each_of_its_numbers, a_sequence_is_found_in_every_run);

async fn found(db: &Database, product: &str, number: TickNumber) -> Vec<StoredTick> {
    db.store.find_ticks(&instrument(product), number).await.unwrap()
}

async fn a_tick_is_found_by_each_of_its_numbers(db: Database) {
    let (live, fetched) = (trade(5, at(0), "64903.880"), backfilled(&trade(6, at(1), "7")));
    let book = quote(70, at(2), "1.5");
    write(&db.store, &[live.clone(), fetched.clone(), book.clone(), trade_of("ETH-USD", 5, at(0), "8")])
        .await;
    let stored = |tick| vec![StoredTick { tick, stored_at: NOW, tick_sequence: Some(7) }];
    let micros = |mut stored: Vec<StoredTick>| {
        // PostgreSQL keeps microseconds.
        for stored in &mut stored {
            let nanos = stored.stored_at.nanos();
            stored.stored_at = domain::UnixNanos::new(nanos - nanos % 1_000);
        }
        stored
    };
    for (number, tick) in [
        (TickNumber::TradeId(5), &live),
        (TickNumber::Sequence(50), &live),
        (TickNumber::TradeId(6), &fetched),
        (TickNumber::Sequence(70), &book),
    ] {
        assert_eq!(micros(found(&db, "BTC-USD", number).await), micros(stored(tick.clone())), "{number:?}");
    }
    for number in [TickNumber::TradeId(50), TickNumber::Sequence(5), TickNumber::TradeId(u64::MAX)] {
        assert_eq!(found(&db, "BTC-USD", number).await, []);
    }
    assert_eq!(found(&db, "ADA-USD", TickNumber::TradeId(5)).await, []);
    assert_eq!(found(&db, "ETH-USD", TickNumber::TradeId(5)).await.len(), 1);
}

async fn a_sequence_is_found_in_every_run(db: Database) {
    let mut again = trade(9, at(60), "3");
    (again.run, again.sequence) = (1, Some(50));
    write(&db.store, &[again, trade(5, at(0), "2")]).await;
    let runs = |found: Vec<StoredTick>| found.iter().map(|stored| stored.tick.run).collect::<Vec<_>>();
    assert_eq!(runs(found(&db, "BTC-USD", TickNumber::Sequence(50)).await), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_writes_can_be_read_by_who_may_not() {
    let db = Database::sqlite().await;
    write(&db.store, &[trade(1, at(0), "5")]).await;
    let reader = connect(&db.url.replace("mode=rwc", "mode=ro")).await.unwrap();
    write(&db.store, &[trade(2, at(1), "6")]).await;
    for trade_id in [1, 2] {
        let number = TickNumber::TradeId(trade_id);
        assert_eq!(reader.find_ticks(&instrument("BTC-USD"), number).await.unwrap().len(), 1);
    }
    let rows = [store::TickRow { tick: &trade(3, at(2), "7"), tick_seq: None }];
    let batch = store::WriteBatch { ticks: &rows, snapshots: &[], written_at: NOW };
    assert!(reader.write(&batch).await.is_err());
    db.store.close().await;
    assert_eq!(reader.find_ticks(&instrument("BTC-USD"), TickNumber::TradeId(3)).await.unwrap(), []);
    let nowhere = connect("sqlite:///nonexistent/ledgerflux.db?mode=ro").await;
    assert!(matches!(nowhere, Err(StoreError::Connect(_))), "{nowhere:?}");
}
