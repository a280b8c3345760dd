use super::*;
use domain::{GapCause, UnixNanos};

fn wanted() -> Wanted {
    let mut wanted = Wanted::new(Limits {
        gaps_max: 3,
        trades_max: 5_000,
        attempts_max: 3,
        attempt_delay_min: Duration::from_secs(2),
    });
    follow(&mut wanted, &["A", "B", "C", "D"]);
    wanted
}

fn follow(wanted: &mut Wanted, products: &[&str]) {
    wanted.follow(products.iter().map(|product| Product::new(product).unwrap()));
}

fn gap(product: &str, first: u64, last: u64) -> Gap {
    Gap {
        instrument: Instrument::new("coinbase", product).unwrap(),
        run: 0,
        first_trade_id: first,
        last_trade_id: last,
        after: None,
        before: None,
        detected_at: UnixNanos::new(0),
        cause: GapCause::Disconnect,
        state: GapState::Open,
        repaired_count: 0,
    }
}

fn repaired(product: &str, first: u64, last: u64) -> Gap {
    Gap { state: GapState::Repaired, ..gap(product, first, last) }
}

fn next(wanted: &mut Wanted, now: Instant) -> Option<(String, RangeInclusive<u64>)> {
    wanted.next(now).map(|job| (job.instrument.product.to_string(), job.range))
}

#[test]
fn the_newest_gap_comes_first_and_older_neighbours_come_along() {
    let (mut wanted, now) = (wanted(), Instant::now());
    assert_eq!(wanted.open(gap("A", 100, 109), now), Opened::Taken);
    assert_eq!(wanted.open(gap("B", 1, 1), now), Opened::Taken);
    assert_eq!(wanted.open(gap("A", 1_050, 1_059), now), Opened::Taken);
    let job = wanted.next(now).unwrap();
    assert_eq!((job.instrument.product.as_str(), job.range.clone()), ("A", 100..=1_059));
    assert!(job.wants(109) && !job.wants(110) && !job.wants(1_049) && job.wants(1_050));
    let trades: Vec<u64> = (100..=109).chain(1_050..=1_059).collect();
    assert_eq!(wanted.settle(&job, &trades, &[], now), []);
    assert_eq!(next(&mut wanted, now), Some(("B".into(), 1..=1)));
    follow(&mut wanted, &["A"]);
    assert_eq!((next(&mut wanted, now), wanted.next_due()), (None, None), "not ours");
    assert_eq!(wanted.len(), 1);
}

#[test]
fn a_long_gap_is_fetched_in_pages_in_the_order_of_its_trades() {
    let (mut wanted, now) = (wanted(), Instant::now());
    wanted.open(gap("A", 1, 2_500), now);
    for range in [1..=1_000, 1_001..=2_000, 1_501..=2_500] {
        let job = wanted.next(now).unwrap();
        let start = *job.range.start();
        assert!(job.range.end() == range.end() && start >= *range.start(), "{job:?}");
        let trades: Vec<u64> = job.range.clone().collect();
        wanted.settle(&job, &trades, &[], now);
    }
    assert!(wanted.len() == 0);
}

#[test]
fn nothing_is_due_before_its_time() {
    let (mut wanted, now) = (wanted(), Instant::now());
    let later = now + Duration::from_secs(1);
    wanted.open(gap("A", 1, 2), later);
    assert_eq!((next(&mut wanted, now), wanted.next_due()), (None, Some(later)));
    assert_eq!(next(&mut wanted, later), Some(("A".into(), 1..=2)));
}

#[test]
fn what_others_have_repaired_or_given_up_is_not_fetched() {
    let (mut wanted, now) = (wanted(), Instant::now());
    wanted.open(gap("A", 10, 20), now);
    wanted.open(gap("A", 15, 30), now);
    wanted.close(&repaired("B", 0, u64::MAX));
    wanted.close(&repaired("A", 10, 20));
    assert_eq!(next(&mut wanted, now), Some(("A".into(), 21..=30)), "the trades that both have are there");
    wanted.close(&repaired("A", 21, 30));
    assert!(wanted.len() == 0 && next(&mut wanted, now).is_none());
}

