use std::num::NonZeroU32;

use domain::{EventKind, FeedEvent, FeedState, MarketState, Position, Snapshot};

use super::*;
use crate::{
    Config, Epoch, Rate,
    state::samples::{batch, batch_of, instrument, tick},
};

const WALL: UnixNanos = UnixNanos::new(77);

/// What a delivery is, in short.
fn brief(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Snapshot { snapshot, skipped, .. } => {
            format!("{}@{}={skipped}", snapshot.instrument.product, snapshot.position.sequence)
        }
        Delivery::Tick { tick, skipped } => {
            format!("{}:{}+{skipped}", tick.tick().instrument.product, tick.position().sequence)
        }
        Delivery::Event(Event::RateLimited { .. }) => "rate_limited".into(),
        Delivery::Event(Event::Live) => "live".into(),
        Delivery::Event(Event::Checkpoint { .. }) => "checkpoint".into(),
        Delivery::Event(Event::NotRecovered { instrument, .. }) => {
            format!("not recovered {}", instrument.product)
        }
        Delivery::Event(Event::Feed(event)) => event.kind.name().into(),
        Delivery::Event(Event::EventsSkipped(count)) => format!("skipped {count} events"),
    }
}

fn when(now: Instant) -> When {
    When { now, wall: WALL, can_ask: false, is_caught_up: true }
}

/// What is given, without the word that the past is over.
fn read(reader: &mut Reader, state: &LiveState, now: Instant) -> Vec<String> {
    let mut given = read_all(reader, state, now);
    given.retain(|brief| brief != "live");
    given
}

fn read_all(reader: &mut Reader, state: &LiveState, now: Instant) -> Vec<String> {
    reader.read(state, when(now), 1_000).unwrap().deliveries.iter().map(brief).collect()
}

fn conflate(behind_max: u64, rate: Option<(u32, u32)>) -> Policy {
    let number = |number: u32| NonZeroU32::new(number).unwrap();
    Policy::Conflate {
        behind_max: behind_max.try_into().unwrap(),
        rate: rate.map(|(per_second, burst)| Rate { per_second: number(per_second), burst: number(burst) }),
        interval: None,
    }
}

fn state() -> LiveState {
    LiveState::new(Config { ring_ticks_max: 8.try_into().unwrap(), ..Config::default() })
}

fn event(product: &str) -> FeedEvent {
    FeedEvent {
        instrument: instrument(product),
        time: WALL,
        source: "test".into(),
        kind: EventKind::FeedState(FeedState::Stale),
    }
}

#[test]
fn starts_now_or_with_a_snapshot() {
    let (mut state, now) = (state(), Instant::now());
    state.apply(1, batch("A", [1, 2]));
    state.apply(2, batch("B", [1, 2]));
    let mut reader = Reader::new(&state, Policy::default());
    reader.add(&state, instrument("A"), &Start::Now);
    reader.add(&state, instrument("B"), &Start::Snapshot);
    assert_eq!(read(&mut reader, &state, now), ["B@2=0"]);
    state.apply(3, batch("A", [3]));
    state.apply(4, batch("B", [3, 4]));
    assert_eq!(read(&mut reader, &state, now), ["A:3+0", "B:3+0", "B:4+0"]);
    assert!(read(&mut reader, &state, now).is_empty());
}

#[test]
fn who_waits_while_the_state_begins_is_not_given_the_past() {
    let (mut state, now) = (state(), Instant::now());
    let mut readers = [Start::Now, Start::Snapshot].map(|start| {
        let mut reader = Reader::new(&state, Policy::Lossless);
        reader.add_all(&state, &start);
        reader
    });
    let mut recent = state.beside();
    recent.apply(1, batch("A", [1, 2, 3]));
    state.begin(recent, Vec::new());
    for reader in &mut readers {
        assert_eq!(read(reader, &state, now), ["A@3=0"]);
    }
    state.apply(2, batch("A", [4]));
    for reader in &mut readers {
        assert_eq!(read(reader, &state, now), ["A:4+0"]);
    }
}

