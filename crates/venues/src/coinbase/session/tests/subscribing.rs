use super::*;

const REFUSED: &str =
    r#"{"type":"error","message":"Failed to subscribe","reason":"ETH-USD is not a valid product"}"#;

#[test]
fn subscribes_first_and_each_product_is_live_when_all_its_channels_are_confirmed() {
    let mut bench = Bench::new();
    assert_eq!(requests(&bench.opening), ["Subscribe BTC-USD ETH-USD"]);
    let part =
        r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD","ETH-USD"]}]}"#;
    assert_eq!(bench.handle(part), []);
    assert!(!bench.session.is_live());
    let actions = bench.handle(&confirmation(&["ETH-USD"]));
    assert_eq!(actions[0], Action::Confirmed);
    assert_eq!(states(&actions), [("ETH-USD".to_owned(), FeedState::Live)]);
    assert!(bench.session.is_live());
    assert_eq!(states(&bench.handle(CONFIRMED)), [("BTC-USD".to_owned(), FeedState::Live)]);
    assert_eq!(bench.handle(CONFIRMED), [], "it is said once");
}

#[test]
fn other_names_of_a_channel_count() {
    let channels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut bench = Bench::with(|config| config.channels = channels(&["ticker", "level2_batch", "status"]));
    let both = r#"["BTC-USD","ETH-USD"]"#;
    let text = format!(
        r#"{{"type":"subscriptions","channels":[{{"name":"level2_50","product_ids":{both}}},
            {{"name":"ticker","product_ids":{both}}},{{"name":"status","product_ids":null}}]}}"#
    );
    assert_eq!(states(&bench.handle(&text)).len(), 2);
    let mut bench = Bench::with(|config| config.channels = channels(&["level2_batch"]));
    assert_eq!(states(&bench.handle(&text.replace("level2_50", "level2_batch"))).len(), 2);
}

#[test]
fn names_what_was_not_confirmed_when_nothing_was() {
    let mut bench = Bench::new();
    let part = r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD"]}]}"#;
    assert_eq!(bench.handle(part), []);
    assert_eq!(bench.wait(9), []);
    let missing = vec!["heartbeat".to_owned(), "ticker:ETH-USD".to_owned()];
    assert_eq!(bench.wait(1), [Action::Reconnect(ReconnectReason::NotConfirmed(missing))]);
    assert_eq!(bench.wait(100), [], "nothing more comes");
    assert_eq!(bench.trade("BTC-USD", 6), [], "nothing more comes");
}

#[test]
fn a_product_that_is_missing_in_the_confirmation_is_retried_slowly_while_the_others_flow() {
    let mut bench = Bench::new();
    bench.handle(&confirmation(&["BTC-USD"]));
    let mut actions = bench.wait(10);
    assert_eq!(states(&actions), [("ETH-USD".to_owned(), FeedState::BackingOff)]);
    assert_eq!(bench.state("BTC-USD"), FeedState::Live);
    for delay in [60, 120, 240] {
        actions = Vec::new();
        for _ in 0..delay {
            assert_eq!(requests(&actions), [] as [&str; 0]);
            bench.trade("BTC-USD", 6);
            actions = bench.wait(1);
        }
        assert_eq!(requests(&actions), ["Subscribe ETH-USD"]);
        bench.handle(REFUSED);
        assert_eq!(bench.state("ETH-USD"), FeedState::BackingOff);
    }
    bench.session.config.idle_timeout = Duration::MAX;
    assert_eq!(requests(&bench.wait(480)), ["Subscribe ETH-USD"]);
    assert_eq!(states(&bench.handle(CONFIRMED)), [("ETH-USD".to_owned(), FeedState::Live)]);
}

