use super::*;

fn code(frame: &str) -> (Code, String) {
    let refusal = Request::parse(frame).unwrap_err();
    (refusal.code, refusal.message)
}

fn these(names: &[&str]) -> Selection {
    Selection::These(names.iter().map(|name| Instrument::new("coinbase", name).unwrap()).collect())
}

#[test]
fn reads_what_the_original_clients_send() {
    let frame = r#"{"op":"subscribe","products":["BTC-USD"],"want_snapshot":true}"#;
    let Request::Subscribe(subscribe) = Request::parse(frame).unwrap() else { panic!("not a subscription") };
    assert_eq!(subscribe.selection, these(&["BTC-USD"]));
    assert_eq!((subscribe.start, subscribe.want_events), (Start::Snapshot, None));
    assert!(subscribe.want.is_none() && subscribe.from_seq.is_empty());
}

#[test]
fn accepts_aliases_blanks_and_lower_case() {
    let frame =
        r#"{"operation":"unsubscribe","products":[" btc-usd ","BTC-USD","eth-usd"],"id":{"any":[1]}}"#;
    assert_eq!(Request::parse(frame).unwrap(), Request::Unsubscribe(these(&["BTC-USD", "ETH-USD"])));
    assert_eq!(
        Request::parse(
            r#"{"op":"subscribe","products":["ada-usd"],"from_seq":{"Ada-Usd":18446744073709551615}}"#
        )
        .unwrap(),
        Request::Subscribe(Subscribe {
            selection: these(&["ADA-USD"]),
            start: Start::Now,
            want_events: None,
            want: None,
            from_seq: [(Instrument::new("coinbase", "ADA-USD").unwrap(), u64::MAX)].into(),
        })
    );
}

#[test]
fn a_ping_comes_back_to_the_last_digit() {
    for (frame, t) in [
        (r#"{"op":"ping","t":1234567890}"#, "1234567890"),
        (r#"{"op":"ping","timestamp":1718000000.1234567}"#, "1718000000.1234567"),
        (r#"{"op":"ping","t":123456789012345678901234567890}"#, "123456789012345678901234567890"),
        (r#"{"op":"ping"}"#, "null"),
    ] {
        assert_eq!(Request::parse(frame).unwrap(), Request::Ping(t.into()));
    }
    assert_eq!(code(r#"{"op":"ping","t":{"a":1}}"#).0, Code::PingError);
}

#[test]
fn star_is_every_product() {
    let parsed = Request::parse(r#"{"op":"unsubscribe","products":["*"]}"#).unwrap();
    assert_eq!(parsed, Request::Unsubscribe(Selection::All));
}

#[test]
fn the_policy_and_the_start_are_told() {
    let read = |more: &str| {
        let frame = format!(r#"{{"op":"subscribe","products":["BTC-USD"]{more}}}"#);
        let Request::Subscribe(subscribe) = Request::parse(&frame).unwrap() else {
            panic!("not a subscription")
        };
        subscribe
    };
    assert_eq!(read(r#","want":"lossless""#).want, Some(Want::Lossless));
    assert_eq!(read(r#","want":"conflate","want_events":false"#).want_events, Some(false));
    let interval = Want::Interval(Duration::from_millis(250));
    assert_eq!(read(r#","want":"interval","interval_ms":250"#).want, Some(interval));
    for time in ["1700000000123456789", r#""1700000000123456789""#] {
        let start = Start::Time(UnixNanos::new(1_700_000_000_123_456_789));
        assert_eq!(read(&format!(r#","from_time":{time}"#)).start, start);
    }
}

#[test]
fn garbage_is_no_token() {
    let long = "A".repeat(200_000);
    for token in ["1", "{}", r#""""#, r#""AQ""#, r#""not base64!""#, "\"\\u0041\"", &format!("{long:?}")] {
        let frame = format!(r#"{{"op":"subscribe","products":["*"],"token":{token}}}"#);
        let (said, message) = code(&frame);
        assert_eq!(said, Code::InvalidToken, "{token}");
        assert!(message.len() < 300, "{message}");
    }
}

#[test]
fn says_precisely_what_is_wrong() {
    for frame in ["", "{", "[]", "1", "null", r#""subscribe""#, "{\"op\":\"ping\"}x"] {
        assert_eq!(code(frame).0, Code::InvalidJson, "{frame}");
    }
    for frame in ["{}", r#"{"op":"buy"}"#, r#"{"op":1}"#, r#"{"op":null}"#, r#"{"op":["subscribe"]}"#] {
        assert_eq!(code(frame).0, Code::InvalidOperation, "{frame}");
    }
    for frame in [
        r#"{"op":"subscribe"}"#,
        r#"{"op":"subscribe","products":"BTC-USD"}"#,
        r#"{"op":"subscribe","products":[]}"#,
        r#"{"op":"subscribe","products":[1]}"#,
        r#"{"op":"subscribe","products":["BTC-USD"],"want_snapshot":"yes"}"#,
        r#"{"op":"subscribe","products":["BTC-USD"],"venue":"Coin Base"}"#,
        r#"{"op":"subscribe","products":["BTC-USD"],"from_seq":12}"#,
        r#"{"op":"subscribe","products":["BTC-USD"],"from_seq":{"BTC-USD":-1}}"#,
        r#"{"op":"subscribe","products":["BTC-USD"],"from_seq":{"ETH-USD":1}}"#,
        r#"{"op":"subscribe","products":["*"],"from_seq":{"BTC-USD":1}}"#,
        r#"{"op":"subscribe","products":["*"],"from_time":"yesterday"}"#,
        r#"{"op":"subscribe","products":["*"],"want":"everything"}"#,
        r#"{"op":"subscribe","products":["*"],"want":"interval"}"#,
        r#"{"op":"subscribe","products":["*"],"want":"interval","interval_ms":0}"#,
        r#"{"op":"subscribe","products":["*"],"want":"lossless","interval_ms":5}"#,
    ] {
        assert_eq!(code(frame).0, Code::SubscribeError, "{frame}");
    }
    let (said, message) = code(r#"{"op":"subscribe","products":["BTC-USD","<b>",""]}"#);
    assert_eq!(said, Code::SubscribeError);
    assert!(message.contains("<B>") && !message.contains("BTC-USD"), "{message}");
    assert_eq!(code(r#"{"op":"unsubscribe","products":["a b"]}"#).0, Code::UnsubscribeError);
    let long = format!(r#"{{"op":"subscribe","products":{:?}}}"#, vec!["a b"; 1_000]);
    assert!(code(&long).1.len() < 500);
    let deep = format!("{{\"op\":{}1{}}}", "[".repeat(30_000), "]".repeat(30_000));
    assert!(matches!(code(&deep).0, Code::InvalidJson | Code::InvalidOperation));
}
