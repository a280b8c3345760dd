use super::*;
use domain::{RejectReason, UnixNanos};

const TICKER: &str = r#"{"type":"ticker","sequence":8,"product_id":"BTC-USD","price":"4095","best_bid":"4094.99","best_ask":"4095","side":"buy","time":"2019-04-01T00:00:04.540000Z","trade_id":6,"last_size":"2.0"}"#;
const CONFIRMED: &str = r#"{"type":"subscriptions","channels":[
    {"name":"heartbeat","product_ids":["ETH-USD","BTC-USD"],"account_ids":null},
    {"name":"ticker","product_ids":["BTC-USD","ETH-USD"]}]}"#;
const REFUSED: &str =
    r#"{"type":"error","message":"Failed to subscribe","reason":"ETH-USD is not a valid product"}"#;

struct Bench {
    session: Session,
    now: Moment,
    opening: Vec<Action>,
}

impl Bench {
    fn with_channels(channels: &[&str]) -> Self {
        let config = SessionConfig {
            products: ["BTC-USD", "ETH-USD"].map(|name| Product::new(name).unwrap()).to_vec(),
            channels: channels.iter().map(|channel| (*channel).to_owned()).collect(),
            confirm_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            source: "ingestor/test".into(),
        };
        let wall = UnixNanos::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let now = Moment { wall, uptime: Duration::from_secs(1_000) };
        let feed = FeedSession { id: "test-1".into(), started: wall };
        let mut opening = Vec::new();
        let session = Session::open(&config, feed, now, &mut opening);
        Self { session, now, opening }
    }

    fn new() -> Self {
        Self::with_channels(&["ticker", "heartbeat"])
    }

    fn live() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.handle(CONFIRMED), [Action::Confirmed]);
        bench
    }

    fn handle(&mut self, frame: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        self.session.handle(frame.as_bytes(), self.now, &mut actions);
        actions
    }

    fn wait(&mut self, seconds: u64) -> Vec<Action> {
        self.now = self.now.after(Duration::from_secs(seconds));
        let mut actions = Vec::new();
        self.session.tick(self.now, &mut actions);
        actions
    }
}

fn quarantined(actions: &[Action]) -> &RejectedTick {
    match actions {
        [Action::Quarantine(rejected)] => rejected,
        other => panic!("not one rejected frame: {other:?}"),
    }
}

#[test]
fn subscribes_first_and_is_live_when_all_is_confirmed() {
    let mut bench = Bench::new();
    let [Action::Send(text)] = bench.opening.as_slice() else { panic!("{:?}", bench.opening) };
    let request = Request::parse(text).unwrap();
    assert_eq!(request.channels.len(), 2);
    assert!(!bench.session.is_live());
    let part =
        r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD","ETH-USD"]}]}"#;
    assert_eq!(bench.handle(part), []);
    assert_eq!(bench.handle(CONFIRMED), [Action::Confirmed]);
    assert_eq!(bench.handle(CONFIRMED), [], "it is said once");
    assert!(bench.session.is_live());
}

#[test]
fn other_names_of_a_channel_count() {
    let mut bench = Bench::with_channels(&["ticker", "level2_batch", "status"]);
    let both = r#"["BTC-USD","ETH-USD"]"#;
    let text = format!(
        r#"{{"type":"subscriptions","channels":[{{"name":"level2_50","product_ids":{both}}},
            {{"name":"ticker","product_ids":{both}}},{{"name":"status","product_ids":null}}]}}"#
    );
    assert_eq!(bench.handle(&text), [Action::Confirmed]);
    let mut bench = Bench::with_channels(&["level2_batch"]);
    let text = text.replace("level2_50", "level2_batch");
    assert_eq!(bench.handle(&text), [Action::Confirmed]);
}

#[test]
fn names_what_was_not_confirmed_in_time() {
    let mut bench = Bench::new();
    let part = r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD"]}]}"#;
    assert_eq!(bench.handle(part), []);
    assert_eq!(bench.wait(9), []);
    let missing = vec!["heartbeat".to_owned(), "ticker:ETH-USD".to_owned()];
    assert_eq!(bench.wait(1), [Action::Reconnect(ReconnectReason::NotConfirmed(missing))]);
    assert_eq!(bench.wait(100), [], "nothing more comes");
    assert_eq!(bench.handle(TICKER), [], "nothing more comes");
}

