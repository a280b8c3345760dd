use super::*;
use crate::coinbase::{Message, parse};
use domain::{Product, RejectReason};

/// 2022: with book sizes.
const FULL: &str = r#"{"type":"ticker","sequence":50978628538,"product_id":"BTC-USD","price":"17165.16","open_24h":"16437.94","volume_24h":"42492.05081975","low_24h":"16423.37","high_24h":"17259.37","volume_30d":"1093827.95195495","best_bid":"17165.15","best_bid_size":"0.61540890","best_ask":"17167.76","best_ask_size":"0.18528568","side":"sell","time":"2022-12-01T00:00:00.122581Z","trade_id":463751434,"last_size":"0.05"}"#;

fn read(frame: &str) -> Result<Tick, FrameFault> {
    let instruments = Instruments::new(&[Product::new("BTC-USD").unwrap()]);
    match parse(frame.as_bytes())? {
        Message::Ticker(ticker) => ticker.to_tick(&instruments, UnixNanos::new(7)),
        other => panic!("{other:?}"),
    }
}

fn fault(from: &str, to: &str) -> FrameFault {
    assert!(FULL.contains(from), "{from}");
    read(&FULL.replacen(from, to, 1)).unwrap_err()
}

#[test]
fn takes_every_field_as_it_stands() {
    let tick = read(FULL).unwrap();
    let trade = tick.last_trade.unwrap();
    assert_eq!((trade.price.to_string(), trade.size.to_string()), ("17165.16".into(), "0.05".into()));
    assert_eq!((trade.side, trade.trade_id), (Some(Side::Sell), Some(463_751_434)));
    let (bid, ask) = (tick.best_bid.unwrap(), tick.best_ask.unwrap());
    assert_eq!(
        (bid.price.to_string(), bid.size.unwrap().to_string()),
        ("17165.15".into(), "0.61540890".into())
    );
    assert_eq!(
        (ask.price.to_string(), ask.size.unwrap().to_string()),
        ("17167.76".into(), "0.18528568".into())
    );
    let day = tick.day.unwrap();
    let texts = [day.open_24h, day.high_24h, day.low_24h, day.volume_24h, day.volume_30d]
        .map(|number| number.unwrap().to_string());
    assert_eq!(texts, ["16437.94", "17259.37", "16423.37", "42492.05081975", "1093827.95195495"]);
    assert_eq!((tick.sequence, tick.receive_time), (Some(50_978_628_538), UnixNanos::new(7)));
    assert_eq!(tick.event_time.to_string(), "2022-12-01T00:00:00.122581Z");
}

#[test]
fn what_the_exchange_leaves_out_stays_absent() {
    let bare = r#"{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"1","time":"2021-04-17T16:43:30Z","trade_id":2,"last_size":"3","side":null}"#;
    let tick = read(bare).unwrap();
    assert_eq!((tick.best_bid, tick.best_ask, tick.day), (None, None, None));
    assert_eq!(tick.last_trade.unwrap().side, None);
    let half = FULL.replace(r#""best_bid_size":"0.61540890","#, "");
    assert_eq!(read(&half).unwrap().best_bid.unwrap().size, None);
}

#[test]
fn names_the_field_that_is_missing() {
    for field in ["product_id", "sequence", "time", "price", "last_size", "trade_id"] {
        let quoted = format!("\"{field}\":");
        for name in [format!("\"_{field}\":"), format!("{quoted}null,\"_\":")] {
            let missing = fault(&quoted, &name);
            assert!(matches!(missing, FrameFault::Missing { field: named } if named == field), "{missing}");
            assert_eq!(missing.reason(), RejectReason::MissingField);
        }
    }
    let size_alone = fault("\"best_bid\":", "\"_\":");
    assert!(matches!(size_alone, FrameFault::Missing { field: "best_bid" }));
}

#[test]
fn numbers_are_plain_decimals_in_strings() {
    for field in ["price", "last_size", "best_bid", "best_ask_size", "open_24h", "volume_30d"] {
        for value in ["\"0.-10000\"", "\"\"", "\"1e5\"", "\"NaN\"", "17165.16", "17165", "[]", "true"] {
            let name = format!("\"{field}\":");
            let wrong = fault(&name, &format!("{name}{value},\"_\":"));
            assert_eq!(wrong.reason(), RejectReason::InvalidNumber, "{wrong}");
            assert!(wrong.detail().starts_with(&format!("{field} is ")), "{}", wrong.detail());
        }
    }
    for value in ["\"5\"", "-5", "5.0", "99999999999999999999"] {
        let wrong = fault("50978628538", value);
        assert_eq!(wrong.reason(), RejectReason::InvalidNumber, "{wrong}");
    }
    let deep = fault("17165.16", "0.12345678901234567890123456789012345");
    assert!(deep.detail().contains("28"), "{}", deep.detail());
}

#[test]
fn times_that_no_clock_showed_are_implausible() {
    for value in ["\"0001-01-01T00:00:00.000000Z\"", "\"yesterday\"", "\"\"", "1669852800", "{}"] {
        let wrong = fault("\"2022-12-01T00:00:00.122581Z\"", value);
        assert_eq!(wrong.reason(), RejectReason::ImplausibleTime, "{wrong}");
    }
}

#[test]
fn sides_and_products_are_known_ones() {
    assert_eq!(fault("\"sell\"", "\"sideways\"").reason(), RejectReason::Undecodable);
    let unknown = fault("BTC-USD", "ETH-USD");
    assert_eq!(unknown.reason(), RejectReason::UnknownProduct);
    assert!(unknown.detail().contains("ETH-USD"));
    assert_eq!(fault("\"BTC-USD\"", "7").reason(), RejectReason::Undecodable);
}

#[test]
fn an_explanation_has_an_end() {
    let wrong = fault("17165.16", &"9".repeat(100_000));
    assert!(wrong.detail().len() < 600);
}

#[test]
fn escapes_are_read() {
    let tick = read(&FULL.replace("BTC-USD", "BTC\\u002dUSD").replace("17165.16", "1716\\u0035.16")).unwrap();
    assert_eq!(tick.instrument.product.as_str(), "BTC-USD");
    assert_eq!(tick.last_trade.unwrap().price.to_string(), "17165.16");
}
