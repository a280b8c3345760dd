use super::*;
use bus::Source::{Fill, Live};
use domain::{
    Decimal, EventKind, FeedSession, GapCause, GapState, Heartbeat, Quote, RejectReason, Tick, TickFlags,
    Trade, UnixNanos,
};
use proptest::prelude::*;

mod legs;
mod places;
mod world;

fn session(id: &str) -> FeedSession {
    FeedSession { id: id.into(), started: UnixNanos::new(0) }
}

/// A tick whose trade has a tenth of its sequence as its number.
fn tick(sequence: u64, seconds: i64) -> Tick {
    trade(sequence / 10, sequence, seconds)
}

fn trade(trade_id: u64, sequence: u64, seconds: i64) -> Tick {
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
            trade_id: Some(trade_id),
        }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

fn batch(session_id: &str, ticks: Vec<Tick>) -> TickBatch {
    TickBatch {
        instrument: tick(1, 0).instrument,
        ticks,
        session: session(session_id),
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    }
}

fn heartbeat(session_id: &str, last_trade_id: u64) -> TickBatch {
    let beat = Heartbeat { last_trade_id, time: tick(1, 50).event_time };
    TickBatch { heartbeat: Some(beat), ..batch(session_id, Vec::new()) }
}

/// A shard that has listened for so long that it knows of every leg.
fn shard() -> ShardState {
    ShardState::new(Duration::from_millis(250), NOW.saturating_sub(Duration::from_secs(60)))
}

fn round() -> Round {
    Round::new("normalizer/test".into(), NOW)
}

/// Judges a message. They come minutes apart, so that nobody waits for what another leg may bring.
fn live(state: &mut ShardState, batch: TickBatch, raw: u64) -> Round {
    let now = NOW.saturating_add(Duration::from_secs(60 * raw));
    let mut round = Round::new("normalizer/test".into(), now);
    state.live(batch, raw, &mut round);
    round
}

fn sequences(round: &Round) -> Vec<u64> {
    round.ticks(Live).iter().filter_map(|tick| tick.sequence).collect()
}

fn trade_ids(round: &Round, source: bus::Source) -> Vec<u64> {
    round.ticks(source).iter().filter_map(|tick| tick.trade_id()).collect()
}

fn gaps(round: &Round) -> Vec<(u64, u64, GapCause)> {
    let gaps = round.events().into_iter().filter_map(|event| match &event.kind {
        EventKind::Gap(gap) => Some((gap.first_trade_id, gap.last_trade_id, gap.cause)),
        _ => None,
    });
    gaps.collect()
}

const NOW: UnixNanos = UnixNanos::new(1_700_000_000_000_000_000);

#[test]
fn good_ticks_go_on_and_bad_ones_are_filed_with_their_reason() {
    let mut state = shard();
    let mut crossed = tick(20, 0);
    crossed.best_bid = Some(Quote { price: Decimal::TWO, size: None });
    crossed.best_ask = Some(Quote { price: Decimal::ONE, size: None });
    let mut late_quote = tick(15, 0);
    (late_quote.last_trade, late_quote.best_bid) = (None, Some(Quote { price: Decimal::ONE, size: None }));
    let ticks = vec![tick(10, 0), crossed, tick(20, 0), tick(20, 0), late_quote];
    let result = live(&mut state, batch("a-1", ticks), 7);
    assert_eq!(sequences(&result), [10, 20]);
    assert_eq!((result.duplicates, result.events().len()), (1, 0));
    let filed: Vec<_> =
        result.rejects.iter().map(|filed| (filed.reject.reason, filed.reject.identity.as_str())).collect();
    assert_eq!(filed, [(RejectReason::CrossedBook, "7/1"), (RejectReason::OutOfOrder, "7/4")]);
    assert_eq!(state.position(&tick(1, 0).instrument), Some(Position { run: 0, sequence: 20 }));
}

