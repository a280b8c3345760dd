use super::*;
use domain::{EventKind, FeedState, RejectReason, UnixNanos};
use proptest::prelude::*;

fn subjects() -> Subjects {
    Subjects::new(&Prefix::default(), ShardCount::default())
}

fn coinbase(product: &str) -> Instrument {
    Instrument::new("coinbase", product).unwrap()
}

fn status(role: &str, instance: &str) -> RoleStatus {
    RoleStatus {
        role: role.into(),
        instance: instance.into(),
        time: UnixNanos::new(0),
        ready: true,
        feed_state: None,
        heartbeat_age: None,
        product_states: Vec::new(),
        progress: Vec::new(),
        backlog_messages: None,
        ticks: 0,
        rejected: 0,
        duplicates: 0,
    }
}

#[test]
fn the_shard_test_vector_stands_in_the_subjects() {
    let subjects = subjects();
    assert_eq!(subjects.raw(&coinbase("BTC-USD")), "lf.raw.2.coinbase.BTC-USD");
    assert_eq!(subjects.tick(&coinbase("ETH-USD")), "lf.tick.1.coinbase.ETH-USD");
    assert_eq!(subjects.raw_fill(&coinbase("ADA-USD")), "lf.rawfill.0.coinbase.ADA-USD");
    assert_eq!(subjects.fill(&coinbase("ADA-USD")), "lf.fill.0.coinbase.ADA-USD");
    assert_eq!(subjects.snapshot(&coinbase("BTC-USD")), "lf.snapshot.coinbase.BTC-USD");
}

#[test]
fn what_could_break_out_is_escaped() {
    let subjects = subjects();
    assert_eq!(subjects.snapshot(&coinbase("BTC/USD.x*")), "lf.snapshot.coinbase.BTC=2FUSD=2Ex=2A");
    assert_eq!(subjects.snapshot(&coinbase("_")), "lf.snapshot.coinbase.=5F");
    assert_eq!(subjects.status(&status("gateway", "host.local")), "lf.status.gateway.host=2Elocal");
}

#[test]
fn a_product_that_is_not_configured_is_an_underscore() {
    let mut reject = RejectedTick {
        instrument: None,
        tick: None,
        raw: Vec::new(),
        raw_length: 0,
        reason: RejectReason::UnknownProduct,
        detail: String::new(),
        source: String::new(),
        time: UnixNanos::new(0),
        identity: String::new(),
    };
    let subjects = subjects();
    assert_eq!(subjects.reject(&reject), "lf.reject.unknown_product._._");
    assert_eq!(
        subjects.parse("lf.reject.unknown_product._._"),
        Some(Parsed::Reject(RejectReason::UnknownProduct, None))
    );
    reject.instrument = Some(coinbase("_"));
    let subject = subjects.reject(&reject);
    assert_eq!(
        subjects.parse(&subject),
        Some(Parsed::Reject(RejectReason::UnknownProduct, Some(coinbase("_"))))
    );
}

#[test]
fn events_and_statuses_read_back() {
    let subjects = subjects();
    let event = FeedEvent {
        instrument: coinbase("BTC-USD"),
        time: UnixNanos::new(0),
        source: "test".into(),
        kind: EventKind::FeedState(FeedState::Live),
    };
    let subject = subjects.event(&event);
    assert_eq!(subject, "lf.event.feed_state.coinbase.BTC-USD");
    assert_eq!(subjects.parse(&subject), Some(Parsed::Event("feed_state".into(), coinbase("BTC-USD"))));
    let subject = subjects.status(&status("query", "a.b-1"));
    assert_eq!(subjects.parse(&subject), Some(Parsed::Status("query".into(), "a.b-1".into())));
}

#[test]
fn foreign_subjects_are_not_ours() {
    let subjects = subjects();
    for foreign in
        ["", "lf", "lf.", "lf.raw", "lf.raw.x.coinbase.BTC", "xx.raw.1.coinbase.BTC", "lf.raw.1.c.B.D"]
    {
        assert_eq!(subjects.parse(foreign), None, "{foreign}");
    }
    assert_eq!(subjects.parse("lf.snapshot.coinbase.BTC=Z"), None);
    assert_eq!(subjects.parse("lf.snapshot.coinbase.BTC=FF"), None);
}

#[test]
fn filters_match_by_token() {
    assert!(matches("lf.raw.2.>", "lf.raw.2.coinbase.BTC-USD"));
    assert!(matches("lf.raw.*.coinbase.*", "lf.raw.2.coinbase.BTC-USD"));
    assert!(matches("lf.raw", "lf.raw"));
    for (filter, subject) in [
        ("lf.raw.2.>", "lf.raw.2"),
        ("lf.raw.2.>", "lf.raw.21.coinbase.BTC-USD"),
        ("lf.raw.2.>", "lf.rawfill.2.coinbase.BTC-USD"),
        ("lf.raw.*", "lf.raw.2.coinbase"),
        ("lf.raw.2.coinbase", "lf.raw.2"),
    ] {
        assert!(!matches(filter, subject), "{filter} {subject}");
    }
}

proptest! {
    #[test]
    fn every_product_reads_back(name in "[!-~€ßЖ]{1,20}") {
        if let Ok(instrument) = Instrument::new("coinbase", &name) {
            let subjects = subjects();
            let shard = ShardCount::default().shard_of(&instrument).get();
            let subject = subjects.raw(&instrument);
            prop_assert!(subject.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-=.".contains(&byte)));
            prop_assert_eq!(subject.split('.').count(), 5);
            prop_assert_eq!(subjects.parse(&subject), Some(Parsed::Raw(shard, instrument)));
        }
    }
}
