//! The checker sees what it is for: a guard that cannot see is worse than none.

use std::collections::BTreeMap;

use domain::Decimal;

use super::*;
use crate::{
    evidence::{Gap, Reject, Row, Seen},
    subscribers::Accepted,
    truth::Trade,
};

const STRICT: Rules = Rules {
    gaps_expected: true,
    feed_broken: false,
    exchange_killed: false,
    broker_lost: false,
    feed_disordered: false,
    feed_faulty: false,
    seamless: false,
    not_recovered: false,
    live_within: Duration::from_secs(10),
};

/// Ten trades that were sent, accepted and stored.
fn perfect() -> (Truth, Evidence) {
    let trade = |id: u64| Trade {
        price: Decimal::from(id),
        size: Decimal::ONE,
        side: "buy".into(),
        ts_event: 1_000 * i64::try_from(id).unwrap(),
    };
    let truth = Truth {
        sent: BTreeMap::from([("A-B".into(), (1..=10).map(|id| (id, trade(id))).collect())]),
        made: BTreeMap::from([("A-B".into(), vec![(1, 10)])]),
        faulty: BTreeMap::new(),
    };
    let row = |id: u64| Row {
        product: "A-B".into(),
        trade_id: id,
        run: 0,
        sequence: Some(100 + id),
        ts_event: 1_000 * i64::try_from(id).unwrap(),
        price: Decimal::from(id),
        size: Decimal::ONE,
        side: "buy".into(),
    };
    let mut seen = Seen::default();
    seen.tick("A-B", (0, 101), 1_000, Some((1, Decimal::ONE)));
    let all = BTreeMap::from([("A-B".into(), (1..=10).collect())]);
    let evidence = Evidence {
        accepted: Accepted { all: all.clone(), live: all },
        stored: (1..=10).map(row).collect(),
        bars: 1,
        subscribers: vec![("one", seen)],
        ..Evidence::default()
    };
    (truth, evidence)
}

fn gap(first: u64, last: u64, repaired: u64) -> Gap {
    Gap { product: "A-B".into(), run: 0, first, last, repaired }
}

/// The checks that fail.
fn failing(truth: &Truth, evidence: &Evidence, rules: Rules) -> Vec<&'static str> {
    check(truth, evidence, rules).0.into_iter().filter(|line| !line.ok).map(|line| line.check).collect()
}

#[track_caller]
fn fails(change: impl FnOnce(&mut Evidence), rules: Rules, checks: &[&str]) {
    let (truth, mut evidence) = perfect();
    change(&mut evidence);
    assert_eq!(failing(&truth, &evidence, rules), checks);
}

#[test]
fn what_is_right_passes() {
    fails(|_| {}, STRICT, &[]);
    let broken = Rules { feed_broken: true, ..STRICT };
    let missing = |evidence: &mut Evidence| {
        evidence.stored.retain(|row| !(4..=6).contains(&row.trade_id));
        evidence.accepted.all.get_mut("A-B").unwrap().retain(|id| !(4..=6).contains(id));
    };
    let in_gap = |evidence: &mut Evidence| {
        missing(evidence);
        evidence.gaps.push(gap(4, 6, 0));
    };
    fails(in_gap, broken, &[]);
    fails(missing, Rules { gaps_expected: false, ..broken }, &[]);
    fails(missing, broken, &["accounted for"]);
    fails(in_gap, STRICT, &["lost", "accounted for"]);
}

#[test]
fn what_is_lost_is_seen() {
    let lose = |evidence: &mut Evidence| {
        evidence.stored.remove(4);
    };
    fails(lose, STRICT, &["lost", "accounted for"]);
    fails(lose, Rules { feed_broken: true, gaps_expected: false, ..STRICT }, &["lost"]);
    // A gap does not excuse the loss of what was accepted.
    let hide = |evidence: &mut Evidence| {
        evidence.stored.remove(4);
        evidence.gaps.push(gap(5, 5, 0));
    };
    fails(hide, Rules { feed_broken: true, ..STRICT }, &["lost"]);
    fails(hide, Rules { broker_lost: true, ..STRICT }, &[]);
}

#[test]
fn what_was_fetched_in_place_of_what_was_lost_is_seen() {
    let replace = |evidence: &mut Evidence| {
        evidence.stored[4].sequence = None;
        evidence.gaps.push(gap(5, 5, 1));
    };
    let broken = Rules { feed_broken: true, ..STRICT };
    fails(replace, STRICT, &["lost"]);
    fails(replace, broken, &["lost"]);
    // It was never accepted, it was gone with the broker's data, or it came late.
    let missed = |evidence: &mut Evidence| {
        replace(evidence);
        evidence.accepted.live.get_mut("A-B").unwrap().remove(&5);
    };
    fails(missed, broken, &[]);
    fails(replace, Rules { broker_lost: true, ..STRICT }, &[]);
    fails(replace, Rules { feed_disordered: true, ..broken }, &[]);
    let disordered = Rules { feed_disordered: true, ..STRICT };
    fails(replace, disordered, &[]);
    fails(missed, disordered, &["lost"]);
    // Nobody missed anything, so that there is no gap.
    fails(|evidence| evidence.gaps.push(gap(5, 5, 1)), STRICT, &["lost"]);
}

#[test]
fn what_came_last_and_was_sent_to_nobody_is_nobody_s_loss() {
    let (mut truth, mut evidence) = perfect();
    truth.made.insert("A-B".into(), vec![(1, 12)]);
    assert_eq!(failing(&truth, &evidence, STRICT), [""; 0]);
    evidence.stored.pop();
    evidence.accepted.all.get_mut("A-B").unwrap().remove(&10);
    assert_eq!(failing(&truth, &evidence, STRICT), ["accounted for"]);
}