#[test]
fn a_new_run_is_told_and_counted_on() {
    let mut state = shard();
    live(&mut state, batch("a-1", vec![tick(1000, 0)]), 1);
    let result = live(&mut state, batch("a-2", vec![tick(5, 60), tick(6, 60)]), 2);
    assert_eq!(result.ticks(Live).iter().map(|tick| tick.run).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(result.events().len(), 1);
    let first = Position { run: 1, sequence: 5 };
    assert_eq!(
        result.events()[0].kind,
        EventKind::NewRun { previous: Position { run: 0, sequence: 1000 }, first }
    );
    // The numbers of the trades go on where the new run began.
    assert_eq!(gaps(&live(&mut state, batch("a-2", vec![trade(3, 7, 60)]), 3)), [(1, 2, GapCause::Batched)]);
}

#[test]
fn what_is_missing_is_told_with_its_cause() {
    let mut state = shard();
    live(&mut state, batch("a-1", vec![tick(100, 0)]), 1);
    let jump = live(&mut state, batch("a-1", vec![tick(130, 5), tick(140, 6)]), 2);
    assert_eq!(sequences(&jump), [130, 140]);
    let EventKind::Gap(gap) = &jump.events()[0].kind else { panic!("{jump:?}") };
    assert_eq!((gap.run, gap.first_trade_id, gap.last_trade_id), (0, 11, 12));
    assert_eq!((gap.after, gap.before), (Some(tick(1, 0).event_time), Some(tick(1, 5).event_time)));
    assert_eq!((gap.detected_at, gap.cause, gap.state), (jump.now, GapCause::Batched, GapState::Open));
    assert_eq!(jump.events().len(), 1);

    assert_eq!(
        gaps(&live(&mut state, batch("a-2", vec![tick(160, 7)]), 3)),
        [(15, 15, GapCause::Disconnect)]
    );
    assert_eq!(gaps(&live(&mut state, batch("b-1", vec![tick(180, 7)]), 4)), [(17, 17, GapCause::Restart)]);
    let beat = live(&mut state, heartbeat("b-1", 20), 5);
    assert_eq!((gaps(&beat), beat.heartbeats), (vec![(19, 20, GapCause::Drop)], 1));
    assert!(beat.ticks(Live).is_empty() && beat.ticks(Fill).is_empty(), "a heartbeat is no batch of ticks");
    assert_eq!(gaps(&live(&mut state, batch("b-1", vec![tick(210, 8)]), 6)), []);
}

/// A trade that was told to be missing is never shown as if it were new, and is not lost either.
#[test]
fn a_late_tick_in_a_gap_goes_out_as_a_fill() {
    let mut state = shard();
    let first = live(&mut state, batch("a-1", vec![tick(100, 0), tick(130, 1)]), 1);
    assert_eq!(gaps(&first), [(11, 12, GapCause::Batched)]);
    live(&mut state, heartbeat("a-1", 15), 2);
    // One whose place has passed, and one that would follow if it had not been given up.
    let late = live(&mut state, batch("b-1", vec![tick(120, 1), tick(140, 1), tick(160, 1)]), 3);
    assert_eq!((trade_ids(&late, Fill), trade_ids(&late, Live)), (vec![12, 14], vec![16]));
    assert_eq!((late.filled_late, late.rejects.len(), gaps(&late)), (2, 0, vec![]));
    for fill in late.ticks(Fill) {
        assert!(fill.flags.backfilled);
        assert_eq!((fill.sequence, fill.run, fill.position()), (None, 0, None));
    }
    let again = live(&mut state, batch("a-1", vec![tick(130, 1), tick(160, 1)]), 4);
    assert_eq!(again.duplicates, 2);
}

#[test]
fn after_recovery_what_went_out_is_only_acknowledged() {
    let mut published = batch("a-1", vec![tick(10, 0), tick(20, 0)]);
    published.raw_sequence = Some(8);
    let instrument = published.instrument.clone();
    let mut state = shard();
    state.recover_batch(&published, true);
    assert!(state.is_done(&instrument, 8));
    assert!(!state.is_done(&instrument, 9));
    let again = live(&mut state, batch("a-1", vec![tick(20, 0), tick(40, 0)]), 9);
    assert_eq!((sequences(&again), again.duplicates, again.rejects.len()), (vec![40], 1, 0));
    assert_eq!(gaps(&again), [(3, 3, GapCause::Batched)], "the session is recovered as well");

    let mut state = shard();
    state.recover_batch(&published, false);
    assert!(!state.is_done(&instrument, 1), "in a new raw stream the old sequence means nothing");
    assert_eq!(state.position(&instrument), Some(Position { run: 0, sequence: 20 }));
}

/// Killed between the event and the ticks: what was told to be missing is not told again with other bounds, and what
/// belongs to it is a fill.
#[test]
fn after_recovery_a_gap_is_not_told_again() {
    let mut before = shard();
    live(&mut before, batch("a-1", vec![tick(100, 0)]), 1);
    let told = live(&mut before, batch("a-1", vec![tick(130, 0)]), 2);
    let EventKind::Gap(gap) = &told.events()[0].kind else { panic!("{told:?}") };

    let mut state = shard();
    state.recover_batch(&batch("a-1", vec![tick(100, 0)]), true);
    state.recover_gap(gap);
    let other_leg = live(&mut state, batch("b-1", vec![tick(120, 0)]), 3);
    assert_eq!((trade_ids(&other_leg, Fill), gaps(&other_leg)), (vec![12], vec![]));
    let again = live(&mut state, batch("a-1", vec![tick(130, 0)]), 2);
    assert_eq!((sequences(&again), gaps(&again)), (vec![130], vec![]));

    let mut newer_run = batch("a-2", vec![tick(50, 60)]);
    newer_run.ticks[0].run = 1;
    let mut state = shard();
    state.recover_batch(&newer_run, true);
    state.recover_gap(gap);
    let next = live(&mut state, batch("a-2", vec![tick(60, 60)]), 4);
    assert_eq!(
        (sequences(&next), gaps(&next)),
        (vec![60], vec![]),
        "a gap of an earlier run means other trades"
    );
}

#[test]
fn the_higher_position_wins_at_recovery() {
    let mut state = shard();
    let mut snapshot = Snapshot::first(&tick(50, 0)).unwrap();
    state.recover_snapshot(&snapshot);
    state.recover_batch(&batch("a-1", vec![tick(40, 0)]), true);
    assert_eq!(state.position(&snapshot.instrument), Some(Position { run: 0, sequence: 50 }));
    snapshot.position = Position { run: 1, sequence: 3 };
    state.recover_snapshot(&snapshot);
    assert_eq!(state.position(&snapshot.instrument), Some(Position { run: 1, sequence: 3 }));
    assert_eq!(state.products(), 1);
    // The trade of the snapshot is known, who brought it is not.
    assert_eq!(gaps(&live(&mut state, batch("a-1", vec![tick(70, 0)]), 1)), [(6, 6, GapCause::Restart)]);
}

#[test]
fn backfilled_ticks_move_no_position() {
    let mut state = shard();
    live(&mut state, batch("a-1", vec![tick(10, 0)]), 1);
    let mut backfilled = tick(5, 0);
    backfilled.sequence = None;
    let mut broken = backfilled.clone();
    broken.last_trade = None;
    let mut result = round();
    state.fill(batch("a-1", vec![backfilled, broken]), 2, &mut result);
    let fills = result.ticks(Fill);
    assert_eq!((fills.len(), fills[0].flags.backfilled), (1, true));
    assert_eq!(result.rejects[0].reject.reason, RejectReason::MissingField);
    assert_eq!(state.position(&tick(1, 0).instrument), Some(Position { run: 0, sequence: 10 }));
}

proptest! {
    /// Each tick of a batch ends in exactly one place.
    #[test]
    fn nothing_disappears(
        rows in proptest::collection::vec((0u64..60, 0i64..40, 0i64..3), 1..60),
        cut in 1usize..59,
        tenth in proptest::bool::ANY,
    ) {
        let mut state = shard();
        let ticks: Vec<Tick> = rows.iter().map(|(sequence, seconds, price)| {
            let trade_id = if tenth { sequence / 10 } else { *sequence };
            let mut tick = trade(trade_id, *sequence, *seconds);
            tick.last_trade.as_mut().unwrap().price = Decimal::from(*price);
            tick
        }).collect();
        let cut = cut.min(ticks.len());
        let mut seen = 0;
        let mut positions = Vec::new();
        for (number, part) in [&ticks[..cut], &ticks[cut..]].into_iter().enumerate() {
            let result = live(&mut state, batch(&format!("s-{number}"), part.to_vec()), number as u64);
            seen += result.ticks(Live).len() + result.ticks(Fill).len() + result.rejects.len();
            seen += usize::try_from(result.duplicates).unwrap();
            positions.extend(result.ticks(Live).iter().filter_map(|tick| tick.position()));
        }
        prop_assert_eq!(seen, ticks.len());
        prop_assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
