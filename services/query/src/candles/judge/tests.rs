use domain::{Decimal, GapCause, GapState, Instrument};

use super::*;

const MINUTE: i64 = 60_000_000_000;
const NOW: i64 = 1_000 * MINUTE;

/// A candle of a minute with the trades `first` to `last`, less those that are missing.
fn candle(minute: i64, first: u64, last: u64, missing: u64) -> Candle {
    let start = UnixNanos::new(minute * MINUTE);
    let bar = Bar {
        tick_count: last - first + 1 - missing,
        open: Decimal::ONE,
        open_at: (UnixNanos::new(start.nanos() + 1), Some(first), Some(first)),
        close_at: (UnixNanos::new(start.nanos() + MINUTE - 1), Some(last), Some(last)),
        ..Bar::empty(start)
    };
    Candle { interval: Interval::OneMinute, bar, state: None, completeness: None }
}

fn gap(first: u64, last: u64, state: GapState, repaired_count: u64, minutes: (i64, i64)) -> Gap {
    Gap {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        run: 0,
        first_trade_id: first,
        last_trade_id: last,
        after: Some(UnixNanos::new(minutes.0 * MINUTE)),
        before: Some(UnixNanos::new(minutes.1 * MINUTE)),
        detected_at: UnixNanos::new(minutes.1 * MINUTE),
        cause: GapCause::Drop,
        state,
        repaired_count,
    }
}

fn trade(minute: i64, id: u64) -> Option<TradeAt> {
    Some(TradeAt { event_time: UnixNanos::new(minute * MINUTE + 7), trade_id: Some(id) })
}

fn evidence(before: Option<TradeAt>, after: Option<TradeAt>, gaps: Vec<Gap>) -> Evidence {
    Evidence { before, after, gaps, horizon: None, now: UnixNanos::new(NOW) }
}

/// Minute, state and expected trades of each candle.
fn told(candles: &[Candle], evidence: &Evidence) -> Vec<(i64, Option<CandleState>, Option<u64>)> {
    let window = TimeRange { from: UnixNanos::new(0), until: UnixNanos::new(2_000 * MINUTE) };
    let page = page(Interval::OneMinute, candles.to_vec(), window, Order::Ascending, 10_000, evidence);
    let told = |candle: Candle| {
        (candle.bar.start.nanos() / MINUTE, candle.state, candle.completeness.unwrap().expected_trades)
    };
    page.into_iter().map(told).collect()
}

const COMPLETE: Option<CandleState> = Some(CandleState::Complete);
const REPAIRED: Option<CandleState> = Some(CandleState::Repaired);
const INCOMPLETE: Option<CandleState> = Some(CandleState::Incomplete);
const EMPTY: Option<CandleState> = Some(CandleState::Empty);
const OPEN: Option<CandleState> = Some(CandleState::Open);

#[test]
fn consecutive_numbers_prove_that_nothing_is_missing() {
    let candles = [candle(10, 100, 110, 0), candle(11, 111, 111, 0), candle(14, 112, 120, 0)];
    let expected = [
        (10, COMPLETE, Some(11)),
        (11, COMPLETE, Some(1)),
        (12, EMPTY, Some(0)),
        (13, EMPTY, Some(0)),
        (14, COMPLETE, Some(9)),
    ];
    assert_eq!(told(&candles, &evidence(trade(9, 99), trade(15, 121), vec![])), expected);
    // What came before the first and after the last trade is not known.
    let unknown = told(&candles, &evidence(None, None, vec![]));
    assert_eq!(unknown[0], (10, None, None));
    assert_eq!(unknown[1..4], expected[1..4]);
    assert_eq!(unknown[4], (14, None, None));
    // An edge of the page that is proven to be empty.
    let edges = told(&candles[..1], &evidence(trade(7, 99), trade(13, 111), vec![]));
    assert_eq!(
        edges,
        [(8, EMPTY, Some(0)), (9, EMPTY, Some(0)), expected[0], (11, EMPTY, Some(0)), (12, EMPTY, Some(0))]
    );
    assert_eq!(
        told(&[], &evidence(trade(7, 99), trade(10, 100), vec![])),
        [(8, EMPTY, Some(0)), (9, EMPTY, Some(0))]
    );
    assert_eq!(told(&[], &evidence(trade(7, 99), trade(10, 101), vec![])), []);
    assert_eq!(told(&[], &evidence(trade(7, 99), None, vec![])), [], "a trade may yet turn up");
}

