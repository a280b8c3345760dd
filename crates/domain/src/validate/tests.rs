use super::*;
use crate::{DayStats, Instrument, TickFlags, Trade};

fn tick() -> Tick {
    let time = UnixNanos::parse_rfc3339("2021-04-17T16:44:06.123456Z").unwrap();
    Tick {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        run: 0,
        sequence: Some(7),
        event_time: time,
        receive_time: time,
        last_trade: Some(Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id: Some(1) }),
        best_bid: Some(Quote { price: Decimal::ONE, size: None }),
        best_ask: Some(Quote { price: Decimal::TWO, size: Some(Decimal::ZERO) }),
        day: Some(DayStats { volume_24h: Some(Decimal::ZERO), ..DayStats::default() }),
        flags: TickFlags::default(),
    }
}

fn fault(change: impl FnOnce(&mut Tick)) -> Fault {
    let mut tick = tick();
    change(&mut tick);
    validate(&mut tick).unwrap_err()
}

#[test]
fn a_sound_tick_passes() {
    let mut sound = tick();
    assert_eq!(validate(&mut sound), Ok(()));
    assert!(!sound.flags.locked_book);
}

#[test]
fn a_locked_book_is_legal_and_flagged() {
    let mut locked = tick();
    locked.best_ask = Some(Quote { price: Decimal::new(100, 2), size: None });
    assert_eq!(validate(&mut locked), Ok(()));
    assert!(locked.flags.locked_book);
}

#[test]
fn a_crossed_book_is_not() {
    let crossed = fault(|tick| tick.best_bid = Some(Quote { price: Decimal::TEN, size: None }));
    assert_eq!(crossed, Fault::CrossedBook { bid: Decimal::TEN, ask: Decimal::TWO });
    assert_eq!(crossed.reason(), RejectReason::CrossedBook);
}

#[test]
fn what_must_be_there() {
    assert_eq!(fault(|tick| tick.sequence = None), Fault::MissingSequence);
    let empty = fault(|tick| {
        tick.last_trade = None;
        tick.best_bid = None;
        tick.best_ask = None;
    });
    assert_eq!(empty, Fault::Empty);
    let backfill = fault(|tick| {
        tick.flags.backfilled = true;
        tick.last_trade = None;
    });
    assert_eq!(backfill, Fault::MissingTrade);
    assert_eq!(backfill.reason(), RejectReason::MissingField);
}

#[test]
fn a_backfilled_trade_needs_no_sequence() {
    let mut backfilled = tick();
    backfilled.flags.backfilled = true;
    backfilled.sequence = None;
    assert_eq!(validate(&mut backfilled), Ok(()));
}

#[test]
fn prices_and_sizes_are_positive() {
    let zero = Some(Quote { price: Decimal::ZERO, size: None });
    for wrong in [
        fault(|tick| tick.last_trade.as_mut().unwrap().price = Decimal::ZERO),
        fault(|tick| tick.last_trade.as_mut().unwrap().size = -Decimal::ONE),
        fault(|tick| tick.best_bid = zero.clone()),
        fault(|tick| tick.best_ask = zero.clone()),
        fault(|tick| tick.best_ask.as_mut().unwrap().size = Some(-Decimal::ONE)),
        fault(|tick| tick.day.as_mut().unwrap().volume_24h = Some(-Decimal::ONE)),
    ] {
        assert_eq!(wrong.reason(), RejectReason::NotPositive, "{wrong}");
    }
}

#[test]
fn times_are_plausible() {
    let early = fault(|tick| tick.event_time = EARLIEST_EVENT_TIME.saturating_sub(Duration::from_nanos(1)));
    assert_eq!(early.reason(), RejectReason::ImplausibleTime);
    let future = |ahead: Duration| {
        let mut tick = tick();
        tick.event_time = tick.receive_time.saturating_add(ahead);
        validate(&mut tick)
    };
    assert_eq!(future(FUTURE_TOLERANCE), Ok(()));
    assert!(matches!(future(FUTURE_TOLERANCE + Duration::from_nanos(1)), Err(Fault::InTheFuture { .. })));
    let mut old = tick();
    old.event_time = EARLIEST_EVENT_TIME;
    assert_eq!(validate(&mut old), Ok(()), "an old event time is no fault");
}
