use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

fn session(id: &str) -> FeedSession {
    FeedSession { id: id.into(), started: UnixNanos::new(0) }
}

fn at(seconds: u64) -> UnixNanos {
    UnixNanos::from_seconds(1_600_000_000 + i64::try_from(seconds).unwrap()).unwrap()
}

fn heartbeat(last_trade_id: u64) -> Heartbeat {
    Heartbeat { last_trade_id, time: at(last_trade_id) }
}

/// A tracker that has seen trade 10 on the connection `a-1`.
fn tracker() -> TradeTracker {
    TradeTracker::recovered(10, at(10), Some(&session("a-1")))
}

fn range(missing: &[MissingTrades]) -> Option<(u64, u64, GapCause)> {
    assert!(missing.len() < 2, "{missing:?}");
    missing.first().map(|missing| (missing.first, missing.last, missing.cause))
}

#[test]
fn the_first_trade_and_the_next_one_miss_nothing() {
    let mut tracker = TradeTracker::default();
    assert_eq!(tracker.trade(500, at(1), &session("a-1"), false), []);
    assert_eq!(tracker.trade(501, at(1), &session("b-1"), false), []);
    assert_eq!(tracker.last(), Some(501));
}

#[test]
fn the_cause_is_told_by_who_brings_the_next_trade() {
    for (id, cause) in [
        ("a-1", GapCause::Batched),
        ("a-2", GapCause::Disconnect),
        ("b-1", GapCause::Restart),
        ("a-x-1", GapCause::Restart),
    ] {
        let missing = tracker().trade(13, at(13), &session(id), false);
        let (after, before) = (Some(at(10)), Some(at(13)));
        assert_eq!(missing, [MissingTrades { first: 11, last: 12, after, before, cause }]);
    }
    let mut unknown = TradeTracker::recovered(10, at(10), None);
    assert_eq!(range(&unknown.trade(12, at(12), &session("a-1"), false)), Some((11, 11, GapCause::Restart)));
}

/// Of two ingestors that take turns neither was restarted.
#[test]
fn a_second_ingestor_is_no_restart() {
    let mut tracker = tracker();
    tracker.trade(11, at(11), &session("b-1"), false);
    assert_eq!(range(&tracker.trade(13, at(13), &session("a-1"), false)), Some((12, 12, GapCause::Batched)));
    assert_eq!(
        range(&tracker.trade(15, at(15), &session("b-2"), false)),
        Some((14, 14, GapCause::Disconnect))
    );
}

#[test]
fn heartbeats_tell_of_what_no_trade_told() {
    let mut tracker = tracker();
    assert_eq!(tracker.heartbeat(&heartbeat(9), &session("a-1")), []);
    assert_eq!(tracker.heartbeat(&heartbeat(10), &session("a-1")), []);
    let missing = tracker.heartbeat(&heartbeat(12), &session("a-1"));
    let (after, before, cause) = (Some(at(10)), Some(at(12)), GapCause::Drop);
    assert_eq!(missing, [MissingTrades { first: 11, last: 12, after, before, cause }]);
    assert_eq!(tracker.heartbeat(&heartbeat(12), &session("a-1")), [], "told once");
    let next = tracker.heartbeat(&heartbeat(13), &session("a-2"));
    assert_eq!(range(&next), Some((13, 13, GapCause::Disconnect)));
    assert_eq!(tracker.trade(14, at(14), &session("a-2"), false), []);
}

#[test]
fn the_first_heartbeat_says_where_the_trades_begin() {
    let mut tracker = TradeTracker::default();
    assert_eq!(tracker.heartbeat(&heartbeat(500), &session("a-1")), []);
    let missing = tracker.trade(502, at(502), &session("a-1"), false);
    assert_eq!(range(&missing), Some((501, 501, GapCause::Batched)));
}