#[test]
fn a_mute_feed_is_left() {
    let mut bench = Bench::live();
    assert_eq!(bench.wait(29), []);
    assert_eq!(bench.session.silence(bench.now), Duration::from_secs(29));
    bench.handle(r#"{"type":"heartbeat"}"#);
    assert_eq!(bench.session.silence(bench.now), Duration::ZERO);
    assert_eq!(bench.wait(29), []);
    let mute = ReconnectReason::Mute(Duration::from_secs(30));
    assert_eq!(bench.wait(1), [Action::Reconnect(mute)]);
    assert!(!bench.session.is_live());
}

#[test]
fn time_in_which_nobody_listened_is_not_silence() {
    for mut bench in [Bench::new(), Bench::live()] {
        bench.now = bench.now.after(Duration::from_secs(60));
        bench.session.was_not_listened_to(Duration::from_secs(60));
        assert_eq!(bench.wait(9), []);
        assert_eq!(bench.session.silence(bench.now), Duration::from_secs(9));
        assert!(matches!(bench.wait(21).as_slice(), [Action::Reconnect(_)]));
    }
}

#[test]
fn setting_the_wall_clock_moves_no_deadline() {
    let mut bench = Bench::live();
    bench.now.wall = bench.now.wall.saturating_add(Duration::from_secs(3_600));
    assert_eq!(bench.wait(1), []);
    bench.now.wall = bench.now.wall.saturating_sub(Duration::from_secs(7_200));
    assert_eq!(bench.wait(1), []);
    assert!(bench.session.is_live());
}

#[test]
fn a_refused_subscription_ends_the_session_and_a_later_complaint_does_not() {
    let error = ErrorMessage {
        message: "Failed to subscribe".into(),
        reason: Some("ETH-USD is not a valid product".into()),
    };
    let mut bench = Bench::new();
    assert_eq!(bench.handle(REFUSED), [Action::Reconnect(ReconnectReason::Refused(error.clone()))]);
    let mut bench = Bench::live();
    assert_eq!(bench.handle(REFUSED), [Action::Report(error)]);
    assert!(bench.session.is_live());
}

#[test]
fn ticks_are_emitted_with_the_time_of_their_arrival_even_before_the_confirmation() {
    let mut bench = Bench::new();
    let actions = bench.handle(TICKER);
    let [Action::Emit(tick)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(tick.receive_time, bench.now.wall);
    assert_eq!((tick.sequence, tick.trade_id()), (Some(8), Some(6)));
}

#[test]
fn what_is_refused_is_kept_with_its_reason_and_an_identity_of_its_own() {
    let mut bench = Bench::live();
    let actions = bench.handle(&TICKER.replace("\"4095\"", "\"0.-10000\""));
    let first = quarantined(&actions);
    assert_eq!((first.reason, first.source.as_str()), (RejectReason::InvalidNumber, "ingestor/test"));
    assert_eq!(first.instrument.as_ref().unwrap().to_string(), "coinbase:BTC-USD");
    assert_eq!(first.time, bench.now.wall);
    assert_eq!(first.identity, "test-1/2");
    let actions = bench.handle(&TICKER.replace("BTC-USD", "DOGE-USD"));
    let second = quarantined(&actions);
    assert_eq!((second.reason, &second.instrument), (RejectReason::UnknownProduct, &None));
    assert_eq!(second.identity, "test-1/3");
    let long = format!("{{\"type\":\"ticker\",\"note\":\"{}", "x".repeat(100_000));
    let actions = bench.handle(&long);
    let third = quarantined(&actions);
    assert_eq!(third.reason, RejectReason::Undecodable);
    assert_eq!((third.raw.len(), third.raw_length), (64 * 1024, long.len() as u64));
}

#[test]
fn what_is_not_a_tick_is_ignored_and_told_apart() {
    let mut bench = Bench::live();
    for (frame, kind) in [
        (
            r#"{"type":"heartbeat","sequence":1,"last_trade_id":1,"product_id":"BTC-USD"}"#,
            FrameKind::Heartbeat,
        ),
        (r#"{"type":"match","price":"nonsense"}"#, FrameKind::Match),
        (r#"{"type":"l2update","time":"0001-01-01T00:00:00.000000Z"}"#, FrameKind::L2Update),
        (r#"{"type":"of_the_future"}"#, FrameKind::Unknown),
    ] {
        let mut actions = Vec::new();
        assert_eq!(bench.session.handle(frame.as_bytes(), bench.now, &mut actions), kind);
        assert_eq!(actions, []);
    }
}

#[test]
fn reasons_read_well() {
    let error = ErrorMessage { message: "no".into(), reason: None };
    assert!(ReconnectReason::Refused(error).to_string().ends_with("subscription: no"));
    let labels =
        [ReconnectReason::Mute(Duration::from_secs(3)), ReconnectReason::NotConfirmed(vec!["a".into()])];
    assert_eq!(labels.map(|reason| reason.as_str()), ["mute", "not_confirmed"]);
}