#[test]
fn a_snapshot_of_an_unknown_product_is_empty_and_its_ticks_follow() {
    let (mut state, now) = (state(), Instant::now());
    let mut reader = Reader::new(&state, Policy::default());
    reader.add(&state, instrument("A"), &Start::Snapshot);
    let given = reader.read(&state, when(now), 10).unwrap().deliveries;
    let [Delivery::Snapshot { snapshot, skipped: 0, .. }, Delivery::Event(Event::Live)] = given.as_slice()
    else {
        panic!("{given:?}")
    };
    assert_eq!((snapshot.position, snapshot.snapshot_time), (Position::default(), WALL));
    assert_eq!(snapshot.state, MarketState::default());
    state.apply(1, batch("A", [1]));
    assert_eq!(read(&mut reader, &state, now), ["A:1+0"]);
}

#[test]
fn all_products_also_those_that_appear_later() {
    let (mut state, now) = (state(), Instant::now());
    state.apply(1, batch("A", [1]));
    let mut reader = Reader::new(&state, Policy::default());
    reader.add_all(&state, &Start::Snapshot);
    assert_eq!(read(&mut reader, &state, now), ["A@1=0"]);
    state.apply(2, batch("B", [1, 2]));
    assert_eq!(read(&mut reader, &state, now), ["B:1+0", "B:2+0"]);
    reader.remove_all();
    state.apply(3, batch("C", [1]));
    assert!(read(&mut reader, &state, now).is_empty());
}

#[test]
fn who_leaves_a_product_gets_the_others_still() {
    let (mut state, now) = (state(), Instant::now());
    let mut reader = Reader::new(&state, Policy::default());
    for product in ["A", "B", "C"] {
        reader.add(&state, instrument(product), &Start::Now);
    }
    assert!(reader.remove(&instrument("A")));
    assert!(!reader.remove(&instrument("A")));
    for (at, product) in ["A", "B", "C"].into_iter().enumerate() {
        state.apply(at as u64, batch(product, [1]));
    }
    let mut given = read(&mut reader, &state, now);
    given.sort();
    assert_eq!(given, ["B:1+0", "C:1+0"]);
}

#[test]
fn who_leaves_a_product_of_all_products_is_rid_of_it() {
    let (mut state, now) = (state(), Instant::now());
    let epoch = Epoch { history: "h".into(), ticks: UnixNanos::new(1) };
    state.set_epoch(Some(epoch.id()));
    for product in ["A", "B"] {
        state.apply(1, batch(product, [1]));
    }
    let mut reader = Reader::new(&state, Policy::default());
    reader.add_all(&state, &Start::Now);
    // One that is not there yet as well.
    assert!(reader.remove(&instrument("A")) && !reader.remove(&instrument("C")));
    let token = reader.token(&state).unwrap();
    let token = Start::Token(Token::parse(&token).unwrap());
    let mut resumed = Reader::new(&state, Policy::default());
    resumed.add_all(&state, &token);
    for product in ["A", "B", "C", "D"] {
        state.apply(2, batch(product, [2]));
        state.apply_event(event(product));
    }
    for reader in [&mut reader, &mut resumed] {
        assert_eq!(read(reader, &state, now), ["feed_state", "feed_state", "B:2+0", "D:2+0"]);
        assert_eq!((reader.products(), reader.contains(&instrument("A"))), (2, false));
    }
    // It is back when it is wanted: by its name, after the token or without it, or with all.
    resumed.add(&state, instrument("A"), &token);
    resumed.add(&state, instrument("C"), &Start::Snapshot);
    assert_eq!(read(&mut resumed, &state, now), ["A@2=0", "C@2=0"]);
    reader.add_all(&state, &Start::Snapshot);
    assert_eq!((reader.products(), reader.contains(&instrument("C"))), (4, true));
}

#[test]
fn what_was_left_and_is_not_known_is_bounded() {
    let state = state();
    let mut reader = Reader::new(&state, Policy::default());
    reader.add_all(&state, &Start::Now);
    let empty = reader.size_bytes();
    for number in 0..10_000 {
        reader.remove(&instrument(&format!("P{number}-USD")));
    }
    assert!(reader.size_bytes() - empty <= LEFT_UNKNOWN_MAX * size_of::<Instrument>());
}

