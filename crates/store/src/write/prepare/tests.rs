use domain::{Decimal, TickFlags, Trade};

use super::*;
use crate::TickRow;

fn tick(product: &str, at: i64, sequence: Option<u64>, trade_id: Option<u64>) -> Tick {
    Tick {
        instrument: Instrument::new("coinbase", product).unwrap(),
        run: 0,
        sequence,
        event_time: UnixNanos::new(at),
        receive_time: UnixNanos::new(at),
        last_trade: Some(Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags { backfilled: sequence.is_none(), locked_book: false },
    }
}

fn kept(ticks: &[Tick]) -> Vec<usize> {
    let rows: Vec<_> = ticks.iter().map(|tick| TickRow { tick, tick_seq: None }).collect();
    let batch = WriteBatch { ticks: &rows, snapshots: &[], written_at: UnixNanos::new(0) };
    Prepared::of(&batch).unwrap().rows.iter().map(|row| row.index).collect()
}

#[test]
fn keeps_the_first_of_each_identity() {
    let ticks = [
        tick("BTC-USD", 1, Some(1), Some(1)),
        tick("BTC-USD", 1, Some(2), Some(1)),
        tick("ETH-USD", 1, Some(1), Some(1)),
        tick("BTC-USD", 2, Some(3), Some(1)),
        tick("BTC-USD", 2, Some(4), None),
        tick("BTC-USD", 2, Some(4), None),
        tick("BTC-USD", 3, Some(4), None),
    ];
    assert_eq!(kept(&ticks), [0, 2, 3, 4, 6]);
}

#[test]
fn a_backfilled_trade_that_is_also_live_is_one_trade() {
    let ticks = [
        tick("BTC-USD", 1, None, Some(7)),
        tick("BTC-USD", 2, None, Some(8)),
        tick("BTC-USD", 3, None, Some(8)),
        tick("ETH-USD", 4, None, Some(7)),
        tick("BTC-USD", 5, Some(9), Some(7)),
    ];
    assert_eq!(kept(&ticks), [1, 3, 4]);
}

#[test]
fn refuses_what_could_not_be_recognised_again() {
    let refuse = |tick: Tick| {
        let rows = [TickRow { tick: &tick, tick_seq: None }];
        Prepared::of(&WriteBatch { ticks: &rows, snapshots: &[], written_at: UnixNanos::new(0) })
            .map(|_| ())
            .unwrap_err()
    };
    let error = refuse(tick("BTC-USD", 1, None, None));
    assert!(matches!(error, StoreError::NotStorable(NotStorable::WithoutIdentity { .. })));
    assert!(!error.is_retryable());
    let error = refuse(tick("BTC-USD", 1, Some(u64::MAX), None));
    assert!(matches!(error, StoreError::NotStorable(NotStorable::TooLarge { field: "sequence", .. })));
}
