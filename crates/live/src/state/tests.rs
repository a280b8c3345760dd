use domain::{Decimal, MarketState};

use super::{samples::*, *};

fn state() -> LiveState {
    LiveState::new(Config::default())
}

fn position(run: u32, sequence: u64) -> Position {
    Position { run, sequence }
}

fn snapshot_at(sequence: u64) -> Snapshot {
    Snapshot {
        instrument: instrument("BTC-USD"),
        position: position(0, sequence),
        snapshot_time: domain::UnixNanos::new(1),
        state: MarketState::default(),
    }
}

#[test]
fn the_last_value_moves_by_position_only() {
    let mut state = state();
    assert!(state.snapshot(&instrument("BTC-USD")).is_none());
    assert_eq!(state.apply(1, batch("BTC-USD", [5, 6])).accepted, 2);
    assert_eq!(
        state.apply(2, batch("BTC-USD", [4, 6, 7])),
        Applied { accepted: 1, old: 2, ..Applied::default() }
    );
    let snapshot = state.snapshot(&instrument("BTC-USD")).unwrap();
    assert_eq!(snapshot.position, position(0, 7));
    assert_eq!(snapshot.state.last_trade.as_ref().unwrap().0.price, Decimal::from(7));
    // A new run begins lower and is later all the same.
    assert_eq!(state.apply(3, batch_of("BTC-USD", vec![tick("BTC-USD", 1, 2)])).accepted, 1);
    assert_eq!(state.snapshot(&instrument("BTC-USD")).unwrap().position, position(1, 2));
}

#[test]
fn the_newest_tick_is_that_of_the_state_or_unknown() {
    let mut state = state();
    let btc = instrument("BTC-USD");
    assert!(state.newest_tick(&btc).is_none());
    state.apply(1, batch("BTC-USD", [5, 7]));
    assert_eq!(state.newest_tick(&btc).unwrap().position(), position(0, 7));
    state.apply_snapshot(snapshot_at(9));
    assert!(state.newest_tick(&btc).is_none(), "a snapshot does not tell when its tick arrived");
}

#[test]
fn position_zero_is_a_position() {
    let mut state = state();
    assert_eq!(state.apply(1, batch("BTC-USD", [0])).accepted, 1);
    assert_eq!(state.apply(1, batch("BTC-USD", [0])).old, 1);
}

#[test]
fn a_backfilled_tick_moves_nothing() {
    let mut state = state();
    state.apply(1, batch("BTC-USD", [5]));
    let before = state.snapshot(&instrument("BTC-USD"));
    let mut fetched = tick("BTC-USD", 0, 9);
    fetched.sequence = None;
    fetched.flags.backfilled = true;
    assert_eq!(state.apply(2, batch_of("BTC-USD", vec![fetched])).backfilled, 1);
    assert_eq!(state.snapshot(&instrument("BTC-USD")), before);
}

#[test]
fn starts_from_a_snapshot_and_the_last_batch() {
    let mut state = state();
    assert!(state.apply_snapshot(snapshot_at(6)));
    assert!(!state.apply_snapshot(snapshot_at(6)));
    assert_eq!(
        state.apply(1, batch("BTC-USD", [5, 6, 7])),
        Applied { accepted: 1, old: 2, ..Applied::default() }
    );
    assert_eq!(state.snapshot(&instrument("BTC-USD")).unwrap().position, position(0, 7));
    assert_eq!(state.market(0).unwrap().holes, 0);
}

#[test]
fn a_refill_that_moves_a_product_leaves_a_hole() {
    let mut state = state();
    state.apply(1, batch("BTC-USD", [5, 6]));
    state.apply(2, batch("ETH-USD", [5, 6]));
    let applied = state
        .refill(vec![snapshot_at(20)], vec![(30, batch("BTC-USD", [20, 21])), (2, batch("ETH-USD", [5, 6]))]);
    assert_eq!((applied.accepted, applied.old), (1, 3));
    let market = state.market(state.find(&instrument("BTC-USD")).unwrap()).unwrap();
    assert_eq!((market.holes, market.ring.first(), market.ring.end()), (1, 2, 3));
    assert_eq!(market.snapshot.position, position(0, 21));
    // ETH-USD did not move: nothing of it is missing.
    assert_eq!(state.market(state.find(&instrument("ETH-USD")).unwrap()).unwrap().holes, 0);
}

#[test]
fn a_snapshot_that_tells_nothing_new_changes_nothing() {
    let mut state = state();
    assert!(state.is_behind(&snapshot_at(1)));
    state.apply(1, batch("BTC-USD", [5, 6]));
    let before = state.snapshot(&instrument("BTC-USD"));
    for old in [1, 5, 6] {
        assert!(!state.is_behind(&snapshot_at(old)));
        assert!(!state.apply_snapshot(snapshot_at(old)));
    }
    let market = state.market(0).unwrap();
    assert_eq!((market.holes, market.ring.first(), market.ring.end()), (0, 0, 2));
    assert_eq!(state.snapshot(&instrument("BTC-USD")), before);
    assert!(state.is_behind(&snapshot_at(7)));
}

#[test]
fn products_are_bounded() {
    let mut state = LiveState::new(Config { products_max: 1, ..Config::default() });
    let other = Snapshot { instrument: instrument("ADA-USD"), ..snapshot_at(1) };
    assert_eq!(state.apply(1, batch("BTC-USD", [1])).accepted, 1);
    assert_eq!(state.apply(2, batch("ETH-USD", [1])).refused, 1);
    assert!(!state.is_behind(&other) && !state.apply_snapshot(other));
    assert_eq!(state.products(), 1);
}
