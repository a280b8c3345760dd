//! What is dropped, what stays, and what is refused from then on.

use std::time::Duration;

use domain::{Gap, GapState, Interval, Tick, TimeRange, UnixNanos};
use store::{CandleQuery, Written};

use crate::{
    database::{Database, history, on_each_database, write},
    gaps::{gap, query},
    ticks::{at, backfilled, instrument, trade},
};

on_each_database!(
    old_ticks_are_dropped_and_refused,
    bars_stay_and_are_sealed,
    deletes_in_steps,
    what_can_come_no_more_is_given_up,
    what_is_fetched_too_late_is_left_to_its_gap,
    many_gaps_are_given_up_in_steps
);

const HOUR: i64 = 3600;

fn hourly(hours: std::ops::Range<i64>) -> Vec<Tick> {
    hours.map(|hour| trade(u64::try_from(hour).unwrap() + 1, at(hour * HOUR), "5")).collect()
}

async fn old_ticks_are_dropped_and_refused(db: Database) {
    let btc = instrument("BTC-USD");
    write(&db.store, &hourly(0..120)).await;
    let keep = Duration::from_secs(48 * 3600);
    let now = UnixNanos::new(at(100 * HOUR).nanos() + 30_500_000_000);
    let report = db.store.retain(keep, now).await.unwrap();
    // Whole days, or whole minutes.
    let horizon = if db.is_postgres() { at(48 * HOUR) } else { at(52 * HOUR) };
    assert_eq!(report.horizon, Some(horizon));
    assert_eq!(db.store.horizon().await.unwrap(), Some(horizon));
    let oldest = history(&db.store, &btc).await[0].1.event_time;
    assert_eq!(oldest, horizon);
    let dropped = (report.partitions_dropped, report.rows_deleted);
    assert_eq!(dropped, if db.is_postgres() { (2, 0) } else { (0, 52) });

    // What was dropped does not come back, live or backfilled; what was kept is still known.
    let batch =
        [hourly(0..3), hourly(60..61), vec![backfilled(&trade(2, at(HOUR), "5"))], hourly(200..201)].concat();
    let written = write(&db.store, &batch).await;
    assert_eq!(written, Written { inserted: 1, duplicates: 2, too_old: vec![0, 1, 2], ..Written::default() });
    let border = [trade(900, UnixNanos::new(horizon.nanos() - 1), "5"), trade(901, horizon, "5")];
    assert_eq!(
        write(&db.store, &border).await,
        Written { inserted: 1, too_old: vec![0], ..Written::default() }
    );

    // It never moves back, and has nothing to do twice.
    let again = db.store.retain(Duration::from_secs(90 * 3600), now).await.unwrap();
    assert_eq!(again, store::RetentionReport { horizon: Some(horizon), ..Default::default() });
    assert_eq!(history(&db.store, &btc).await[0].1.event_time, horizon);
    // Writing goes on, also into days that have no partition yet.
    assert_eq!(write(&db.store, &hourly(130..230)).await.inserted, 99);
}

async fn bars_stay_and_are_sealed(db: Database) {
    write(&db.store, &hourly(0..96)).await;
    let query = CandleQuery {
        instrument: instrument("BTC-USD"),
        interval: Interval::OneHour,
        range: TimeRange::ALL,
        order: store::Order::Ascending,
        limit: 1000,
        after: None,
    };
    let before = db.store.candles(&query).await.unwrap();
    let latest = db.store.latest(&instrument("BTC-USD")).await.unwrap();
    db.store.retain(Duration::ZERO, at(200 * HOUR)).await.unwrap();
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await, []);
    write(&db.store, &hourly(0..96)).await;
    assert_eq!(db.store.candles(&query).await.unwrap(), before);
    assert_eq!(db.store.latest(&instrument("BTC-USD")).await.unwrap(), latest);
}

