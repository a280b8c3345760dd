use super::*;
use crate::{Instrument, TickFlags};
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
        last_trade: None,
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

#[test]
fn tells_new_from_seen_from_late() {
    let mut tracker = ProductTracker::default();
    let one = session("a-1");
    assert_eq!(tracker.observe(&tick(10, 0), &one), Verdict::Next(Position { run: 0, sequence: 10 }));
    assert_eq!(tracker.observe(&tick(40, 1), &one), Verdict::Next(Position { run: 0, sequence: 40 }));
    assert_eq!(tracker.observe(&tick(40, 1), &one), Verdict::Duplicate);
    assert_eq!(tracker.observe(&tick(10, 0), &one), Verdict::Duplicate);
    assert_eq!(tracker.observe(&tick(20, 1), &one), Verdict::Late);
}

#[test]
fn a_sequence_that_restarts_does_not_silence_the_product() {
    let mut tracker = ProductTracker::default();
    tracker.observe(&tick(1000, 0), &session("a-1"));
    let two = session("a-2");
    assert_eq!(tracker.observe(&tick(5, 5), &two), Verdict::Late, "5 s newer is not more than 5 s newer");
    let previous = Position { run: 0, sequence: 1000 };
    let first = Position { run: 1, sequence: 6 };
    assert_eq!(tracker.observe(&tick(6, 6), &two), Verdict::NewRun { previous, first });
    assert_eq!(tracker.observe(&tick(7, 6), &two), Verdict::Next(Position { run: 1, sequence: 7 }));
    assert_eq!(tracker.observe(&tick(6, 20), &two), Verdict::Duplicate, "same session: never a new run");
}

#[test]
fn what_an_ingestor_had_read_before_the_new_run_does_not_carry_it_away() {
    let mut tracker = ProductTracker::default();
    tracker.observe(&tick(1000, 0), &session("a-1"));
    tracker.observe(&tick(6, 60), &session("a-2"));
    assert_eq!(tracker.observe(&tick(1001, 1), &session("b-1")), Verdict::Late);
    assert_eq!(
        tracker.observe(&tick(7, 60), &session("b-2")),
        Verdict::Next(Position { run: 1, sequence: 7 })
    );
}

#[test]
fn a_repeated_old_range_is_no_new_run() {
    let mut tracker = ProductTracker::default();
    for sequence in [10, 20, 30] {
        tracker.observe(&tick(sequence, sequence as i64), &session("a-1"));
    }
    for sequence in [10, 20, 30] {
        assert_eq!(tracker.observe(&tick(sequence, sequence as i64), &session("a-2")), Verdict::Duplicate);
    }
}

#[test]
fn after_recovery_everything_up_to_the_position_was_seen() {
    let at = UnixNanos::from_seconds(1_600_000_000).unwrap();
    let position = Position { run: 3, sequence: 100 };
    let mut tracker = ProductTracker::recovered(position, at, Some(&session("a-1")));
    assert_eq!(tracker.position(), Some(position));
    assert_eq!(tracker.observe(&tick(99, 0), &session("a-1")), Verdict::Duplicate);
    assert_eq!(
        tracker.observe(&tick(101, 0), &session("a-1")),
        Verdict::Next(Position { run: 3, sequence: 101 })
    );
}

#[test]
fn memory_is_bounded() {
    let mut tracker = ProductTracker::default();
    let one = session("a-1");
    for sequence in 1..=(RECENT_SEQUENCES_MAX as u64 + 10) {
        tracker.observe(&tick(sequence * 2, 0), &one);
    }
    assert_eq!(tracker.recent.len(), RECENT_SEQUENCES_MAX);
    assert_eq!(
        tracker.observe(&tick(3, 0), &one),
        Verdict::Duplicate,
        "forgotten: cannot be told from a duplicate"
    );
}

proptest! {
    /// Whatever arrives, accepted positions strictly increase and nothing is accepted twice.
    #[test]
    fn positions_only_increase(
        arrivals in proptest::collection::vec((1u64..200, 0i64..100, 0u8..4), 1..200)
    ) {
        let mut tracker = ProductTracker::default();
        let mut accepted: Vec<Position> = Vec::new();
        for (sequence, seconds, connection) in arrivals {
            let verdict = tracker.observe(&tick(sequence, seconds), &session(&format!("c-{connection}")));
            match verdict {
                Verdict::Next(position) | Verdict::NewRun { first: position, .. } => accepted.push(position),
                Verdict::Duplicate | Verdict::Late => {}
            }
            prop_assert_eq!(tracker.position(), accepted.last().copied());
        }
        prop_assert!(accepted.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