#[test]
fn what_is_there_twice_is_seen() {
    let twice = |evidence: &mut Evidence| {
        let again = Row { sequence: Some(111), ..evidence.stored[9].clone() };
        evidence.stored.push(again);
    };
    fails(twice, STRICT, &["duplicated", "reordered"]);
    let reject = Reject { product: "A-B".into(), trade_id: Some(3), reason: "too_old".into() };
    fails(|evidence| evidence.rejects.push(reject), STRICT, &["in one place", "rejects"]);
    let broken = Rules { feed_broken: true, ..STRICT };
    fails(|evidence| evidence.gaps.push(gap(3, 3, 0)), broken, &["in one place"]);
    fails(|evidence| evidence.gaps.push(gap(3, 3, 1)), broken, &[]);
    fails(|evidence| evidence.gaps.extend([gap(3, 4, 2), gap(4, 5, 2)]), broken, &["in one place"]);
}

#[test]
fn what_is_faulty_is_among_the_rejects() {
    let (mut truth, mut evidence) = perfect();
    let refused = Rules { feed_faulty: true, ..STRICT };
    assert_eq!(failing(&truth, &evidence, refused), ["rejects"]);
    evidence.stored.remove(2);
    let reject = |trade_id| Reject { product: "A-B".into(), trade_id, reason: "crossed_book".into() };
    evidence.rejects.push(reject(Some(3)));
    assert_eq!(failing(&truth, &evidence, STRICT), ["rejects"]);
    truth.faulty.insert("A-B".into(), [3].into());
    assert_eq!(failing(&truth, &evidence, refused), [""; 0]);
    evidence.rejects.push(reject(Some(4)));
    assert_eq!(failing(&truth, &evidence, refused), ["in one place", "rejects"]);
}

#[test]
fn a_reject_in_a_gap_is_in_two_places() {
    let (mut truth, mut evidence) = perfect();
    truth.faulty.insert("A-B".into(), [3].into());
    evidence.stored.remove(2);
    evidence.rejects.push(Reject { product: "A-B".into(), trade_id: Some(3), reason: "crossed_book".into() });
    evidence.gaps.push(gap(3, 3, 0));
    let broken = Rules { feed_broken: true, ..STRICT };
    assert_eq!(failing(&truth, &evidence, broken), ["in one place"]);
}

#[test]
fn what_is_wrong_or_out_of_order_is_seen() {
    fails(|evidence| evidence.stored[2].price = Decimal::from(99), STRICT, &["unexpected"]);
    fails(|evidence| evidence.stored[2].ts_event += 1_000, STRICT, &["unexpected"]);
    fails(|evidence| evidence.stored.swap(2, 3), STRICT, &["reordered"]);
    fails(|evidence| evidence.bars_that_differ = 1, STRICT, &["bars"]);
    fails(|evidence| evidence.latest_that_differ = 1, STRICT, &["latest"]);
    let back = |evidence: &mut Evidence| evidence.subscribers[0].1.tick("A-B", (0, 101), 1_000, None);
    fails(back, STRICT, &["reordered, subscriber"]);
    let other = |evidence: &mut Evidence| {
        evidence.subscribers[0].1.tick("A-B", (0, 102), 2_000, Some((2, Decimal::ONE)));
    };
    fails(other, STRICT, &["unexpected, subscriber"]);
    let again = |evidence: &mut Evidence| {
        evidence.subscribers[0].1.connected();
        evidence.subscribers[0].1.tick("A-B", (0, 101), 1_000, None);
    };
    fails(again, STRICT, &[]);
}

#[test]
fn a_hole_in_what_is_resumed_is_seen() {
    let follow = |evidence: &mut Evidence, positions: &[u64]| {
        let seen = &mut evidence.subscribers[0].1;
        seen.begins("A-B");
        positions.iter().for_each(|sequence| seen.follows("A-B", (0, 100 + sequence)));
    };
    fails(|evidence| follow(evidence, &[3, 4, 5, 4, 5, 6]), STRICT, &[]);
    fails(|evidence| follow(evidence, &[3, 4, 6]), STRICT, &["resumed"]);
    let told = |evidence: &mut Evidence| {
        follow(evidence, &[3, 4]);
        follow(evidence, &[7, 8]);
        evidence.subscribers[0].1.not_recovered.push("A-B".into());
    };
    fails(told, STRICT, &["resumed"]);
    let wiped = Rules { not_recovered: true, ..STRICT };
    fails(told, wiped, &[]);
    fails(|evidence| follow(evidence, &[3, 4]), wiped, &["resumed"]);
    let refused = |evidence: &mut Evidence| {
        follow(evidence, &[3, 4]);
        evidence.subscribers[0].1.refused.push("INVALID_TOKEN".into());
    };
    fails(refused, STRICT, &["resumed"]);
    fails(|evidence| follow(evidence, &[]), STRICT, &["resumed"]);
}

#[test]
fn a_seam_is_seen() {
    let seamless = Rules { seamless: true, ..STRICT };
    fails(|_| {}, seamless, &["seamless"]);
    let once = |evidence: &mut Evidence| evidence.subscribers[0].1.connected();
    fails(once, seamless, &[]);
    let told = |evidence: &mut Evidence| {
        once(evidence);
        evidence.subscribers[0].1.told.push("STALE".into());
    };
    fails(told, seamless, &["seamless"]);
    let repaired = |evidence: &mut Evidence| {
        once(evidence);
        evidence.gaps.push(gap(3, 3, 1));
    };
    fails(repaired, seamless, &["lost", "seamless"]);
}

#[test]
fn nothing_at_all_is_no_success() {
    let failing = failing(&Truth::default(), &Evidence::default(), STRICT);
    assert_eq!(failing, ["accounted for", "bars"]);
}
