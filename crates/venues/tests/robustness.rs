//! Whatever arrives: no panic, no frame without a kind, and what is refused is refused with a reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use domain::{FeedSession, Product, UnixNanos};
use proptest::prelude::*;
use venues::Moment;
use venues::coinbase::rest::{GapFetch, check_status, parse_products, parse_trades};
use venues::coinbase::{Action, FrameKind, Session, SessionConfig};

/// Real frames of every form, to be damaged.
const FRAMES: [&str; 8] = [
    r#"{"type":"ticker","sequence":333938798,"product_id":"BAND-GBP","price":"14.7775","open_24h":"14.6647","volume_24h":"94381.28000000","low_24h":"14.3691","high_24h":"16.55","volume_30d":"2295579.57000000","best_bid":"14.7550","best_ask":"14.8060","side":"buy","time":"2021-04-17T16:43:30.244075Z","trade_id":881613,"last_size":"0.04"}"#,
    r#"{"type":"ticker","sequence":50978628538,"product_id":"BTC-USD","price":"17165.16","open_24h":"16437.94","volume_24h":"42492.05081975","low_24h":"16423.37","high_24h":"17259.37","volume_30d":"1093827.95195495","best_bid":"17165.15","best_bid_size":"0.61540890","best_ask":"17167.76","best_ask_size":"0.18528568","side":"sell","time":"2022-12-01T00:00:00.122581Z","trade_id":463751434,"last_size":"0.05"}"#,
    r#"{"type":"heartbeat","last_trade_id":1052119293,"product_id":"BTC-USD","sequence":132235026653,"time":"2026-07-07T22:58:18.000000Z"}"#,
    r#"{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["BTC-USD","BAND-GBP"],"account_ids":null},{"name":"heartbeat","product_ids":["BTC-USD","BAND-GBP"]}]}"#,
    r#"{"type":"error","message":"Failed to subscribe","reason":"X is not a valid product"}"#,
    r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","9202.70","0.58667860"],["sell","9222.39","0.00459825"]],"time":"0001-01-01T00:00:00.000000Z"}"#,
    r#"{"product_id":"BAT-USDC","type":"snapshot","bids":[["0.247175","5299"]],"asks":[["0.257175","12"]]}"#,
    r#"{"type":"last_match","trade_id":82007,"side":"buy","size":"1008.2","price":"0.5752","product_id":"BTC-USD","sequence":27883326,"time":"2021-04-17T16:43:29.571587Z"}"#,
];

fn handle(frame: &[u8]) -> (FrameKind, Vec<Action>) {
    let now = Moment { wall: UnixNanos::new(1_800_000_000_000_000_000), uptime: Duration::from_secs(5) };
    let config = SessionConfig {
        products: ["BTC-USD", "BAND-GBP"].map(|name| Product::new(name).unwrap()).to_vec(),
        ..SessionConfig::default()
    };
    let feed = FeedSession { id: "test-1".into(), started: now.wall };
    let mut session = Session::open(&config, feed, now, &mut Vec::new());
    let mut actions = Vec::new();
    let kind = session.handle(frame, now, &mut actions);
    (kind, actions)
}

/// The laws of one frame: at most one tick or record; a ticker becomes one of the two, a malformed frame a record, a
/// heartbeat nothing or a record, and nothing else becomes either.
fn check(frame: &[u8]) -> Result<(), TestCaseError> {
    let (kind, actions) = handle(frame);
    let is_kept = |action: &&Action| matches!(action, Action::Emit(_) | Action::Quarantine(_));
    let kept: Vec<&Action> = actions.iter().filter(is_kept).collect();
    prop_assert!(kept.len() <= 1);
    let expected = match kind {
        FrameKind::Ticker | FrameKind::Malformed => true,
        FrameKind::Heartbeat => !kept.is_empty(),
        _ => false,
    };
    prop_assert_eq!(!kept.is_empty(), expected, "{:?}", &actions);
    if let Some(Action::Quarantine(rejected)) = kept.first() {
        prop_assert!(!rejected.detail.is_empty());
        prop_assert!(rejected.detail.chars().count() <= 500);
        prop_assert_eq!(rejected.raw_length, frame.len() as u64);
        prop_assert!(frame.starts_with(&rejected.raw));
    }
    Ok(())
}

/// Answers of REST, to be damaged.
const ANSWERS: [&str; 3] = [
    r#"[{"time":"2026-07-07T22:58:18.123456Z","trade_id":74,"price":"10.00000000","size":"0.01000000","side":"buy"},{"time":"2026-07-07T22:58:18Z","trade_id":73,"price":"10","size":"1","side":"sell"}]"#,
    r#"[{"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","quote_increment":"0.01","base_increment":"0.00000001","display_name":"BTC/USD","status":"online","post_only":false}]"#,
    r#"{"message":"NotFound"}"#,
];