#[test]
fn a_product_that_a_complaint_names_is_left_out_and_the_others_are_asked_for_again() {
    let mut bench = Bench::new();
    let actions = bench.handle(REFUSED);
    assert_eq!(states(&actions), [("ETH-USD".to_owned(), FeedState::BackingOff)]);
    assert!(actions.iter().any(|action| matches!(action, Action::Report(_))));
    assert_eq!(requests(&actions), ["Subscribe BTC-USD"]);
    bench.handle(&confirmation(&["BTC-USD"]));
    assert_eq!(bench.state("BTC-USD"), FeedState::Live);
    // A new connection does not begin with a request that would be refused as a whole.
    bench.reopen();
    assert_eq!(requests(&bench.opening), ["Subscribe BTC-USD"]);
    assert_eq!(bench.state("ETH-USD"), FeedState::BackingOff);
    bench.now = bench.now.after(Duration::from_secs(60));
    bench.reopen();
    assert_eq!(requests(&bench.opening), ["Subscribe BTC-USD ETH-USD"]);
}

#[test]
fn when_every_product_is_refused_there_is_nothing_to_connect_for_until_one_is_due() {
    let mut bench = Bench::new();
    bench.handle(&REFUSED.replace("ETH", "BTC"));
    let actions = bench.handle(REFUSED);
    assert!(matches!(actions.last(), Some(Action::Reconnect(ReconnectReason::Refused(_)))), "{actions:?}");
    assert_eq!(bench.session.rest(bench.now), Duration::from_secs(60));
    bench.now = bench.now.after(Duration::from_secs(59));
    assert_eq!(bench.session.rest(bench.now), Duration::from_secs(1));
    bench.set_products(&["BTC-USD", "ETH-USD", "ADA-USD"]);
    assert_eq!(bench.session.rest(bench.now), Duration::ZERO);
}

#[test]
fn a_complaint_that_names_no_product_ends_a_connection_that_has_nothing_confirmed() {
    let text = r#"{"type":"error","message":"Failed to subscribe"}"#;
    let error = ErrorMessage { message: "Failed to subscribe".into(), reason: None };
    assert_eq!(Bench::new().handle(text), [Action::Reconnect(ReconnectReason::Refused(error.clone()))]);
    let mut bench = Bench::live();
    assert_eq!(bench.handle(text), [Action::Report(error)]);
    let late = bench.handle(REFUSED);
    assert!(matches!(late.as_slice(), [Action::Report(_)]), "it flows, whatever the exchange says of it");
}

#[test]
fn a_subscription_that_the_exchange_drops_is_asked_for_again() {
    let mut bench = Bench::live();
    assert_eq!(requests(&bench.handle(&confirmation(&["BTC-USD"]))), ["Subscribe ETH-USD"]);
    bench.trade("BTC-USD", 1);
    assert_eq!(states(&bench.wait(10)), [("ETH-USD".to_owned(), FeedState::BackingOff)]);
}

#[test]
fn products_come_and_go_without_touching_the_others() {
    let mut bench = Bench::live();
    let actions = bench.set_products(&["BTC-USD", "ADA-USD"]);
    assert_eq!(requests(&actions), ["Unsubscribe ETH-USD", "Subscribe ADA-USD"]);
    assert_eq!(bench.trade("ETH-USD", 7), [], "what was still under way");
    assert!(matches!(bench.trade("BTC-USD", 7).as_slice(), [Action::Emit(_)]));
    let both = confirmation(&["BTC-USD", "ADA-USD"]);
    assert_eq!(states(&bench.handle(&both)), [("ADA-USD".to_owned(), FeedState::Live)]);
    let actions = bench.set_products(&["BTC-USD", "ADA-USD", "ETH-USD"]);
    assert_eq!(requests(&actions), ["Subscribe ETH-USD"], "it comes back");
    assert_eq!(bench.set_products(&["BTC-USD", "ADA-USD", "ETH-USD"]), []);
}

#[test]
fn reasons_read_well() {
    let error = ErrorMessage { message: "no".into(), reason: None };
    assert!(ReconnectReason::Refused(error).to_string().ends_with("subscription: no"));
    let labels =
        [ReconnectReason::Mute(Duration::from_secs(3)), ReconnectReason::NotConfirmed(vec!["a".into()])];
    assert_eq!(labels.map(|reason| reason.as_str()), ["mute", "not_confirmed"]);
}
