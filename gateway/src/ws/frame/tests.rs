use domain::{EventKind, FeedState, Gap, GapCause, GapState, Instrument, Position, TickFlags, parse_number};
use serde_json::Value;

use super::*;
use crate::ws::refusal::Code;

fn quote(price: &str, size: Option<&str>) -> Option<Quote> {
    Some(Quote { price: parse_number(price).unwrap(), size: size.map(|size| parse_number(size).unwrap()) })
}

fn tick() -> Tick {
    Tick {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        run: 1,
        sequence: Some(24_370_129_318),
        event_time: UnixNanos::new(1_618_677_846_123_456_789),
        receive_time: UnixNanos::new(1_618_677_846_200_000_001),
        last_trade: Some(Trade {
            price: parse_number("61234.5600").unwrap(),
            size: parse_number("0.00000001").unwrap(),
            side: Some(domain::Side::Buy),
            trade_id: Some(158_000_000),
        }),
        best_bid: quote("61234.55", None),
        best_ask: quote("61234.57", Some("1.50")),
        day: Some(DayStats { open_24h: Some(parse_number("60000.1").unwrap()), ..DayStats::default() }),
        flags: TickFlags::default(),
    }
}

#[test]
fn a_tick_keeps_every_digit() {
    assert_eq!(
        incr(&tick(), "", Numbers::Number),
        concat!(
            r#"{"op":"incr","data":{"v":1,"type":"tick","product":"BTC-USD","seq":24370129318,"#,
            r#""ts_event":1618677846123456789,"ts_ingest":1618677846200000001,"fields":{"#,
            r#""last_trade":{"px":61234.5600,"qty":0.00000001,"side":"buy","trade_id":158000000},"#,
            r#""best_bid":{"px":61234.55,"qty":null},"best_ask":{"px":61234.57,"qty":1.50},"#,
            r#""day":{"open_24h":60000.1}},"venue":"coinbase","run":1}}"#
        )
    );
    let strings: Value = serde_json::from_str(&incr(&tick(), "", Numbers::Text)).unwrap();
    assert_eq!(strings["data"]["fields"]["last_trade"]["px"], "61234.5600");
    assert_eq!(strings["data"]["ts_event"], "1618677846123456789");
    assert_eq!(strings["data"]["seq"], 24_370_129_318_u64);
}

#[test]
fn what_a_tick_leaves_out_is_left_out() {
    let bare = Tick { last_trade: None, best_bid: None, day: None, ..tick() };
    let frame: Value = serde_json::from_str(&incr(&bare, "", Numbers::Number)).unwrap();
    let fields: Vec<&String> = frame["data"]["fields"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["best_ask"]);
}

#[test]
fn skipped_ticks_are_counted_beside_the_original_members() {
    let frame = with_skipped(&incr(&tick(), "", Numbers::Number), 17);
    let frame: Value = serde_json::from_str(&frame).unwrap();
    assert_eq!((frame["data"]["skipped"].as_u64(), frame["data"]["run"].as_u64()), (Some(17), Some(1)));
}

#[test]
fn a_token_stands_beside_the_original_members() {
    let frame: Value = serde_json::from_str(&incr(&tick(), "AQ-_", Numbers::Number)).unwrap();
    assert_eq!(frame["data"]["token"], "AQ-_");
    let full = Snapshot::first(&tick()).unwrap();
    let frame: Value = serde_json::from_str(&snapshot(&full, "AQ", Numbers::Text)).unwrap();
    assert_eq!(frame["data"]["token"], "AQ");
}

#[test]
fn a_snapshot_never_invents_a_price() {
    let empty = Snapshot {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        position: Position::default(),
        snapshot_time: UnixNanos::new(1_700_000_000_000_000_000),
        state: domain::MarketState::default(),
    };
    assert_eq!(
        snapshot(&empty, "", Numbers::Number),
        concat!(
            r#"{"op":"snapshot","data":{"v":1,"type":"snapshot","product":"BTC-USD","seq":0,"#,
            r#""ts_snapshot":1700000000000000000,"state":{"last_trade":null,"best_bid":null,"best_ask":null,"#,
            r#""last_seq":null,"last_update":null},"venue":"coinbase","run":0}}"#
        )
    );
}

#[test]
fn a_snapshot_tells_when_each_group_was_said() {
    let full = Snapshot::first(&tick()).unwrap();
    let frame = snapshot(&full, "", Numbers::Number);
    assert!(frame.contains(r#""last_trade":{"px":61234.5600,"qty":0.00000001,"ts":1618677846123456789,"#));
    let frame: Value = serde_json::from_str(&frame).unwrap();
    let state = &frame["data"]["state"];
    assert_eq!(state["last_seq"], 24_370_129_318_u64);
    assert_eq!(state["last_update"], 1_618_677_846_123_456_789_u64);
    assert_eq!(state["best_bid"]["ts"], 1_618_677_846_123_456_789_u64);
    assert_eq!(frame["data"]["ts_snapshot"], 1_618_677_846_200_000_001_u64);
}

#[test]
fn small_frames_are_json_whatever_is_in_them() {
    let refusal = Refusal::new(Code::InvalidJson, "a \"quote\",\na line and \u{1}");
    let frame: Value = serde_json::from_str(&error(&refusal)).unwrap();
    assert_eq!(
        (frame["code"].as_str(), frame["msg"].as_str()),
        (Some("INVALID_JSON"), Some(&*refusal.message))
    );
    assert_eq!(rate_limit(10), r#"{"op":"rate_limit","retry_ms":10}"#);
    assert_eq!(pong("1.50"), r#"{"op":"pong","t":1.50}"#);
    let about = Instrument::new("coinbase", "BTC-USD").unwrap();
    let told = event("not_recovered", Some(&about), [("detail", "a \"reason\"".into())]);
    assert_eq!(
        told,
        concat!(
            r#"{"op":"event","data":{"v":1,"type":"not_recovered","product":"BTC-USD","venue":"coinbase","#,
            r#""detail":"a \"reason\""}}"#
        )
    );
    assert_eq!(event("live", None, []), r#"{"op":"event","data":{"v":1,"type":"live"}}"#);
}

#[test]
fn events_say_what_happened() {
    let event = |kind| FeedEvent {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        time: UnixNanos::new(5),
        source: "test".into(),
        kind,
    };
    let stale = feed_event(&event(EventKind::FeedState(FeedState::BackingOff)), Numbers::Number);
    let stale: Value = serde_json::from_str(&stale).unwrap();
    assert_eq!(
        (stale["op"].as_str(), stale["data"]["type"].as_str()),
        (Some("event"), Some("feed_backing_off"))
    );
    let gap = EventKind::Gap(Gap {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        run: 0,
        first_trade_id: 3,
        last_trade_id: 9,
        after: None,
        before: None,
        detected_at: UnixNanos::new(5),
        cause: GapCause::Disconnect,
        state: GapState::Open,
        repaired_count: 0,
    });
    let gap: Value = serde_json::from_str(&feed_event(&event(gap), Numbers::Number)).unwrap();
    assert_eq!((gap["data"]["type"].as_str(), gap["data"]["last_trade_id"].as_u64()), (Some("gap"), Some(9)));
}
