//! Two ingestors that bring the same: single steps.

use super::*;

fn at(millis: u64) -> UnixNanos {
    NOW.saturating_add(Duration::from_millis(millis))
}

fn bring(state: &mut ShardState, batch: TickBatch, raw: u64, millis: u64) -> Round {
    let mut round = Round::new("normalizer/test".into(), at(millis));
    state.live(batch, raw, &mut round);
    state.release(&mut round);
    round
}

fn wait_until(state: &mut ShardState, millis: u64) -> Round {
    let mut round = Round::new("normalizer/test".into(), at(millis));
    state.release(&mut round);
    round
}

/// A shard whose product stands at trade 100, brought by both legs in the messages 1 and 2.
fn both_legs() -> ShardState {
    let mut state = shard();
    bring(&mut state, batch("a-1", vec![tick(1000, 0)]), 1, 0);
    bring(&mut state, batch("b-1", vec![tick(1000, 0)]), 2, 0);
    state
}

fn batches(round: Round) -> Vec<TickBatch> {
    let live = round.steps.into_iter().flat_map(|step| step.pending.into_batches()[1].clone());
    live.map(|(_, batch)| batch).collect()
}

fn stamps(round: Round) -> Vec<Option<u64>> {
    let batches = batches(round);
    batches.iter().map(|batch| batch.raw_sequence).collect()
}

#[test]
fn what_one_leg_misses_the_other_fills_in_in_order() {
    let mut state = both_legs();
    let instrument = tick(0, 0).instrument;
    let held = bring(&mut state, batch("a-1", vec![tick(1020, 1), tick(1050, 1)]), 3, 10);
    assert_eq!((sequences(&held), held.events().len(), state.held()), (vec![], 0, 2));
    assert!(state.holds(&instrument, 3) && !state.holds(&instrument, 2));
    assert_eq!(state.deadline(), Some(at(260)));

    let filled = bring(&mut state, batch("b-1", vec![tick(1010, 1)]), 4, 20);
    assert_eq!((sequences(&filled), filled.events().len()), (vec![1010, 1020], 0));
    assert!(state.holds(&instrument, 3) && !state.holds(&instrument, 4));
    assert_eq!(batches(filled)[0].session.id, "a-1", "that of the newest tick");

    // Message 3 is not whole, though message 4 is: nobody may take it for done after a crash.
    let rest = bring(&mut state, batch("b-1", vec![tick(1020, 1), tick(1030, 1), tick(1040, 1)]), 5, 30);
    assert_eq!((sequences(&rest), rest.duplicates), (vec![1030, 1040, 1050], 1));
    assert_eq!((stamps(rest), state.held(), state.deadline()), (vec![Some(5)], 0, None));
}

#[test]
fn a_message_that_is_held_back_is_not_done() {
    let mut state = both_legs();
    bring(&mut state, batch("a-1", vec![tick(1020, 1), tick(1050, 1)]), 3, 10);
    let part = bring(&mut state, batch("b-1", vec![tick(1010, 1)]), 4, 20);
    assert_eq!(stamps(part), [Some(2)]);
}

#[test]
fn the_wait_ends_with_a_gap() {
    let mut state = both_legs();
    bring(&mut state, batch("a-1", vec![tick(1020, 1)]), 3, 10);
    assert!(wait_until(&mut state, 259).events().is_empty());
    let given_up = wait_until(&mut state, 260);
    assert_eq!(gaps(&given_up), [(101, 101, GapCause::Batched)]);
    assert_eq!((sequences(&given_up), stamps(given_up)), (vec![1020], vec![Some(3)]));
    let late = bring(&mut state, batch("b-1", vec![tick(1010, 1), tick(1020, 1)]), 4, 270);
    assert_eq!((trade_ids(&late, Fill), late.duplicates, gaps(&late)), (vec![101], 1, vec![]));
}

#[test]
fn what_both_legs_miss_is_one_gap_at_once() {
    let mut state = both_legs();
    bring(&mut state, batch("a-1", vec![tick(1020, 1)]), 3, 10);
    let both = bring(&mut state, batch("b-1", vec![tick(1020, 1)]), 4, 15);
    assert_eq!((gaps(&both), sequences(&both)), (vec![(101, 101, GapCause::Batched)], vec![1020]));
}

