use super::*;
use domain::RejectReason;

fn quarantined(actions: &[Action]) -> &RejectedTick {
    match actions {
        [Action::Quarantine(rejected)] => rejected,
        other => panic!("not one rejected frame: {other:?}"),
    }
}

#[test]
fn what_is_refused_is_kept_with_its_reason_and_an_identity_of_its_own() {
    let mut bench = Bench::live();
    let sound = ticker("BTC-USD", 6, 8, "2019-04-01T00:00:04.540000Z");
    let actions = bench.handle(&sound.replace("\"4095\"", "\"0.-10000\""));
    let first = quarantined(&actions);
    assert_eq!((first.reason, first.source.as_str()), (RejectReason::InvalidNumber, "ingestor/test"));
    assert_eq!(first.instrument.as_ref().unwrap().to_string(), "coinbase:BTC-USD");
    assert_eq!(first.time, bench.now.wall);
    assert_eq!(first.identity, "test-1/2");
    let actions = bench.handle(&sound.replace("BTC-USD", "DOGE-USD"));
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
fn a_heartbeat_that_cannot_be_read_is_kept_and_is_no_sign_of_life() {
    let mut bench = Bench::live();
    for (frame, reason) in [
        (r#"{"type":"heartbeat"}"#, RejectReason::MissingField),
        (
            r#"{"type":"heartbeat","last_trade_id":"7","product_id":"BTC-USD","time":"2026-07-07T22:58:18Z"}"#,
            RejectReason::InvalidNumber,
        ),
        (
            r#"{"type":"heartbeat","last_trade_id":7,"product_id":"BTC-USD","time":"now"}"#,
            RejectReason::ImplausibleTime,
        ),
        (
            r#"{"type":"heartbeat","last_trade_id":7,"product_id":"X","time":"2026-07-07T22:58:18Z"}"#,
            RejectReason::UnknownProduct,
        ),
    ] {
        assert_eq!(quarantined(&bench.handle(frame)).reason, reason, "{frame}");
    }
    assert_eq!(bench.wait(20), [], "heartbeats are not to be expected yet");
}

#[test]
fn what_is_not_a_tick_is_ignored_and_told_apart() {
    let mut bench = Bench::live();
    for (frame, kind) in [
        (r#"{"type":"match","price":"nonsense"}"#, FrameKind::Match),
        (r#"{"type":"l2update","time":"0001-01-01T00:00:00.000000Z"}"#, FrameKind::L2Update),
        (r#"{"type":"of_the_future"}"#, FrameKind::Unknown),
    ] {
        let mut actions = Vec::new();
        assert_eq!(bench.session.handle(frame.as_bytes(), bench.now, &mut actions), kind);
        assert_eq!(actions, []);
    }
}