#[test]
fn who_is_too_far_behind_or_fell_off_the_ring_gets_the_newest() {
    let (mut state, now) = (state(), Instant::now());
    let mut reader = Reader::new(&state, conflate(3, None));
    reader.add(&state, instrument("A"), &Start::Now);
    state.apply(1, batch("A", 1..=3));
    assert_eq!(read(&mut reader, &state, now).len(), 3);
    state.apply(1, batch("A", 4..=7));
    assert_eq!(read(&mut reader, &state, now), ["A:7+3"]);
    let mut patient = Reader::new(&state, conflate(1_000, None));
    patient.add(&state, instrument("A"), &Start::Now);
    state.apply(1, batch("A", 8..=20));
    assert_eq!(read(&mut patient, &state, now), ["A:20+12"]);
}

#[test]
fn a_conflated_tick_that_leaves_something_out_becomes_a_snapshot() {
    let (mut state, now) = (state(), Instant::now());
    let mut reader = Reader::new(&state, conflate(1, None));
    reader.add(&state, instrument("A"), &Start::Now);
    let mut quote = tick("A", 0, 3);
    quote.last_trade = None;
    state.apply(1, batch("A", [1, 2]));
    state.apply(1, batch_of("A", vec![quote]));
    assert_eq!(read(&mut reader, &state, now), ["A@3=3"]);
    assert!(read(&mut reader, &state, now).is_empty());
}

#[test]
fn an_empty_bucket_conflates_and_says_so_once() {
    let (mut state, start) = (state(), Instant::now());
    let mut reader = Reader::new(&state, conflate(100, Some((100, 10))));
    for product in ["A", "B", "C"] {
        reader.add(&state, instrument(product), &Start::Now);
        state.apply(1, batch(product, [1]));
    }
    assert_eq!(read(&mut reader, &state, start), ["A:1+0", "B:1+0", "C:1+0"]);
    for product in ["A", "B", "C"] {
        state.apply(1, batch(product, 2..=7));
    }
    let given = read(&mut reader, &state, start);
    assert_eq!(given[5..], ["A:7+0", "B:2+0", "rate_limited"]);
    assert!(read(&mut reader, &state, start).is_empty());
    // Each token goes to the product whose turn it is, and brings its newest tick.
    let ms = |ms| start + Duration::from_millis(ms);
    assert_eq!(read(&mut reader, &state, ms(10)), ["C:7+5"]);
    let given = reader.read(&state, when(ms(10)), 10).unwrap();
    assert_eq!((given.deliveries.len(), given.wait), (0, Some(Duration::from_millis(10))));
    assert_eq!(read(&mut reader, &state, ms(20)), ["B:7+4"]);
    // A snapshot that is asked for waits for no token.
    reader.add(&state, instrument("C"), &Start::Snapshot);
    assert_eq!(read(&mut reader, &state, ms(20)), ["C@7=0"]);
    // It has caught up, but the bucket has not recovered: the same episode.
    assert!(read(&mut reader, &state, ms(20)).is_empty());
    state.apply(3, batch("A", 8..=10));
    assert_eq!(read(&mut reader, &state, ms(30)), ["A:8+0"]);
    state.apply(4, batch("A", 11..=12));
    assert_eq!(read(&mut reader, &state, ms(40)), ["A:12+3"]);
    // After a pause it has, and a new episode is told.
    for product in ["A", "B"] {
        state.apply(5, batch(product, 13..=19));
    }
    let given = read(&mut reader, &state, ms(500));
    assert_eq!((given.len(), given.last().map(String::as_str)), (11, Some("rate_limited")));
}

#[test]
fn every_tick_or_an_end() {
    let (mut state, now) = (state(), Instant::now());
    let mut reader = Reader::new(&state, Policy::Lossless);
    reader.add(&state, instrument("A"), &Start::Now);
    state.apply(1, batch("A", 1..=8));
    assert_eq!(read(&mut reader, &state, now).len(), 8);
    state.apply(2, batch("A", 9..=17));
    let error = reader.read(&state, when(now), 100).unwrap_err();
    let Ended::FellBehind { after, .. } = error else { panic!("{error}") };
    assert_eq!(after, Some(Position { run: 0, sequence: 8 }));
}

