//! Each way in which a report can be wrong has a name: rejected ticks, gaps, events, statuses.

use domain::{EventKind, FeedEvent, FeedState, Gap, InvalidNumber, RejectedTick, RoleStatus};
use prost_types::Duration;
use proto::{
    InvalidDecimal, InvalidEvent, InvalidGap, InvalidName, InvalidReject, InvalidStatus, InvalidTimestamp,
    TimeFault, v1, v1::feed_event::Kind,
};

use crate::{faults::changed, samples};

const MISSING: TimeFault = TimeFault::Missing;

fn reject_fault(change: impl FnOnce(&mut v1::RejectedTick)) -> InvalidReject {
    RejectedTick::try_from(changed(v1::RejectedTick::from(&samples::reject()), change)).unwrap_err()
}

fn gap_fault(change: impl FnOnce(&mut v1::Gap)) -> InvalidGap {
    Gap::try_from(changed(v1::Gap::from(&samples::gap()), change)).unwrap_err()
}

fn event_fault(change: impl FnOnce(&mut v1::FeedEvent)) -> InvalidEvent {
    let event = samples::event(EventKind::FeedState(FeedState::Live));
    FeedEvent::try_from(changed(v1::FeedEvent::from(&event), change)).unwrap_err()
}

fn status_fault(change: impl FnOnce(&mut v1::RoleStatus)) -> InvalidStatus {
    RoleStatus::try_from(changed(v1::RoleStatus::from(&samples::status()), change)).unwrap_err()
}

#[test]
fn a_rejected_tick_without_its_parts() {
    assert_eq!(reject_fault(|reject| reject.venue.clear()), InvalidName::MissingVenue.into());
    assert_eq!(reject_fault(|reject| reject.product.clear()), InvalidName::MissingProduct.into());
    assert_eq!(reject_fault(|reject| reject.reason = 0), InvalidReject::UnknownReason(0));
    assert_eq!(reject_fault(|reject| reject.reason = 99), InvalidReject::UnknownReason(99));
    assert_eq!(reject_fault(|reject| reject.identity.clear()), InvalidReject::MissingIdentity);
    let missing = |field| InvalidTimestamp { field, fault: MISSING };
    assert_eq!(reject_fault(|reject| reject.reject_time = None), missing("reject_time").into());
    let bad_tick = |reject: &mut v1::RejectedTick| reject.tick.as_mut().unwrap().event_time = None;
    assert_eq!(reject_fault(bad_tick), InvalidReject::Tick(missing("event_time").into()));
}

#[test]
fn a_gap_without_its_parts() {
    assert_eq!(gap_fault(|gap| gap.venue.clear()), InvalidName::MissingVenue.into());
    assert_eq!(gap_fault(|gap| gap.cause = 0), InvalidGap::UnknownCause(0));
    assert_eq!(gap_fault(|gap| gap.state = 77), InvalidGap::UnknownState(77));
    let reversed = InvalidGap::Reversed { first: 157_901_230, last: 1 };
    assert_eq!(gap_fault(|gap| gap.last_trade_id = 1), reversed);
    let missing = InvalidTimestamp { field: "detect_time", fault: MISSING };
    assert_eq!(gap_fault(|gap| gap.detect_time = None), missing.into());
}

#[test]
fn an_event_without_its_parts() {
    assert_eq!(event_fault(|event| event.venue.clear()), InvalidName::MissingVenue.into());
    assert_eq!(event_fault(|event| event.kind = None), InvalidEvent::MissingKind);
    let details = EventKind::Product(samples::details());
    let mut event = v1::FeedEvent::from(&samples::event(details));
    if let Some(Kind::ProductDetails(details)) = &mut event.kind {
        details.base_increment = "1e-8".into();
    }
    let field = "product_details.base_increment";
    let source = InvalidNumber::Malformed("1e-8".into());
    assert_eq!(FeedEvent::try_from(event).unwrap_err(), InvalidDecimal { field, source }.into());
    for number in [0, 5, 9] {
        let fault = event_fault(|event| event.kind = Some(Kind::FeedState(number)));
        assert_eq!(fault, InvalidEvent::UnknownFeedState(number));
    }
    let missing = InvalidTimestamp { field: "detect_time", fault: MISSING };
    assert_eq!(event_fault(|event| event.detect_time = None), missing.into());
    let bad_gap = changed(v1::Gap::from(&samples::gap()), |gap| gap.cause = 0);
    let fault = event_fault(|event| event.kind = Some(Kind::Repaired(bad_gap)));
    assert_eq!(fault, InvalidEvent::Gap(InvalidGap::UnknownCause(0)));
    let other = changed(v1::Gap::from(&samples::gap()), |gap| gap.product = "ETH-USD".into());
    let fault = event_fault(|event| event.kind = Some(Kind::Gap(other)));
    assert!(matches!(fault, InvalidEvent::OtherInstrument { .. }));
}

#[test]
fn a_status_without_its_parts() {
    assert_eq!(status_fault(|status| status.role.clear()), InvalidStatus::MissingRole);
    assert_eq!(status_fault(|status| status.instance.clear()), InvalidStatus::MissingInstance);
    assert_eq!(status_fault(|status| status.feed_state = 9), InvalidStatus::UnknownFeedState(9));
    let unknown = status_fault(|status| status.product_states[0].feed_state = 0);
    assert_eq!(unknown, InvalidStatus::UnknownFeedState(0));
    let nameless = status_fault(|status| status.product_states[0].product.clear());
    assert_eq!(nameless, InvalidStatus::ProductState(InvalidName::MissingProduct));
    let no_product = |status: &mut v1::RoleStatus| status.progress[0].product.clear();
    assert_eq!(status_fault(no_product), InvalidStatus::Progress(InvalidName::MissingProduct));
    let far_shard = |status: &mut v1::RoleStatus| status.progress[0].shard = 65_536;
    assert_eq!(status_fault(far_shard), InvalidStatus::ShardOutOfRange(65_536));
    let negative = Some(Duration { seconds: -1, nanos: 0 });
    let expected = InvalidTimestamp { field: "heartbeat_age", fault: TimeFault::Negative };
    assert_eq!(status_fault(|status| status.heartbeat_age = negative), expected.into());
    let missing = |field| InvalidStatus::Time(InvalidTimestamp { field, fault: MISSING });
    assert_eq!(status_fault(|status| status.report_time = None), missing("report_time"));
    assert_eq!(status_fault(|status| status.progress[0].event_time = None), missing("progress.event_time"));
}
