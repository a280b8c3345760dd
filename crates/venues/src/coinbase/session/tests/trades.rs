use super::*;

const EARLY: &str = "2019-04-01T00:00:04.540000Z";

fn overdue(actions: &[Action]) -> Vec<u64> {
    let told = actions.iter().filter_map(|action| match action {
        Action::Overdue(_, beat) => Some(beat.last_trade_id),
        _ => None,
    });
    told.collect()
}

#[test]
fn ticks_are_emitted_with_the_time_of_their_arrival_even_before_the_confirmation() {
    let mut bench = Bench::new();
    let actions = bench.trade("BTC-USD", 6);
    let [Action::Emit(tick)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(tick.receive_time, bench.now.wall);
    assert_eq!((tick.sequence, tick.trade_id()), (Some(6), Some(6)));
}

#[test]
fn the_first_ticker_after_subscribing_is_left_out_when_its_trade_was_emitted_already() {
    let mut bench = Bench::live();
    assert!(matches!(bench.trade("BTC-USD", 6).as_slice(), [Action::Emit(_)]));
    assert!(
        matches!(bench.trade("BTC-USD", 6).as_slice(), [Action::Emit(_)]),
        "not the first: not ours to judge"
    );
    bench.reopen();
    bench.handle(CONFIRMED);
    // The sequence of the repeated ticker need not be the old one.
    let again = ticker("BTC-USD", 6, 9, EARLY);
    assert!(
        matches!(bench.handle(&again).as_slice(), [Action::Known(instrument)] if instrument.product.as_str() == "BTC-USD")
    );
    assert!(matches!(bench.trade("BTC-USD", 7).as_slice(), [Action::Emit(_)]));
    bench.reopen();
    bench.handle(CONFIRMED);
    assert!(matches!(bench.trade("BTC-USD", 9).as_slice(), [Action::Emit(_)]), "a trade was missed");
    bench.reopen();
    bench.handle(CONFIRMED);
    let other_time = ticker("BTC-USD", 9, 9, "2019-04-02T00:00:00Z");
    assert!(
        matches!(bench.handle(&other_time).as_slice(), [Action::Emit(_)]),
        "another trade of that number"
    );
}

#[test]
fn a_trade_that_a_heartbeat_told_of_and_that_does_not_come_until_the_next_is_overdue() {
    let mut bench = Bench::live();
    bench.trade("BTC-USD", 6);
    assert_eq!(overdue(&bench.beat("BTC-USD", 6)), [] as [u64; 0]);
    assert_eq!(overdue(&bench.beat("BTC-USD", 8)), [] as [u64; 0], "it may be under way");
    bench.trade("BTC-USD", 7);
    bench.trade("BTC-USD", 8);
    assert_eq!(overdue(&bench.beat("BTC-USD", 9)), [] as [u64; 0], "it was");
    let told_at = bench.now.wall;
    bench.wait(1);
    let actions = bench.beat("BTC-USD", 11);
    let [Action::Overdue(instrument, beat)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!((instrument.product.as_str(), beat.last_trade_id, beat.time), ("BTC-USD", 9, told_at));
    assert_eq!(overdue(&bench.beat("BTC-USD", 11)), [11]);
    assert_eq!(overdue(&bench.beat("BTC-USD", 11)), [] as [u64; 0], "said once");
    bench.trade("BTC-USD", 11);
    assert_eq!(overdue(&bench.beat("BTC-USD", 11)), [] as [u64; 0]);
    assert_eq!(overdue(&bench.beat("ETH-USD", 3)), [] as [u64; 0]);
    assert_eq!(overdue(&bench.beat("ETH-USD", 3)), [3], "not one of its trades has come");
}

#[test]
fn what_was_told_on_one_connection_is_told_again_on_the_next() {
    let mut bench = Bench::live();
    bench.trade("BTC-USD", 6);
    bench.beat("BTC-USD", 8);
    assert_eq!(overdue(&bench.beat("BTC-USD", 8)), [8]);
    bench.reopen();
    bench.handle(CONFIRMED);
    assert_eq!(overdue(&bench.beat("BTC-USD", 8)), [] as [u64; 0]);
    assert_eq!(overdue(&bench.beat("BTC-USD", 8)), [8]);
}

#[test]
fn numbers_that_start_anew_are_followed_and_late_trades_are_not() {
    let mut bench = Bench::live();
    bench.trade("BTC-USD", 100);
    bench.trade("BTC-USD", 99);
    bench.beat("BTC-USD", 100);
    assert_eq!(overdue(&bench.beat("BTC-USD", 100)), [] as [u64; 0]);
    bench.handle(&ticker("BTC-USD", 5, 5, "2019-04-01T01:00:00Z"));
    bench.beat("BTC-USD", 7);
    assert_eq!(overdue(&bench.beat("BTC-USD", 7)), [7]);
}