#[test]
fn trades_that_the_exchange_has_not_got_are_asked_for_again_and_given_up_in_the_end() {
    let (mut wanted, mut now) = (wanted(), Instant::now());
    wanted.open(gap("A", 10, 20), now);
    let job = wanted.next(now).unwrap();
    let trades: Vec<u64> = (10..=17).collect();
    assert_eq!(wanted.settle(&job, &trades, &[18..=20], now), []);
    for delay in [2, 6] {
        assert_eq!(next(&mut wanted, now), None);
        now += Duration::from_secs(delay);
        assert_eq!(next(&mut wanted, now), Some(("A".into(), 18..=20)));
        let job = wanted.next(now).unwrap();
        let lost = wanted.settle(&job, &[], &[18..=20], now);
        if delay == 6 {
            let gone = Gap { state: GapState::Unrepairable, ..gap("A", 18, 20) };
            assert_eq!(lost, [gone], "exactly what is missing");
        } else {
            assert_eq!(lost, []);
        }
    }
    assert!(wanted.len() == 0);
}

#[test]
fn too_much_is_not_fetched_and_too_many_put_the_oldest_off() {
    let (mut wanted, now) = (wanted(), Instant::now());
    let huge = gap("A", 1, 5_001);
    let told = Gap { state: GapState::Unrepairable, ..huge.clone() };
    assert_eq!(wanted.open(huge, now), Opened::TooLarge(told));
    for (number, product) in ["A", "B", "C"].into_iter().enumerate() {
        assert_eq!(wanted.open(gap(product, 1, 9), now), Opened::Taken, "{number}");
        assert_eq!(wanted.open(gap(product, 1, 9), now), Opened::Taken, "said twice it is one");
    }
    assert_eq!(wanted.open(gap("D", 1, 9), now), Opened::PutOff);
    assert_eq!((wanted.len(), wanted.gaps.contains_key(&gap("A", 1, 9).instrument)), (3, false));
}

#[test]
fn what_was_put_off_is_taken_up_when_nothing_of_ours_is_left_whatever_others_wait_for() {
    let (mut wanted, now) = (wanted(), Instant::now());
    follow(&mut wanted, &["A"]);
    for first in 1..=4 {
        wanted.open(gap("A", first, first), now);
    }
    assert_eq!(next(&mut wanted, now), Some(("A".into(), 2..=4)), "the oldest was put off");
    assert!(!wanted.takes_up_put_off(), "there is no room yet");
    wanted.close(&repaired("A", 2, 3));
    wanted.open(gap("B", 1, 9), now);
    wanted.close(&repaired("A", 4, 4));
    assert_eq!((wanted.len(), wanted.next_due()), (1, None));
    assert!(wanted.takes_up_put_off(), "B is nobody's");
    assert!(!wanted.takes_up_put_off(), "once");
}

#[test]
fn gaps_of_products_that_nobody_follows_make_room_and_are_taken_up_when_somebody_does() {
    let (mut wanted, now) = (wanted(), Instant::now());
    follow(&mut wanted, &["A"]);
    assert_eq!(wanted.open(gap("A", 1, 1), now), Opened::Taken);
    for first in [1, 3, 5, 7] {
        wanted.open(gap("B", first, first), now);
    }
    assert_eq!(
        (wanted.len(), next(&mut wanted, now)),
        (3, Some(("A".into(), 1..=1))),
        "though it is the oldest"
    );
    wanted.close(&repaired("A", 1, 1));
    assert!(!wanted.takes_up_put_off(), "what was put off is not ours");
    follow(&mut wanted, &["B"]);
    assert_eq!(next(&mut wanted, now), Some(("B".into(), 5..=7)));
    wanted.close(&repaired("B", 5, 7));
    assert!(wanted.takes_up_put_off(), "it is ours now");
}

