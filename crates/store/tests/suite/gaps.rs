//! Gaps.

use domain::{Gap, GapCause, GapState, TimeRange};
use store::GapQuery;

use crate::{
    database::{Database, on_each_database},
    ticks::{at, instrument},
};

on_each_database!(gaps_are_recorded_once_and_only_close);

async fn gaps_are_recorded_once_and_only_close(db: Database) {
    let gap = |first: u64, cause| Gap {
        instrument: instrument("BTC-USD"),
        run: 2,
        first_trade_id: first,
        last_trade_id: first + 4,
        after: Some(at(1)),
        before: None,
        detected_at: at(i64::try_from(first).unwrap()),
        cause,
        state: GapState::Open,
        repaired_count: 0,
    };
    let causes =
        [GapCause::Disconnect, GapCause::Restart, GapCause::Drop, GapCause::Batched, GapCause::Overflow];
    let open: Vec<Gap> =
        causes.into_iter().zip((10..).step_by(10)).map(|(cause, first)| gap(first, cause)).collect();
    for gap in open.iter().chain(&open) {
        db.store.record_gap(gap).await.unwrap();
    }
    let partly = Gap { repaired_count: 3, ..open[0].clone() };
    let repaired = Gap { repaired_count: 5, state: GapState::Repaired, ..open[0].clone() };
    let lost = Gap { state: GapState::Unrepairable, ..open[1].clone() };
    for gap in [&partly, &repaired, &partly, &open[0], &lost, &open[1]] {
        db.store.record_gap(gap).await.unwrap();
    }
    let expected = [repaired, lost, open[2].clone(), open[3].clone(), open[4].clone()];
    let mut query =
        GapQuery { instrument: instrument("BTC-USD"), range: TimeRange::ALL, after: None, limit: 3 };
    let first = db.store.gaps(&query).await.unwrap();
    assert_eq!(first, expected[..3]);
    query.after = first.last().map(|gap| (gap.detected_at, gap.first_trade_id));
    assert_eq!(db.store.gaps(&query).await.unwrap(), expected[3..]);
    query = GapQuery { range: TimeRange { from: at(20), until: at(40) }, after: None, ..query };
    assert_eq!(db.store.gaps(&query).await.unwrap(), expected[1..3]);
    query.instrument = instrument("ETH-USD");
    assert_eq!(db.store.gaps(&query).await.unwrap(), []);
}