#[test]
fn a_sequence_that_is_still_here_is_started_from() {
    let mut state = state();
    state.apply(1, batch("A", [10, 20, 30]));
    let now = Instant::now();
    let start = |from| {
        let mut reader = Reader::new(&state, conflate(1, Some((1, 1))));
        reader.add(&state, instrument("A"), &Start::Sequence(from));
        reader
    };
    // What is asked for is given whole, whatever the policy.
    assert_eq!(read_all(&mut start(10), &state, now), ["A:10+0", "A:20+0", "A:30+0", "live"]);
    assert_eq!(read_all(&mut start(20), &state, now), ["A:20+0", "A:30+0", "live"]);
    assert_eq!(read_all(&mut start(31), &state, now), ["live"]);
    // There is no history here.
    assert_eq!(read_all(&mut start(9), &state, now), ["not recovered A", "A@30=0", "live"]);
    // What is ahead of everything known is waited for, but not for ever.
    let mut ahead = start(1_000);
    assert!(read_all(&mut ahead, &state, now).is_empty());
    let later = now + Duration::from_secs(10);
    assert_eq!(read_all(&mut ahead, &state, later), ["not recovered A", "A@30=0", "live"]);
}

#[test]
fn a_time_that_memory_reaches_back_to_is_started_from() {
    let mut state = state();
    state.apply(1, batch("A", [10, 20, 30]));
    let now = Instant::now();
    let start = |time| {
        let mut reader = Reader::new(&state, Policy::default());
        reader.add(&state, instrument("A"), &Start::Time(UnixNanos::new(time)));
        reader
    };
    assert_eq!(read_all(&mut start(20), &state, now), ["A:20+0", "A:30+0", "live"]);
    assert_eq!(read_all(&mut start(40), &state, now), ["live"]);
    assert_eq!(read_all(&mut start(10), &state, now), ["not recovered A", "A@30=0", "live"]);
}

#[test]
fn a_hole_is_told_and_followed_by_the_full_state() {
    let (mut state, now) = (state(), Instant::now());
    state.apply(1, batch("A", [1]));
    for policy in [Policy::default(), Policy::Lossless] {
        let mut state = LiveState::new(Config::default());
        state.apply(1, batch("A", [1]));
        let mut reader = Reader::new(&state, policy);
        reader.add(&state, instrument("A"), &Start::Now);
        state.apply(2, batch("A", [2]));
        state.refill(Vec::new(), vec![(9, batch("A", [7, 8]))]);
        assert_eq!(read(&mut reader, &state, now), ["not recovered A", "A@8=0"]);
        let mut snapshot = Snapshot::clone(&state.snapshot(&instrument("A")).unwrap());
        snapshot.position.sequence = 20;
        state.refill(vec![snapshot], Vec::new());
        assert_eq!(read(&mut reader, &state, now), ["not recovered A", "A@20=0"]);
    }
    // A hole behind which nothing is missing is none.
    let mut reader = Reader::new(&state, Policy::Lossless);
    reader.add(&state, instrument("A"), &Start::Now);
    let mut snapshot = Snapshot::clone(&state.snapshot(&instrument("A")).unwrap());
    snapshot.position.sequence = 2;
    state.refill(vec![snapshot], Vec::new());
    assert_eq!(read(&mut reader, &state, now), ["not recovered A", "A@2=0"]);
}

#[test]
fn at_an_interval_the_newest_is_given() {
    let (mut state, start) = (state(), Instant::now());
    let interval = Some(Duration::from_secs(1));
    let policy = Policy::Conflate { behind_max: 100.try_into().unwrap(), rate: None, interval };
    let mut reader = Reader::new(&state, policy);
    for product in ["A", "B"] {
        reader.add(&state, instrument(product), &Start::Now);
    }
    state.apply(1, batch("A", [1]));
    assert_eq!(read(&mut reader, &state, start), ["A:1+0"]);
    state.apply(2, batch("A", [2, 3]));
    state.apply(2, batch("B", [5, 6]));
    let given = reader.read(&state, when(start + Duration::from_millis(600)), 10).unwrap();
    assert_eq!(given.deliveries.iter().map(brief).collect::<Vec<_>>(), ["B:6+1"]);
    assert_eq!(given.again, Some(start + Duration::from_secs(1)));
    assert_eq!(read(&mut reader, &state, start + Duration::from_secs(1)), ["A:3+1"]);
    state.apply(3, batch("B", [7]));
    assert!(read(&mut reader, &state, start + Duration::from_millis(1_500)).is_empty());
    assert_eq!(read(&mut reader, &state, start + Duration::from_millis(1_600)), ["B:7+0"]);
}

