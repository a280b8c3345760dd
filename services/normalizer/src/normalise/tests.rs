use super::*;
use domain::{Decimal, Quote, TickFlags, Trade};
use proptest::prelude::*;

fn session(id: &str) -> FeedSession {
    FeedSession { id: id.into(), started: UnixNanos::new(0) }
}

fn tick(sequence: u64, seconds: i64) -> Tick {
    let time = UnixNanos::from_seconds(1_600_000_000 + seconds).unwrap();
    Tick {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        run: 0,
        sequence: Some(sequence),
        event_time: time,
        receive_time: time,
        last_trade: Some(Trade {
            price: Decimal::ONE,
            size: Decimal::ONE,
            side: None,
            trade_id: Some(sequence),
        }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

fn batch(session_id: &str, ticks: Vec<Tick>) -> TickBatch {
    TickBatch {
        instrument: ticks[0].instrument.clone(),
        ticks,
        session: session(session_id),
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    }
}

fn sequences(normalised: &Normalised) -> Vec<u64> {
    normalised.ticks.iter().filter_map(|tick| tick.sequence).collect()
}

const NOW: UnixNanos = UnixNanos::new(1_700_000_000_000_000_000);

#[test]
fn good_ticks_go_on_and_bad_ones_are_filed_with_their_reason() {
    let mut state = ShardState::new("normalizer/test".into());
    let mut crossed = tick(20, 0);
    crossed.best_bid = Some(Quote { price: Decimal::TWO, size: None });
    crossed.best_ask = Some(Quote { price: Decimal::ONE, size: None });
    let result =
        state.live(batch("a", vec![tick(10, 0), crossed, tick(30, 0), tick(30, 0), tick(25, 0)]), 7, NOW);
    assert_eq!(sequences(&result), [10, 30]);
    assert_eq!(result.duplicates, 1);
    let filed: Vec<_> =
        result.rejects.iter().map(|reject| (reject.reason, reject.identity.as_str())).collect();
    assert_eq!(filed, [(RejectReason::CrossedBook, "7/1"), (RejectReason::OutOfOrder, "7/4")]);
    assert_eq!(state.position(&tick(1, 0).instrument), Some(Position { run: 0, sequence: 30 }));
}

#[test]
fn a_new_run_is_told_and_counted_on() {
    let mut state = ShardState::new("normalizer/test".into());
    state.live(batch("a", vec![tick(1000, 0)]), 1, NOW);
    let result = state.live(batch("b", vec![tick(5, 60), tick(6, 60)]), 2, NOW);
    assert_eq!(result.ticks.iter().map(|tick| tick.run).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(result.events.len(), 1);
    let first = Position { run: 1, sequence: 5 };
    assert_eq!(
        result.events[0].kind,
        EventKind::NewRun { previous: Position { run: 0, sequence: 1000 }, first }
    );
}

#[test]
fn after_recovery_what_went_out_is_only_acknowledged() {
    let mut published = batch("a", vec![tick(10, 0), tick(20, 0)]);
    published.raw_sequence = Some(8);
    let instrument = published.instrument.clone();
    let mut state = ShardState::new("normalizer/test".into());
    state.recover_batch(&published, true);
    assert!(state.is_done(&instrument, 8));
    assert!(!state.is_done(&instrument, 9));
    let again = state.live(batch("a", vec![tick(20, 0), tick(30, 0)]), 9, NOW);
    assert_eq!((sequences(&again), again.duplicates, again.rejects.len()), (vec![30], 1, 0));

    let mut state = ShardState::new("normalizer/test".into());
    state.recover_batch(&published, false);
    assert!(!state.is_done(&instrument, 1), "in a new raw stream the old sequence means nothing");
    assert_eq!(state.position(&instrument), Some(Position { run: 0, sequence: 20 }));
}

#[test]
fn the_higher_position_wins_at_recovery() {
    let mut state = ShardState::new("normalizer/test".into());
    let mut snapshot = Snapshot::first(&tick(50, 0)).unwrap();
    state.recover_snapshot(&snapshot);
    state.recover_batch(&batch("a", vec![tick(40, 0)]), true);
    assert_eq!(state.position(&snapshot.instrument), Some(Position { run: 0, sequence: 50 }));
    snapshot.position = Position { run: 1, sequence: 3 };
    state.recover_snapshot(&snapshot);
    assert_eq!(state.position(&snapshot.instrument), Some(Position { run: 1, sequence: 3 }));
    assert_eq!(state.products(), 1);
}

#[test]
fn backfilled_ticks_move_no_position() {
    let mut state = ShardState::new("normalizer/test".into());
    state.live(batch("a", vec![tick(10, 0)]), 1, NOW);
    let mut backfilled = tick(5, 0);
    backfilled.sequence = None;
    let mut broken = backfilled.clone();
    broken.last_trade = None;
    let result = state.fill(batch("a", vec![backfilled, broken]), 2, NOW);
    assert_eq!(result.ticks.len(), 1);
    assert!(result.ticks[0].flags.backfilled);
    assert_eq!(result.rejects[0].reason, RejectReason::MissingField);
    assert_eq!(state.position(&tick(1, 0).instrument), Some(Position { run: 0, sequence: 10 }));
}

proptest! {
    /// Each tick of a batch ends in exactly one place.
    #[test]
    fn nothing_disappears(
        rows in proptest::collection::vec((0u64..60, 0i64..40, 0i64..3), 1..60),
        cut in 1usize..59,
    ) {
        let mut state = ShardState::new("normalizer/test".into());
        let ticks: Vec<Tick> = rows.iter().map(|(sequence, seconds, price)| {
            let mut tick = tick(*sequence, *seconds);
            tick.last_trade.as_mut().unwrap().price = Decimal::from(*price);
            tick
        }).collect();
        let cut = cut.min(ticks.len());
        let mut seen = 0;
        let mut positions = Vec::new();
        for (number, part) in [&ticks[..cut], &ticks[cut..]].into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let result = state.live(batch(&format!("s{number}"), part.to_vec()), number as u64, NOW);
            seen += result.ticks.len() + result.rejects.len() + usize::try_from(result.duplicates).unwrap();
            positions.extend(result.ticks.iter().filter_map(Tick::position));
        }
        prop_assert_eq!(seen, ticks.len());
        prop_assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