#[test]
fn what_is_given_up_is_told_in_its_pieces_unless_there_are_too_many() {
    for (count, pieces) in [(200, 100), (202, 1)] {
        let (mut wanted, now) = (wanted(), Instant::now());
        wanted.limits.attempts_max = 1;
        wanted.open(gap("A", 1, count), now);
        let job = wanted.next(now).unwrap();
        let odd: Vec<u64> = (1..=count).step_by(2).collect();
        let lost = wanted.settle(&job, &odd, &[1..=count], now);
        assert_eq!(lost.len(), pieces);
        assert_eq!(lost.last().unwrap().last_trade_id, count);
        assert!(wanted.len() == 0);
    }
}

#[test]
fn over_whose_gaps_the_exchange_fails_lets_the_others_go_first_and_is_never_given_up() {
    let (mut wanted, start) = (wanted(), Instant::now());
    wanted.open(gap("B", 1, 9), start);
    wanted.open(gap("A", 10, 20), start);
    let mut now = start;
    for (failures, delay) in [2, 6, 18, 54, 60, 60].into_iter().enumerate() {
        follow(&mut wanted, &["A"]);
        let job = wanted.next(now).unwrap();
        follow(&mut wanted, &["A", "B"]);
        wanted.put_back(&job, now);
        assert_eq!(next(&mut wanted, now), Some(("B".into(), 1..=9)), "its turn, after {failures} others");
        let due = now + Duration::from_secs(delay);
        assert!(wanted.gaps.values().flatten().any(|entry| entry.due == due), "{delay}");
        now = due;
        assert_eq!(next(&mut wanted, now), Some(("B".into(), 1..=9)), "though the newer one is due again");
    }
    let job = wanted.next(now).unwrap();
    wanted.settle(&job, &(1..=9).collect::<Vec<_>>(), &[], now);
    let job = wanted.next(now).unwrap();
    assert_eq!(job.range, 10..=20);
    assert_eq!(wanted.settle(&job, &[], &[10..=20], now), [], "the first answer without them");
    assert_eq!(next(&mut wanted, now + Duration::from_secs(2)), Some(("A".into(), 10..=20)));
    assert_eq!(wanted.gaps.values().flatten().map(|entry| entry.failures).max(), Some(0), "it has answered");
}

#[test]
fn a_gap_over_which_the_exchange_has_failed_is_asked_for_without_its_neighbours() {
    let (mut wanted, now) = (wanted(), Instant::now());
    wanted.open(gap("A", 100, 109), now);
    wanted.open(gap("A", 200, 209), now);
    let job = wanted.next(now).unwrap();
    assert_eq!(job.range, 100..=209);
    wanted.put_back(&job, now);
    assert_eq!(next(&mut wanted, now), None, "neither of them is due");
    let later = now + Duration::from_secs(2);
    let job = wanted.next(later).unwrap();
    assert_eq!(job.range, 100..=109);
    wanted.put_back(&job, later);
    assert_eq!(next(&mut wanted, later), Some(("A".into(), 200..=209)));
    wanted.open(gap("A", 300, 309), later);
    assert_eq!(next(&mut wanted, later), Some(("A".into(), 300..=309)), "nor does it come along");
}

/// A feed that loses trades faster than they can be fetched one by one.
#[test]
fn an_old_gap_is_fetched_however_many_newer_ones_there_are() {
    let (mut wanted, now) = (wanted(), Instant::now());
    wanted.limits.gaps_max = 100;
    (0..40).for_each(|number| _ = wanted.open(gap("A", number * 100, number * 100), now));
    let mut ranges = Vec::new();
    for number in 40..44 {
        wanted.open(gap("A", number * 100, number * 100), now);
        let job = wanted.next(now).unwrap();
        ranges.push(job.range.clone());
        let trades: Vec<u64> = job.range.clone().filter(|trade| job.wants(*trade)).collect();
        wanted.settle(&job, &trades, &[], now);
    }
    // The newest with its older neighbours, the oldest with its newer ones, in turns.
    assert_eq!(ranges, [3_100..=4_000, 0..=900, 4_100..=4_200, 1_000..=1_900]);
}
