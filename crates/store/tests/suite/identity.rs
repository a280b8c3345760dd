//! Exactly once: what is the same tick, and what is not.

use domain::{Tick, Trade};
use store::{NotStorable, StoreError, Written};

use crate::{
    database::{Database, history, on_each_database, write, write_all},
    ticks::{at, backfilled, instrument, quote, trade, trade_of},
};

on_each_database!(
    a_batch_written_again_changes_nothing,
    repetitions_within_a_batch_count_once,
    ticks_without_trade_id_have_a_key_too,
    a_backfill_skips_what_is_stored_at_any_time,
    an_error_leaves_nothing_behind,
    large_batches_are_stored_whole,
);

async fn a_batch_written_again_changes_nothing(db: Database) {
    let ticks: Vec<Tick> = (1..=50).map(|id| trade(id, at(i64::try_from(id).unwrap() * 7), "5.5")).collect();
    assert_eq!(write(&db.store, &ticks[..30]).await, Written { inserted: 30, ..Written::default() });
    // The redelivery overlaps, comes in another order and at another time by our clock.
    let mut again: Vec<Tick> = ticks[10..].iter().rev().cloned().collect();
    again.iter_mut().for_each(|tick| tick.receive_time = at(10_000));
    assert_eq!(
        write(&db.store, &again).await,
        Written { inserted: 20, duplicates: 20, ..Written::default() }
    );
    assert_eq!(write(&db.store, &ticks).await, Written { inserted: 0, duplicates: 50, ..Written::default() });
    let stored = history(&db.store, &instrument("BTC-USD")).await;
    assert_eq!(stored.len(), 50);
    assert_eq!(stored[0].1.receive_time, ticks[0].receive_time);
    assert_eq!(write(&db.store, &[]).await, Written::default());
}

async fn repetitions_within_a_batch_count_once(db: Database) {
    let one = trade(1, at(0), "5");
    let written = write(&db.store, &[one.clone(), one.clone(), trade(2, at(0), "6"), one]).await;
    assert_eq!(written, Written { inserted: 2, duplicates: 2, ..Written::default() });
}

async fn ticks_without_trade_id_have_a_key_too(db: Database) {
    let anonymous = |sequence| Tick {
        sequence: Some(sequence),
        last_trade: Some(Trade { trade_id: None, ..trade(1, at(0), "5").last_trade.unwrap() }),
        ..trade(1, at(0), "5")
    };
    let mut later_run = quote(11, at(0), "4");
    later_run.run = 1;
    let ticks =
        [anonymous(10), quote(11, at(0), "4"), later_run, quote(11, at(1), "4"), quote(12, at(1), "4")];
    assert_eq!(write(&db.store, &ticks).await.inserted, 5);
    assert_eq!(write(&db.store, &ticks).await, Written { inserted: 0, duplicates: 5, ..Written::default() });
    // The same product name elsewhere is another product.
    let mut elsewhere = quote(11, at(0), "4");
    elsewhere.instrument = domain::Instrument::new("elsewhere", "BTC-USD").unwrap();
    assert_eq!(write(&db.store, &[elsewhere]).await.inserted, 1);
}

async fn a_backfill_skips_what_is_stored_at_any_time(db: Database) {
    let live = trade(7, at(100), "5");
    write(&db.store, std::slice::from_ref(&live)).await;
    let mut shifted = backfilled(&live);
    shifted.event_time = at(90_000);
    let missing = backfilled(&trade(8, at(101), "6"));
    let mut missing_twice = missing.clone();
    missing_twice.event_time = at(102);
    let other = backfilled(&trade_of("ETH-USD", 7, at(100), "5"));
    let batch = [backfilled(&live), shifted, missing.clone(), missing_twice, other];
    assert_eq!(write(&db.store, &batch).await, Written { inserted: 2, duplicates: 3, ..Written::default() });
    assert_eq!(write(&db.store, &batch).await, Written { inserted: 0, duplicates: 5, ..Written::default() });
    let stored: Vec<Tick> =
        history(&db.store, &instrument("BTC-USD")).await.into_iter().map(|(_, tick)| tick).collect();
    assert_eq!(stored, [live, missing]);
}

async fn an_error_leaves_nothing_behind(db: Database) {
    let mut nameless = trade(2, at(1), "5");
    nameless.sequence = None;
    nameless.last_trade.as_mut().unwrap().trade_id = None;
    let error = write_all(&db.store, &[trade(1, at(0), "5"), nameless], &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::NotStorable(NotStorable::WithoutIdentity { .. })));

    // The last table that the transaction touches is gone: what was done before it is undone.
    db.execute("ALTER TABLE latest_prices RENAME TO elsewhere").await;
    let error = write_all(&db.store, &[trade(1, at(0), "5")], &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Query { .. }) && !error.is_retryable(), "{error:?}");
    db.execute("ALTER TABLE elsewhere RENAME TO latest_prices").await;
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await, []);
    assert_eq!(db.select("SELECT product FROM price_stats_1min").await.len(), 0);
    assert_eq!(write(&db.store, &[trade(1, at(0), "5")]).await.inserted, 1);
}

async fn large_batches_are_stored_whole(db: Database) {
    let ticks: Vec<Tick> = (1..=6000)
        .map(|id| {
            trade_of(
                ["BTC-USD", "ETH-USD", "ADA-USD"][usize::try_from(id % 3).unwrap()],
                id,
                at(i64::try_from(id).unwrap()),
                "5",
            )
        })
        .collect();
    assert_eq!(write(&db.store, &ticks).await.inserted, 6000);
    assert_eq!(write(&db.store, &ticks).await.duplicates, 6000);
    for product in ["BTC-USD", "ETH-USD", "ADA-USD"] {
        assert_eq!(history(&db.store, &instrument(product)).await.len(), 2000);
    }
}
