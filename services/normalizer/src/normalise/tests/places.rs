//! Each trade is in one place, whatever the sequence does and whatever is faulty.

use std::collections::BTreeSet;

use super::*;

pub(super) fn crossed(mut tick: Tick) -> Tick {
    tick.best_bid = Some(Quote { price: Decimal::TWO, size: None });
    tick.best_ask = Some(Quote { price: Decimal::ONE, size: None });
    tick
}

pub(super) fn without_price(mut tick: Tick) -> Tick {
    tick.last_trade.as_mut().unwrap().price = Decimal::ZERO;
    tick
}

fn refused(round: &Round) -> Vec<u64> {
    round.rejects.iter().filter_map(|filed| filed.reject.tick.as_ref()?.trade_id()).collect()
}

/// For 5 s nobody can tell a sequence that has started anew from late ticks, but their trades are new.
#[test]
fn until_a_new_run_is_certain_new_trades_are_fills() {
    let anew = || {
        let ticks = [(101, 5, 2), (102, 6, 4), (104, 7, 5), (105, 8, 6), (106, 9, 6)];
        batch("a-2", ticks.map(|(trade_id, sequence, at)| trade(trade_id, sequence, at)).to_vec())
    };
    let mut known = shard();
    live(&mut known, batch("a-1", vec![tick(1000, 0)]), 1);
    let mut recovered = shard();
    recovered.recover_batch(&batch("a-1", vec![tick(1000, 0)]), true);
    for mut state in [known, recovered] {
        let result = live(&mut state, anew(), 2);
        assert_eq!(
            (trade_ids(&result, Fill), trade_ids(&result, Live)),
            (vec![101, 102, 104], vec![105, 106])
        );
        assert_eq!(gaps(&result), [(103, 103, GapCause::Batched)]);
        assert_eq!((result.rejects.len(), result.duplicates, result.filled_late), (0, 0, 3));
        let runs: Vec<_> = result.ticks(Live).iter().map(|tick| tick.run).collect();
        assert_eq!(runs, [1, 1]);
        let late = live(&mut state, batch("a-2", vec![trade(107, 8, 7)]), 3);
        let fill: Vec<_> =
            late.ticks(Fill).iter().map(|tick| (tick.trade_id(), tick.run, tick.sequence)).collect();
        assert_eq!(fill, [(Some(107), 1, None)], "its run is known by now");
    }
}

/// What another leg holds back is not told to be missing by a trade behind it that cannot go on as live.
#[test]
fn what_is_held_back_goes_out_before_a_late_trade() {
    for (faulty, fills) in [(false, vec![103]), (true, vec![])] {
        let mut state = shard();
        let mut result = round();
        state.live(batch("a-1", vec![tick(1000, 0)]), 1, &mut result);
        state.live(batch("b-1", vec![tick(1000, 0)]), 2, &mut result);
        state.live(batch("a-1", vec![tick(1020, 1)]), 3, &mut result);
        assert_eq!(state.held(), 1);
        let next = if faulty { crossed(trade(103, 1030, 1)) } else { trade(103, 5, 1) };
        state.live(batch("b-2", vec![next]), 4, &mut result);
        assert_eq!((trade_ids(&result, Live), trade_ids(&result, Fill)), (vec![100, 102], fills));
        assert_eq!((gaps(&result), state.held()), (vec![(101, 101, GapCause::Batched)], 0));
    }
}

/// One leg may still bring what it had read before the numbers of the trades started anew.
#[test]
fn a_trade_of_an_earlier_run_moves_nothing() {
    let mut state = shard();
    live(&mut state, batch("a-1", vec![tick(1000, 0)]), 1);
    live(&mut state, batch("a-2", vec![trade(7, 5, 60)]), 2);
    let late = live(&mut state, batch("b-1", vec![tick(1020, 1)]), 3);
    assert_eq!((trade_ids(&late, Fill), gaps(&late), late.rejects.len()), (vec![102], vec![], 0));
    assert_eq!(late.ticks(Fill)[0].run, 0);
    let next = live(&mut state, batch("a-2", vec![trade(8, 6, 61)]), 4);
    assert_eq!((trade_ids(&next, Live), gaps(&next)), (vec![8], vec![]));
}