/// The laws of one answer: it is read or refused with a reason; what was read of a page fills a gap or is out of order.
fn check_answer(body: &[u8]) -> Result<(), TestCaseError> {
    let explained = |detail: String| !detail.is_empty() && detail.chars().count() <= 500;
    match parse_trades(body) {
        Ok(trades) => {
            let count = trades.len();
            let mut gap = GapFetch::new(1, 100);
            if let Ok(page) = gap.take(trades) {
                prop_assert!(page.trades.len() <= count);
            }
        }
        Err(fault) => prop_assert!(explained(fault.detail())),
    }
    match parse_products(body) {
        Ok(list) => prop_assert!(list.faults.iter().all(|fault| explained(fault.detail()))),
        Err(fault) => prop_assert!(explained(fault.detail())),
    }
    prop_assert!(explained(check_status(500, body).unwrap_err().detail()));
    Ok(())
}

/// One damage: at a place, overwrite, insert, delete, cut off, or repeat a part.
fn damaged(mut frame: Vec<u8>, damages: &[(u8, prop::sample::Index, Vec<u8>)]) -> Vec<u8> {
    for (how, place, bytes) in damages {
        if frame.is_empty() {
            break;
        }
        let at = place.index(frame.len());
        let end = at.saturating_add(bytes.len()).min(frame.len());
        match how % 5 {
            0 => drop(frame.splice(at..end, bytes.iter().copied())),
            1 => drop(frame.splice(at..at, bytes.iter().copied())),
            2 => drop(frame.drain(at..end)),
            3 => frame.truncate(at),
            _ => {
                let part = frame[at..end].to_vec();
                frame.splice(at..at, part);
            }
        }
    }
    frame
}

/// Bytes that mean something to a parser, and any others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![prop::sample::select(b"{}[]\",:\\u0123456789.-eEntf \x00\xff\xc3".to_vec()), any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes(frame in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&frame)?;
    }

    #[test]
    fn random_json_like_text(frame in prop::collection::vec(byte(), 0..200)) {
        check(&frame)?;
        check(&[b"{\"type\":\"ticker\",".as_slice(), frame.as_slice()].concat())?;
    }

    #[test]
    fn damaged_real_frames(
        frame in prop::sample::select(FRAMES.to_vec()),
        damages in prop::collection::vec(
            (any::<u8>(), any::<prop::sample::Index>(), prop::collection::vec(byte(), 1..6)),
            0..4,
        ),
    ) {
        check(&damaged(frame.as_bytes().to_vec(), &damages))?;
    }

    #[test]
    fn random_answers(body in prop::collection::vec(byte(), 0..200)) {
        check_answer(&body)?;
        check_answer(&[b"[{\"trade_id\":".as_slice(), body.as_slice()].concat())?;
    }

    #[test]
    fn damaged_real_answers(
        answer in prop::sample::select(ANSWERS.to_vec()),
        damages in prop::collection::vec(
            (any::<u8>(), any::<prop::sample::Index>(), prop::collection::vec(byte(), 1..6)),
            0..4,
        ),
    ) {
        check_answer(&damaged(answer.as_bytes().to_vec(), &damages))?;
    }

    /// Any value in any field of a trade: a trade, or a fault that names the field.
    #[test]
    fn any_value_in_any_field_of_a_trade(field in 0usize..5, value in any_json(3)) {
        let names = ["time", "trade_id", "price", "size", "side"];
        let mut page: serde_json::Value = serde_json::from_str(ANSWERS[0]).unwrap();
        page[0][names[field]] = value;
        if let Err(fault) = parse_trades(page.to_string().as_bytes()) {
            prop_assert!(fault.detail().contains(names[field]), "{}", fault.detail());
        }
    }

    /// Any value in any field of a ticker: a tick or a record that names the field.
    #[test]
    fn any_value_in_any_field(field in 0usize..16, value in any_json(3)) {
        let names = [
            "sequence", "product_id", "price", "open_24h", "volume_24h", "low_24h", "high_24h", "volume_30d",
            "best_bid", "best_bid_size", "best_ask", "best_ask_size", "side", "time", "trade_id", "last_size",
        ];
        let mut ticker: serde_json::Value = serde_json::from_str(FRAMES[1]).unwrap();
        ticker[names[field]] = value;
        let text = ticker.to_string();
        check(text.as_bytes())?;
        if let (_, actions) = handle(text.as_bytes())
            && let Some(Action::Quarantine(rejected)) = actions.first()
        {
            prop_assert!(rejected.detail.contains(names[field]), "{}", rejected.detail);
        }
    }

    /// Every decimal that can be held comes out as it went in.
    #[test]
    fn decimals_leave_as_they_came(mantissa in 1i64..i64::MAX, scale in 0u32..19) {
        let price = domain::Decimal::new(mantissa, scale).to_string();
        let text = FRAMES[1].replace("17165.16", &price);
        let (_, actions) = handle(text.as_bytes());
        let Some(Action::Emit(tick)) = actions.first() else { return Err(TestCaseError::fail("no tick")) };
        prop_assert_eq!(tick.last_trade.as_ref().unwrap().price.to_string(), price);
    }
}

fn any_json(depth: u32) -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9.eE+-]{0,12}".prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(".{0,4}", inner, 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}