#[test]
fn a_token_is_of_what_was_given_and_of_its_history() {
    let (mut state, now) = (state(), Instant::now());
    let epoch = |n: i64| Epoch { history: "h".into(), ticks: UnixNanos::new(n) }.id();
    let mut reader = Reader::new(&state, Policy::default());
    reader.add(&state, instrument("A"), &Start::Snapshot);
    reader.add(&state, instrument("B"), &Start::Now);
    state.apply(1, batch("A", [1, 2]));
    assert_eq!(reader.token(&state), None, "nobody knows which history it is");
    state.set_epoch(Some(epoch(1)));
    assert_eq!(reader.token(&state), None, "whoever resumed with it would never see the state that is due");
    read(&mut reader, &state, now);
    let token = Token::parse(&reader.token(&state).unwrap()).unwrap();
    state.apply(2, batch("A", [3]));
    state.apply(2, batch("B", [7, 8]));
    state.apply(2, batch("C", [1]));
    let mut resumed = Reader::new(&state, Policy::default());
    for instrument in token.instruments() {
        resumed.add(&state, instrument.clone(), &Start::Token(token.clone()));
    }
    // It was not there when the token was made, and nobody can say what of it has come meanwhile.
    assert_eq!(read_all(&mut resumed, &state, now), ["A:3+0", "not recovered B", "B@8=0", "live"]);
    // One of a tick is of its product.
    let of_tick = Token::parse(&state.newest_tick(&instrument("A")).unwrap().token()).unwrap();
    let mut resumed = Reader::new(&state, Policy::default());
    resumed.add(&state, instrument("A"), &Start::Token(of_tick.clone()));
    resumed.add(&state, instrument("C"), &Start::Token(of_tick.clone()));
    assert_eq!(read_all(&mut resumed, &state, now), ["C@1=0", "live"]);
    state.set_epoch(Some(epoch(2)));
    let mut resumed = Reader::new(&state, Policy::default());
    resumed.add(&state, instrument("A"), &Start::Token(of_tick));
    assert_eq!(read_all(&mut resumed, &state, now), ["not recovered A", "A@3=0", "live"]);
}

#[test]
fn events_of_subscribed_products_are_given() {
    let mut state = LiveState::new(Config { events_max: 2.try_into().unwrap(), ..Config::default() });
    let now = Instant::now();
    state.apply_event(event("A"));
    let mut reader = Reader::new(&state, Policy::default());
    reader.add(&state, instrument("A"), &Start::Now);
    state.apply_event(event("A"));
    state.apply_event(event("B"));
    assert_eq!(read(&mut reader, &state, now), ["feed_state"]);
    (0..5).for_each(|_| state.apply_event(event("A")));
    assert_eq!(read(&mut reader, &state, now), ["skipped 3 events", "feed_state", "feed_state"]);
}

#[test]
fn a_busy_product_does_not_starve_the_others() {
    let (mut state, now) = (state(), Instant::now());
    let mut reader = Reader::new(&state, conflate(100, None));
    for product in ["A", "B"] {
        reader.add(&state, instrument(product), &Start::Now);
    }
    let mut given = Vec::new();
    for round in 0..4 {
        state.apply(1, batch("A", (round * 2 + 1)..=(round * 2 + 2)));
        state.apply(1, batch("B", [round + 1]));
        let read = reader.read(&state, when(now), 2).unwrap();
        given.extend(read.deliveries.iter().map(brief));
    }
    assert!(given.iter().filter(|brief| brief.starts_with('B')).count() >= 2, "{given:?}");
}