#[test]
fn missing_numbers_and_gaps_make_it_incomplete() {
    let open = GapState::Open;
    // Within, and between two candles, where nobody knows in which.
    let within = evidence(trade(9, 99), trade(11, 121), vec![gap(104, 105, open, 0, (10, 11))]);
    assert_eq!(told(&[candle(10, 100, 120, 2)], &within), [(10, INCOMPLETE, Some(21))]);
    assert_eq!(within.gaps.len(), 1);
    let between = [candle(10, 100, 110, 0), candle(12, 115, 120, 0)];
    let gaps = vec![gap(111, 114, open, 0, (10, 12))];
    let evidence_between = evidence(trade(9, 99), trade(13, 121), gaps);
    assert_eq!(told(&between, &evidence_between), [(10, INCOMPLETE, None), (12, INCOMPLETE, None)]);
    // Nobody recorded it, and the numbers say it all the same.
    let unrecorded = evidence(trade(9, 99), trade(13, 121), vec![]);
    assert_eq!(told(&between, &unrecorded), [(10, INCOMPLETE, None), (12, INCOMPLETE, None)]);
    // Heard of by a heartbeat: the newest candle may lack them.
    let newest = evidence(trade(9, 99), None, vec![gap(111, 112, open, 0, (10, 11))]);
    assert_eq!(told(&between[..1], &newest), [(10, INCOMPLETE, None)]);
    // Repaired for good.
    let repaired =
        evidence(trade(9, 99), trade(13, 121), vec![gap(111, 114, GapState::Repaired, 4, (10, 12))]);
    let whole = [candle(10, 100, 112, 0), candle(12, 113, 120, 0)];
    assert_eq!(
        told(&whole, &repaired),
        [(10, REPAIRED, Some(13)), (11, EMPTY, Some(0)), (12, REPAIRED, Some(8))]
    );
    // All that lay in this one were fetched; the others of the gap are not its own.
    let partly = evidence(trade(9, 99), trade(11, 113), vec![gap(111, 114, open, 2, (10, 12))]);
    assert_eq!(told(&whole[..1], &partly), [(10, REPAIRED, Some(13))]);
    let lost =
        evidence(trade(9, 99), trade(11, 121), vec![gap(104, 105, GapState::Unrepairable, 0, (10, 11))]);
    assert_eq!(told(&[candle(10, 100, 120, 2)], &lost), [(10, INCOMPLETE, Some(21))]);
}

#[test]
fn another_numbering_proves_nothing() {
    // The numbers begin anew in the second minute.
    let anew = [candle(10, 100, 110, 0), candle(12, 5, 9, 0), candle(13, 10, 20, 0)];
    let told_anew = told(&anew, &evidence(trade(9, 99), trade(14, 21), vec![]));
    assert_eq!(told_anew, [(10, None, None), (12, None, None), (13, COMPLETE, Some(11))]);
    // Gaps of the same numbers at another time.
    let gaps = vec![gap(12, 13, GapState::Open, 0, (1, 2))];
    assert_eq!(told(&anew, &evidence(trade(9, 99), trade(14, 21), gaps))[2], (13, COMPLETE, Some(11)));
    // More trades than the numbers allow.
    let mut twice = candle(10, 100, 110, 0);
    twice.bar.tick_count += 3;
    assert_eq!(told(&[twice], &evidence(trade(9, 99), trade(11, 111), vec![])), [(10, None, None)]);
    let mut anonymous = candle(10, 100, 110, 0);
    anonymous.bar.open_at.1 = None;
    assert_eq!(told(&[anonymous], &evidence(trade(9, 99), trade(11, 111), vec![])), [(10, None, None)]);
}

#[test]
fn an_interval_that_has_not_ended_is_open() {
    let now = NOW / MINUTE;
    let candles = [candle(now - 1, 1, 2, 0), candle(now, 3, 4, 0)];
    let late = evidence(None, trade(now + 3, 5), vec![]);
    assert_eq!(told(&candles, &late)[1], (now, OPEN, Some(2)));
    assert_eq!(told(&candles, &late).len(), 2, "nothing is proven of intervals to come");
}

#[test]
fn thousands_of_empty_intervals_are_as_many_as_asked_for() {
    let evidence = evidence(trade(1, 7), trade(900, 8), vec![]);
    let window = |from: i64, until: i64| TimeRange {
        from: UnixNanos::new(from * MINUTE),
        until: UnixNanos::new(until * MINUTE),
    };
    let minutes = |window, order, limit| -> Vec<i64> {
        let page = page(Interval::OneMinute, vec![], window, order, limit, &evidence);
        assert!(page.iter().all(|candle| candle.state == EMPTY && candle.bar.tick_count == 0));
        page.iter().map(|candle| candle.bar.start.nanos() / MINUTE).collect()
    };
    assert_eq!(minutes(window(0, 2_000), Order::Ascending, 3), [2, 3, 4]);
    assert_eq!(minutes(window(5, 2_000), Order::Ascending, 3), [5, 6, 7]);
    assert_eq!(minutes(window(0, 2_000), Order::Descending, 3), [899, 898, 897]);
    assert_eq!(minutes(window(0, 897), Order::Descending, 3), [896, 895, 894]);
    assert_eq!(minutes(window(0, 2_000), Order::Ascending, 5_000).len(), 898);
}
