use super::*;

#[test]
fn without_heartbeats_a_mute_feed_is_left_after_the_idle_timeout() {
    let mut bench = Bench::live();
    assert_eq!(bench.wait(29), []);
    assert_eq!(bench.session.silence(bench.now), Duration::from_secs(29));
    bench.handle(r#"{"type":"of_the_future"}"#);
    assert_eq!(bench.session.silence(bench.now), Duration::ZERO);
    assert_eq!(bench.wait(29), []);
    let mute = ReconnectReason::Mute(Duration::from_secs(30));
    assert_eq!(bench.wait(1), [Action::Reconnect(mute)]);
    assert!(!bench.session.is_live());
}

#[test]
fn with_heartbeats_a_mute_feed_is_left_after_three_of_them_also_on_the_next_connection() {
    let mut bench = Bench::beating();
    assert_eq!(bench.wait(2), []);
    let mute = Action::Reconnect(ReconnectReason::Mute(Duration::from_secs(3)));
    assert_eq!(bench.wait(1), std::slice::from_ref(&mute));
    bench.reopen();
    let confirmed = bench.handle(CONFIRMED);
    assert_eq!(confirmed, [Action::Confirmed], "live is what was heard");
    assert_eq!(bench.wait(2), []);
    assert_eq!(bench.wait(1), [mute]);
    bench.reopen();
    bench.handle(CONFIRMED);
    assert_eq!(states(&bench.beat("BTC-USD", 0)), [("BTC-USD".to_owned(), FeedState::Live)]);
    assert_eq!(states(&bench.trade("ETH-USD", 1)), [("ETH-USD".to_owned(), FeedState::Live)]);
}

#[test]
fn a_product_without_heartbeats_is_stale_and_joined_anew_while_the_others_flow() {
    let mut bench = Bench::beating();
    for _ in 0..2 {
        assert_eq!(bench.wait(1), []);
        bench.beat("BTC-USD", 0);
    }
    let actions = bench.wait(1);
    assert_eq!(requests(&actions), ["Unsubscribe ETH-USD", "Subscribe ETH-USD"]);
    assert_eq!(states(&actions), [("ETH-USD".to_owned(), FeedState::Stale)]);
    assert_eq!(bench.handle(&confirmation(&["BTC-USD"])), [], "the answer to the unsubscription");
    assert_eq!(bench.handle(CONFIRMED), [], "a confirmation alone is no sign of life");
    for _ in 0..9 {
        bench.beat("BTC-USD", 0);
        assert_eq!(bench.wait(1), []);
    }
    bench.beat("BTC-USD", 0);
    assert_eq!(requests(&bench.wait(1)), ["Unsubscribe ETH-USD", "Subscribe ETH-USD"], "another attempt");
    bench.handle(CONFIRMED);
    assert_eq!(states(&bench.beat("ETH-USD", 0)), [("ETH-USD".to_owned(), FeedState::Live)]);
}

#[test]
fn a_product_that_is_mute_from_the_start_is_found_as_well() {
    let mut bench = Bench::live();
    bench.now = bench.now.after(Duration::from_secs(20));
    bench.beat("BTC-USD", 0);
    for _ in 0..2 {
        assert_eq!(bench.wait(1), []);
        bench.beat("BTC-USD", 0);
    }
    assert_eq!(states(&bench.wait(1)), [("ETH-USD".to_owned(), FeedState::Stale)]);
}

#[test]
fn a_product_without_trades_is_healthy() {
    let mut bench = Bench::beating();
    for _ in 0..600 {
        assert_eq!(bench.wait(1), []);
        bench.beat("BTC-USD", 5);
        bench.beat("ETH-USD", 5);
    }
    assert_eq!(bench.state("ETH-USD"), FeedState::Live);
}

#[test]
fn time_in_which_nobody_listened_is_not_silence() {
    for mut bench in [Bench::new(), Bench::live(), Bench::beating()] {
        bench.now = bench.now.after(Duration::from_secs(60));
        bench.session.was_not_listened_to(Duration::from_secs(60));
        assert_eq!(bench.wait(2), []);
        assert_eq!(bench.session.silence(bench.now), Duration::from_secs(2));
        assert!(matches!(bench.wait(28).as_slice(), [Action::Reconnect(_)]));
    }
}

#[test]
fn setting_the_wall_clock_moves_no_deadline() {
    let mut bench = Bench::beating();
    bench.now.wall = bench.now.wall.saturating_add(Duration::from_secs(3_600));
    assert_eq!(bench.wait(1), []);
    bench.now.wall = bench.now.wall.saturating_sub(Duration::from_secs(7_200));
    assert_eq!(bench.wait(1), []);
    assert!(bench.session.is_live());
}

#[test]
fn without_the_channel_of_heartbeats_none_are_waited_for() {
    let mut bench = Bench::with(|config| config.channels = vec!["ticker".into()]);
    bench.handle(CONFIRMED);
    bench.beat("BTC-USD", 0);
    assert_eq!(bench.wait(20), []);
}