#[test]
fn a_single_leg_is_not_held_back() {
    let mut state = shard();
    bring(&mut state, batch("a-1", vec![tick(1000, 0)]), 1, 0);
    let jump = bring(&mut state, batch("a-1", vec![tick(1020, 0)]), 2, 0);
    assert_eq!((sequences(&jump), gaps(&jump).len()), (vec![1020], 1));
    let mut never = ShardState::new(Duration::ZERO, NOW);
    bring(&mut never, batch("a-1", vec![tick(1000, 0)]), 1, 0);
    bring(&mut never, batch("b-1", vec![tick(1000, 0)]), 2, 0);
    let jump = bring(&mut never, batch("a-1", vec![tick(1020, 0)]), 3, 0);
    assert_eq!(sequences(&jump), [1020], "merging is off");
}

#[test]
fn a_heartbeat_waits_for_the_other_leg_as_well() {
    let mut state = both_legs();
    let held = bring(&mut state, heartbeat("a-1", 101), 3, 10);
    assert_eq!((gaps(&held), state.held()), (vec![], 1));
    let came = bring(&mut state, batch("b-1", vec![tick(1010, 1)]), 4, 20);
    assert_eq!((sequences(&came), gaps(&came), state.held()), (vec![1010], vec![], 0));
    bring(&mut state, heartbeat("a-1", 103), 5, 30);
    assert_eq!(gaps(&wait_until(&mut state, 280)), [(102, 103, GapCause::Drop)]);
    assert_eq!(state.held(), 0);
}

/// What was held back of the run before goes out before the new run, in batches of its own.
#[test]
fn a_new_run_waits_for_nobody() {
    let mut state = both_legs();
    bring(&mut state, batch("a-1", vec![tick(1020, 1)]), 3, 10);
    let anew = bring(&mut state, batch("b-2", vec![tick(50, 60), tick(60, 60)]), 4, 20);
    let positions: Vec<_> = anew.ticks(Live).iter().filter_map(|tick| tick.position()).collect();
    assert_eq!(positions[0], Position { run: 0, sequence: 1020 });
    assert_eq!(positions[1..], [(1, 50), (1, 60)].map(|(run, sequence)| Position { run, sequence }));
    let kinds: Vec<_> = anew.events().iter().map(|event| event.kind.name()).collect();
    assert_eq!((kinds, state.held()), (vec!["gap", "new_run"], 0));
}

#[test]
fn memory_is_bounded() {
    let mut state = both_legs();
    let mut out = 0;
    for step in 0..5000 {
        let round = bring(&mut state, batch("a-1", vec![tick(1020 + step * 10, 1)]), 3 + step, 10);
        assert!(state.held() <= domain::HELD_TICKS_MAX);
        out += sequences(&round).len();
        assert!(round.holds_full <= 1);
    }
    assert_eq!(out, 5000, "the one that was missing was given up");
}

#[test]
fn the_score_is_kept() {
    let mut state = both_legs();
    let mut later = tick(1010, 1);
    later.receive_time = later.receive_time.saturating_add(Duration::from_millis(40));
    let first = bring(&mut state, batch("a-1", vec![tick(1010, 1), tick(1020, 1)]), 3, 10);
    let second = bring(&mut state, batch("b-1", vec![later]), 4, 50);
    let legs: Vec<_> = state.legs().map(|(leg, instance)| (leg, instance.to_owned())).collect();
    let [(a, one), (b, two)] = &legs[..] else { panic!("{legs:?}") };
    assert_eq!((one.as_str(), two.as_str()), ("a", "b"));
    assert_eq!((first.legs.wins[a.index()], second.legs.wins[b.index()]), (2, 0));
    assert_eq!(second.legs.lags, [(*b, Duration::from_millis(40))]);
    let settled = bring(&mut state, batch("a-1", vec![tick(1030, 20)]), 5, 10_100);
    assert_eq!((settled.legs.alone[a.index()], settled.legs.alone[b.index()]), (1, 0), "b never brought 102");
}