/// A low number with a new time is no trade that is known: stored by its number, it would vanish.
#[test]
fn a_number_that_started_anew_is_not_taken_for_the_old_trade() {
    let mut state = shard();
    live(&mut state, batch("a-1", vec![tick(990, 0), tick(1000, 1)]), 1);
    let anew = live(&mut state, batch("a-2", vec![trade(7, 5, 3)]), 2);
    assert_eq!((refused(&anew), trade_ids(&anew, Fill)), (vec![7], vec![]));
    let known = live(&mut state, batch("a-2", vec![trade(98, 4, 0)]), 3);
    assert_eq!((refused(&known), trade_ids(&known, Fill)), (vec![], vec![98]));
}

#[test]
fn a_trade_that_is_refused_is_not_missing() {
    let mut state = shard();
    live(&mut state, batch("a-1", vec![tick(100, 0)]), 1);
    let result = live(&mut state, batch("a-1", vec![crossed(tick(110, 1)), tick(120, 1)]), 2);
    assert_eq!((refused(&result), sequences(&result), gaps(&result)), (vec![11], vec![120], vec![]));
    let again = live(&mut state, batch("b-1", vec![crossed(tick(110, 1))]), 3);
    assert_eq!((again.rejects.len(), again.duplicates), (0, 1), "filed once");
    let ahead = live(&mut state, batch("a-1", vec![without_price(tick(140, 2)), tick(150, 2)]), 4);
    assert_eq!((refused(&ahead), gaps(&ahead)), (vec![14], vec![(13, 13, GapCause::Batched)]));
}

/// The gap is its place: it may have been fetched already.
#[test]
fn a_faulty_tick_whose_trade_is_missing_is_not_filed() {
    let mut state = shard();
    live(&mut state, batch("a-1", vec![tick(100, 0), tick(130, 1)]), 1);
    let result = live(&mut state, batch("a-1", vec![crossed(tick(110, 1)), without_price(tick(120, 1))]), 2);
    assert_eq!((trade_ids(&result, Fill), refused(&result), result.duplicates), (vec![11], vec![], 1));
    assert_eq!(result.ticks(Fill)[0].best_bid, None, "the book was faulty");
}

/// What becomes of a trade on its way.
#[derive(Clone, Copy, Debug)]
struct Fate {
    seconds: i64,
    /// The exchange restarts before it, with this sequence.
    restarts: Option<u64>,
    /// 1: its book is crossed, 2: its price is none.
    fault: u8,
    kept: [bool; 2],
    repeated: bool,
    /// Behind how many other trades it arrives.
    delay: [u64; 2],
    reconnects: [bool; 2],
    heartbeat: bool,
}

fn fate() -> impl Strategy<Value = Fate> {
    use proptest::{bool::weighted, option, prop_oneof};
    let reconnects = weighted(0.05);
    (
        prop_oneof![9 => 0i64..3, 1 => 6i64..9],
        option::weighted(0.05, 1u64..3000),
        prop_oneof![8 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)],
        [weighted(0.8), weighted(0.8)],
        weighted(0.1),
        [0u64..3, 0u64..6],
        [reconnects, reconnects],
        weighted(0.1),
    )
        .prop_map(|(seconds, restarts, fault, kept, repeated, delay, reconnects, heartbeat)| Fate {
            seconds,
            restarts,
            fault,
            kept,
            repeated,
            delay,
            reconnects,
            heartbeat,
        })
}

