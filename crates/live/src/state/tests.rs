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

#[test]
fn it_begins_with_the_recent_past_and_stands_on_what_is_stored() {
    let mut state = state();
    let mut recent = state.beside();
    let quiet = |sequence| Tick { last_trade: None, ..tick("BTC-USD", 0, sequence) };
    recent.apply(1, batch_of("BTC-USD", (5..=9).map(quiet).collect()));
    recent.apply(2, batch("ETH-USD", [3]));
    let stored = |product: &str, sequence| Snapshot::first(&tick(product, 0, sequence)).unwrap();
    state.begin(recent, vec![stored("BTC-USD", 7), stored("ETH-USD", 8), stored("ADA-USD", 4)]);
    let told = |product: &str| {
        let snapshot = state.snapshot(&instrument(product)).unwrap();
        let price = |side: &Option<(domain::Quote, _)>| side.as_ref().unwrap().0.price;
        let trade = snapshot.state.last_trade.as_ref().unwrap().0.price;
        (snapshot.position.sequence, trade, price(&snapshot.state.best_bid))
    };
    // The trade is known from what is stored, the bid from the ticks since.
    assert_eq!(told("BTC-USD"), (9, Decimal::from(7), Decimal::from(9)));
    // What is stored is ahead of the stream: the ring goes on behind it.
    assert_eq!(told("ETH-USD"), (8, Decimal::from(8), Decimal::from(8)));
    assert_eq!(told("ADA-USD").0, 4);
    let ring = |product: &str| &state.market(state.find(&instrument(product)).unwrap()).unwrap().ring;
    assert_eq!(ring("BTC-USD").index_from(position(0, 5)), Some(0));
    assert_eq!(
        (ring("ETH-USD").index_from(position(0, 8)), ring("ETH-USD").oldest().is_none()),
        (None, true)
    );
    assert_eq!(ring("ETH-USD").index_from(position(0, 9)), Some(ring("ETH-USD").end()));
    // The epoch that becomes known later is that of the ticks before too.
    state.set_epoch(Some(crate::epoch::EpochId::from_bytes([1; 8])));
    let ring = &state.market(state.find(&instrument("BTC-USD")).unwrap()).unwrap().ring;
    assert!(!ring.oldest().unwrap().token().is_empty());
}