async fn deletes_in_steps(db: Database) {
    let ticks: Vec<Tick> = (1..=5000).map(|id| trade(id, at(i64::try_from(id).unwrap()), "5")).collect();
    write(&db.store, &ticks).await;
    write(&db.store, &hourly(48..50)).await;
    let writer = {
        let store = db.store.clone();
        tokio::spawn(async move {
            for hour in 50..70 {
                write(&store, &hourly(hour..hour + 1)).await;
            }
        })
    };
    let report = db.store.retain(Duration::ZERO, at(48 * HOUR)).await.unwrap();
    writer.await.unwrap();
    assert_eq!(
        (report.partitions_dropped, report.rows_deleted),
        if db.is_postgres() { (1, 0) } else { (0, 5000) }
    );
    assert_eq!(history(&db.store, &instrument("BTC-USD")).await.len(), 22);
}

async fn what_can_come_no_more_is_given_up(db: Database) {
    let missing = |id: u64, hour: i64| Gap {
        after: Some(at((hour - 1) * HOUR)),
        before: Some(at(hour * HOUR)),
        ..gap(id, id)
    };
    for gap in [missing(10, 23), missing(20, 24), missing(30, 90)] {
        db.store.record_gap(&gap).await.unwrap();
    }
    let report = db.store.retain(Duration::ZERO, at(24 * HOUR)).await.unwrap();
    let lost = Gap { state: GapState::Unrepairable, ..missing(10, 23) };
    assert_eq!((report.horizon, report.gaps_given_up), (Some(at(24 * HOUR)), vec![lost]));
    let states = db.store.gaps(&query("BTC-USD")).await.unwrap();
    let states: Vec<GapState> = states.iter().map(|gap| gap.state).collect();
    assert_eq!(states, [GapState::Unrepairable, GapState::Open, GapState::Open]);
    assert_eq!(db.store.retain(Duration::ZERO, at(24 * HOUR)).await.unwrap().gaps_given_up, []);
}

/// Filed as well, it would be in two places.
async fn what_is_fetched_too_late_is_left_to_its_gap(db: Database) {
    let missing = Gap { after: Some(at(22 * HOUR)), before: Some(at(23 * HOUR)), run: 1, ..gap(10, 11) };
    db.store.record_gap(&missing).await.unwrap();
    db.store.retain(Duration::from_secs(48 * 3600), at(60 * HOUR)).await.unwrap();
    write(&db.store, &[backfilled(&trade(10, at(22 * HOUR), "5"))]).await;
    // Whoever fetched it did not know the run; of the one that lies in no gap nothing else would tell.
    db.store.retain(Duration::ZERO, at(48 * HOUR)).await.unwrap();
    let late = [trade(11, at(22 * HOUR), "5"), trade(12, at(22 * HOUR), "5")].map(|trade| backfilled(&trade));
    let written = write(&db.store, &late).await;
    assert_eq!((written.inserted, written.duplicates, written.left_to_gaps), (0, 0, 1));
    assert_eq!(written.too_old, [1]);
    let gaps = db.store.gaps(&query("BTC-USD")).await.unwrap();
    assert_eq!((gaps.len(), gaps[0].repaired_count, gaps[0].state), (1, 1, GapState::Unrepairable));
}

/// What one call gives up has a bound.
async fn many_gaps_are_given_up_in_steps(db: Database) {
    let missing: Vec<Gap> = (0..10_005u64)
        .map(|number| Gap { before: Some(UnixNanos::new(number as i64)), ..gap(10 * number, 10 * number) })
        .collect();
    for some in missing.chunks(1_000) {
        db.store.record_gaps(some).await.unwrap();
    }
    let mut given_up = Vec::new();
    for expected in [10_000, 5, 0] {
        let step = db.store.retain(Duration::ZERO, at(24 * HOUR)).await.unwrap().gaps_given_up;
        assert_eq!(step.len(), expected);
        given_up.extend(step);
    }
    given_up.sort_by_key(|gap| gap.first_trade_id);
    assert!(given_up.iter().zip(&missing).all(|(one, other)| one.first_trade_id == other.first_trade_id));
}