/// The messages in the order in which they arrive.
fn arrivals(fates: &[Fate], legs: usize) -> Vec<TickBatch> {
    let mut arrivals = Vec::new();
    let (mut sequence, mut seconds, mut exchange, mut connections) = (2000, 0, 0, [0; 2]);
    for (at, fate) in (0u64..).zip(fates) {
        seconds += fate.seconds;
        sequence = fate.restarts.unwrap_or(sequence + 10);
        exchange += u32::from(fate.restarts.is_some());
        let sound = trade(1000 + at, sequence, seconds);
        let sent = match fate.fault {
            1 => crossed(sound),
            2 => without_price(sound),
            _ => sound,
        };
        for (leg, connection) in connections.iter_mut().enumerate().take(legs) {
            *connection += u32::from(fate.reconnects[leg]);
            let session = format!("leg{leg}-{exchange}.{connection}");
            let place = 2 * (at + fate.delay[leg]);
            let is_edge = at == 0 || at + 1 == fates.len() as u64;
            if fate.kept[leg] || is_edge {
                let times = 1 + u64::from(fate.repeated);
                (0..times)
                    .for_each(|time| arrivals.push((place + 4 * time, batch(&session, vec![sent.clone()]))));
            }
            if fate.heartbeat {
                arrivals.push((place + 9, heartbeat(&session, 1000 + at)));
            }
        }
    }
    arrivals.sort_by_key(|(place, _)| *place);
    arrivals.into_iter().map(|(_, batch)| batch).collect()
}

proptest! {
    #[test]
    fn no_trade_is_in_two_places(
        fates in proptest::collection::vec(fate(), 2..100),
        legs in 1usize..3,
        millis in proptest::prop_oneof![Just(5u64), Just(100), Just(400)],
    ) {
        let mut state = shard();
        let (mut stored, mut filed, mut missing) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut newest = None;
        let arrivals = arrivals(&fates, legs);
        let first = arrivals.iter().find_map(|batch| batch.ticks.first()?.trade_id()).unwrap();
        let mut shown = BTreeSet::new();
        let end = arrivals.len() as u64 + 1_000;
        for (raw, batch) in (1..).zip(arrivals.into_iter().map(Some).chain([None])) {
            let now = if batch.is_some() { raw } else { end };
            let mut round = Round::new("normalizer/test".into(), NOW.saturating_add(Duration::from_millis(now * millis)));
            if let Some(batch) = batch {
                state.live(batch, raw, &mut round);
            }
            state.release(&mut round);
            for (first, last, _) in gaps(&round) {
                for trade_id in first..=last {
                    prop_assert!(missing.insert(trade_id), "{} is in two gaps", trade_id);
                }
            }
            for tick in round.ticks(Live) {
                prop_assert!(newest < tick.position(), "{:?} after {:?}", tick.position(), newest);
                newest = tick.position();
            }
            shown.extend(trade_ids(&round, Live));
            stored.extend(trade_ids(&round, Live));
            stored.extend(trade_ids(&round, Fill));
            for trade_id in refused(&round) {
                prop_assert!(filed.insert(trade_id), "{} is filed twice", trade_id);
            }
        }
        prop_assert_eq!(state.held(), 0);
        prop_assert!(stored.is_disjoint(&filed), "stored and filed: {:?}", stored.intersection(&filed));
        prop_assert!(missing.is_disjoint(&filed), "fetched and filed: {:?}", missing.intersection(&filed));
        prop_assert!(missing.is_disjoint(&shown), "fetched and shown: {:?}", missing.intersection(&shown));
        for (trade_id, fate) in (1000..).zip(&fates).skip_while(|(trade_id, _)| *trade_id < first) {
            let is_out = stored.contains(&trade_id) || filed.contains(&trade_id);
            prop_assert!(is_out || missing.contains(&trade_id), "{} is nowhere", trade_id);
            if fate.fault == 0 && fate.kept[..legs].contains(&true) {
                prop_assert!(stored.contains(&trade_id), "{} is sound", trade_id);
            }
        }
    }
}