#[test]
fn a_late_trade_is_recognised() {
    let mut tracker = tracker();
    tracker.trade(13, at(13), &session("a-1"), false);
    tracker.heartbeat(&heartbeat(15), &session("a-1"));
    let places: Vec<_> = (10..=17).map(|trade_id| tracker.place(trade_id)).collect();
    use TradePlace::{Ahead, Known, Missing, Next};
    assert_eq!(places, [Known, Missing, Missing, Known, Missing, Missing, Next, Ahead]);
    assert_eq!(tracker.trade(11, at(11), &session("a-1"), false), []);
    assert_eq!(tracker.last(), Some(15), "nothing moves back");
}

#[test]
fn in_a_new_run_numbers_may_start_anew() {
    let mut tracker = tracker();
    tracker.trade(13, at(13), &session("a-1"), false);
    assert_eq!(tracker.trade(5, at(20), &session("a-2"), true), []);
    assert_eq!(
        (tracker.last(), tracker.place(11)),
        (Some(5), TradePlace::Ahead),
        "it means another trade now"
    );
    assert_eq!(tracker.trade(6, at(20), &session("a-2"), false), []);
    let jump = tracker.trade(9, at(30), &session("a-3"), true);
    assert_eq!(range(&jump), Some((7, 8, GapCause::Disconnect)), "a jump upward is one in a new run, too");
}

#[test]
fn after_recovery_a_gap_is_not_announced_again() {
    let mut tracker = tracker();
    tracker.recover_gap(11, 14);
    assert_eq!(tracker.place(12), TradePlace::Missing);
    assert_eq!(tracker.trade(15, at(15), &session("a-1"), false), []);
    let mut behind = TradeTracker::recovered(20, at(20), None);
    behind.recover_gap(11, 14);
    assert_eq!((behind.last(), behind.place(11)), (Some(20), TradePlace::Missing));
}

#[test]
fn what_was_refused_is_never_missing() {
    let mut tracker = tracker();
    for trade_id in [11, 12, 14] {
        tracker.refuse(trade_id, at(trade_id), &session("a-1"));
    }
    assert_eq!((tracker.refused(), tracker.last()), (&[(11, 12), (14, 14)][..], Some(14)));
    assert_eq!((tracker.place(12), tracker.place(13)), (TradePlace::Known, TradePlace::Missing));
    // Whoever takes over does not know whether 13 was told, and is told of what was refused in any order.
    for rows in [[&[(11, 11)][..], &[(11, 12), (14, 14)]], [&[(11, 12), (14, 14)], &[(11, 11)]]] {
        let mut heir = self::tracker();
        rows.iter().for_each(|rows| heir.recover_refused(rows, at(14)));
        assert_eq!((heir.last(), heir.place(13)), (Some(12), TradePlace::Next));
        assert_eq!(heir.place(14), TradePlace::Known);
        let mut told = heir.clone();
        let lost = heir.trade(17, at(17), &session("a-1"), false);
        let lost: Vec<_> = lost.iter().map(|missing| (missing.first, missing.last)).collect();
        assert_eq!(lost, [(13, 13), (15, 16)]);
        told.recover_gap(11, 13);
        let places: Vec<_> = (12..=15).map(|trade_id| told.place(trade_id)).collect();
        use TradePlace::{Known, Missing, Next};
        assert_eq!(places, [Known, Missing, Known, Next]);
    }
    // What was before them may come yet.
    let mut first = TradeTracker::default();
    first.recover_refused(&[(5, 5)], at(5));
    assert_eq!((first.last(), first.was_refused(5), first.place(3)), (None, true, TradePlace::Next));
    first.trade(3, at(3), &session("a-1"), false);
    assert_eq!(range(&first.trade(6, at(6), &session("a-1"), false)), Some((4, 4, GapCause::Batched)));
    assert!(!first.was_refused(5));
    // In a new run the numbers may mean other trades.
    tracker.trade(5, at(20), &session("a-2"), true);
    assert_eq!((tracker.refused(), tracker.place(12)), (&[][..], TradePlace::Ahead));
}

#[test]
fn memory_is_bounded() {
    let mut tracker = tracker();
    for step in 1..=(OPEN_GAPS_MAX as u64 + 1) {
        tracker.trade(10 + 2 * step, at(0), &session(&format!("{step}-1")), false);
    }
    assert_eq!((tracker.gaps.len(), tracker.sessions.len()), (OPEN_GAPS_MAX, SESSIONS_MAX));
    assert_eq!((tracker.place(11), tracker.place(13)), (TradePlace::Known, TradePlace::Missing));
    for step in 1..=(REFUSED_ROWS_MAX as u64 + 1) {
        tracker.refuse(10_000 + 2 * step, at(0), &session("a-1"));
    }
    assert_eq!((tracker.refused().len(), tracker.refused()[0]), (REFUSED_ROWS_MAX, (10_004, 10_004)));
}

#[test]
fn the_highest_numbers_do_no_harm() {
    let mut tracker = tracker();
    assert_eq!(tracker.place(u64::MAX), TradePlace::Ahead);
    let missing = tracker.trade(u64::MAX, at(0), &session("a-1"), false);
    assert_eq!(range(&missing), Some((11, u64::MAX - 1, GapCause::Batched)));
    assert_eq!(tracker.place(u64::MAX), TradePlace::Known);
    let highest = Heartbeat { last_trade_id: u64::MAX, time: at(0) };
    assert_eq!(tracker.heartbeat(&highest, &session("a-1")), []);
}

/// What happens to a trade on its way, and what is heard after it.
#[derive(Clone, Copy, Debug)]
struct Fate {
    kept: bool,
    repeated: bool,
    heartbeat: bool,
    leg: usize,
    reconnects: bool,
    owner_dies: bool,
}

fn fate() -> impl Strategy<Value = Fate> {
    let odds = proptest::bool::weighted;
    (odds(0.7), odds(0.1), odds(0.2), 0..2usize, odds(0.1), odds(0.05)).prop_map(
        |(kept, repeated, heartbeat, leg, reconnects, owner_dies)| Fate {
            kept,
            repeated,
            heartbeat,
            leg,
            reconnects,
            owner_dies,
        },
    )
}

proptest! {
    /// Whatever is lost between the first and the last word of a product lies in exactly one gap, and nothing else does.
    #[test]
    fn the_gaps_are_what_was_lost(fates in proptest::collection::vec(fate(), 1..200)) {
        let mut tracker = TradeTracker::default();
        let mut connections = [1, 1];
        let (mut lost, mut pending, mut announced) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut newest: Option<(u64, FeedSession)> = None;
        let mut last_gap = None;
        let mut began = false;
        for (trade_id, fate) in (1000..).zip(fates) {
            connections[fate.leg] += u32::from(fate.reconnects);
            let session = session(&format!("leg{}-{}", fate.leg, connections[fate.leg]));
            if fate.owner_dies && let Some((newest, session)) = &newest {
                // What was published is all that the next owner knows.
                tracker = TradeTracker::recovered(*newest, at(*newest), Some(session));
                if let Some((first, last)) = last_gap {
                    tracker.recover_gap(first, last);
                }
            }
            let mut found = Vec::new();
            if fate.kept {
                found.extend(tracker.trade(trade_id, at(trade_id), &session, false));
                if fate.repeated {
                    found.extend(tracker.trade(trade_id, at(trade_id), &session, false));
                }
                newest = Some((trade_id, session.clone()));
            } else if began {
                pending.insert(trade_id);
            }
            if fate.heartbeat {
                found.extend(tracker.heartbeat(&heartbeat(trade_id), &session));
            }
            if fate.kept || fate.heartbeat {
                began = true;
                lost.append(&mut pending);
            }
            for missing in found {
                for trade_id in missing.first..=missing.last {
                    prop_assert!(announced.insert(trade_id), "{trade_id} is in two gaps");
                    prop_assert_eq!(tracker.place(trade_id), TradePlace::Missing);
                }
                last_gap = Some((missing.first, missing.last));
            }
        }
        prop_assert_eq!(announced, lost);
    }
}
