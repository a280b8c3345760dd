//! From a frame to a message, in one pass over the JSON.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::FRAME_BYTES_MAX;
use super::fault::{FrameFault, clip};
use super::field::Field;
use super::kind::FrameKind;
use super::message::{ErrorMessage, HeartbeatMessage, Outline, RawError, Subscriptions, TickerMessage};
use super::scan;

/// A frame that could be read. Numbers and times of a ticker are not checked yet.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "tickers are what matters; boxing would allocate for each")]
pub enum Message<'a> {
    /// A ticker.
    Ticker(TickerMessage<'a>),
    /// A heartbeat.
    Heartbeat(HeartbeatMessage<'a>),
    /// The answer to a subscription.
    Subscriptions(Subscriptions),
    /// A complaint.
    Error(ErrorMessage),
    /// Something else that is sound JSON, of a known or unknown type.
    Ignored(FrameKind),
}

impl Message<'_> {
    /// What type it is of.
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Ticker(_) => FrameKind::Ticker,
            Self::Heartbeat(_) => FrameKind::Heartbeat,
            Self::Subscriptions(_) => FrameKind::Subscriptions,
            Self::Error(_) => FrameKind::Error,
            Self::Ignored(kind) => *kind,
        }
    }
}

/// Reads one frame.
///
/// Where `type` is the first key, as the exchange writes it, the JSON is gone through once; otherwise twice.
pub fn parse(frame: &[u8]) -> Result<Message<'_>, FrameFault> {
    let text = checked_text(frame)?;
    let kind = match leading_type(text) {
        Some(name) => FrameKind::named(name),
        None => searched_type(text)?,
    };
    Ok(match kind {
        FrameKind::Ticker => Message::Ticker(match scan::ticker(text) {
            Some(ticker) => ticker,
            None => decode(text)?,
        }),
        FrameKind::Heartbeat => Message::Heartbeat(decode(text)?),
        FrameKind::Subscriptions => Message::Subscriptions(decode(text)?),
        FrameKind::Error => Message::Error(error_message(&decode(text)?)),
        other => {
            // Nothing of it is used, yet a frame that was cut off must not pass for a sound one.
            let IgnoredAny = decode(text)?;
            Message::Ignored(other)
        }
    })
}

/// Reads what every message has in common; `None` when the frame is no JSON object.
pub fn outline(frame: &[u8]) -> Option<Outline<'_>> {
    decode(checked_text(frame).ok()?).ok()
}

fn checked_text(frame: &[u8]) -> Result<&str, FrameFault> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(FrameFault::TooLong { length: frame.len() });
    }
    let text = std::str::from_utf8(frame)
        .map_err(|error| FrameFault::NotText { valid_up_to: error.valid_up_to() })?;
    // Otherwise an array would pass for a message whose fields come in the order of the struct.
    if trimmed(text).starts_with('{') { Ok(text) } else { Err(FrameFault::NotAnObject) }
}

fn decode<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FrameFault> {
    serde_json::from_str(text).map_err(|source| FrameFault::Undecodable { source })
}

/// The type of a frame that begins with `{"type":"…"`; `None` for any other, whatever it is.
fn leading_type(text: &str) -> Option<&str> {
    let rest = trimmed(text).strip_prefix('{')?;
    let rest = trimmed(rest).strip_prefix("\"type\"")?;
    let rest = trimmed(rest).strip_prefix(':')?;
    let value = trimmed(rest).strip_prefix('"')?;
    let (name, _) = value.split_at_checked(value.find(['"', '\\'])?)?;
    // A name with an escape is left to the parser.
    value.get(name.len()..)?.starts_with('"').then_some(name)
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Field<'a>,
}

fn searched_type(text: &str) -> Result<FrameKind, FrameFault> {
    let typed: Typed<'_> = decode(text)?;
    typed.kind.required_text("type").map(FrameKind::named)
}

fn error_message(raw: &RawError<'_>) -> ErrorMessage {
    let said = |field: &Field<'_>| match field {
        Field::Absent => None,
        Field::Text(text) => Some(text.chars().take(256).collect()),
        other => Some(clip(&other.describe())),
    };
    ErrorMessage { message: said(&raw.message).unwrap_or_default(), reason: said(&raw.reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::RejectReason;

    fn fault(frame: &[u8]) -> FrameFault {
        parse(frame).unwrap_err()
    }

    #[test]
    fn tells_the_types_apart() {
        for (frame, kind) in [
            (r#"{"type":"ticker"}"#, FrameKind::Ticker),
            (" {\n\t\"type\" : \"heartbeat\" }", FrameKind::Heartbeat),
            (r#"{"type":"subscriptions","channels":[]}"#, FrameKind::Subscriptions),
            (r#"{"message":"no","type":"error"}"#, FrameKind::Error),
            (r#"{"product_id":"BAT-USDC","type":"snapshot","bids":[["0.2","1"]]}"#, FrameKind::Snapshot),
            (r#"{"type":"last_\u006datch"}"#, FrameKind::LastMatch),
            (r#"{"type":"brand_new","price":{"amount":1}}"#, FrameKind::Unknown),
            (r#"{"type":"malformed"}"#, FrameKind::Unknown),
        ] {
            assert_eq!(parse(frame.as_bytes()).unwrap().kind(), kind, "{frame}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        assert!(matches!(fault(b""), FrameFault::NotAnObject));
        assert!(matches!(fault(b"[\"ticker\",1]"), FrameFault::NotAnObject));
        assert!(matches!(fault(b"{\"type\":\"ti\xff"), FrameFault::NotText { valid_up_to: 11 }));
        assert!(matches!(fault(b"{}"), FrameFault::Missing { field: "type" }));
        assert!(matches!(fault(b"{\"type\":7}"), FrameFault::WrongType { field: "type", .. }));
        let cut = fault(b"{\"type\":\"l2update\",\"changes\":[[\"buy\",\"1");
        assert_eq!(cut.reason(), RejectReason::Undecodable);
        assert!(cut.detail().contains("column"), "{}", cut.detail());
        let twice = fault(b"{\"type\":\"ticker\",\"price\":\"1\",\"price\":\"2\"}");
        assert!(twice.detail().contains("price"), "{}", twice.detail());
        let long = vec![b' '; FRAME_BYTES_MAX + 1];
        assert!(matches!(fault(&long), FrameFault::TooLong { .. }));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = |kind: &str| format!("{{\"type\":\"{kind}\",\"price\":{}", "[".repeat(2_000_000));
        assert!(matches!(fault(deep("ticker").as_bytes()), FrameFault::Undecodable { .. }));
        assert!(matches!(fault(deep("status").as_bytes()), FrameFault::Undecodable { .. }));
    }

    #[test]
    fn reads_complaints() {
        let said = |frame: &str| match parse(frame.as_bytes()).unwrap() {
            Message::Error(error) => error,
            other => panic!("{other:?}"),
        };
        let frame = r#"{"type":"error","message":"Failed to subscribe","reason":"X is not a valid product"}"#;
        let error = said(frame);
        assert_eq!(error.message, "Failed to subscribe");
        assert_eq!(error.reason.as_deref(), Some("X is not a valid product"));
        assert_eq!(said(r#"{"type":"error"}"#), ErrorMessage::default());
        assert_eq!(said(r#"{"type":"error","message":[1]}"#).message, "an array");
    }

    #[test]
    fn outlines_any_message() {
        let frame =
            br#"{"type":"match","product_id":"BTC-USD","sequence":9,"trade_id":4,"time":"t","size":"1"}"#;
        let outline = outline(frame).unwrap();
        assert_eq!(outline.product_id.text(), Some("BTC-USD"));
        assert_eq!((outline.sequence.integer(), outline.trade_id.integer()), (Some(9), Some(4)));
        assert!(super::outline(b"nonsense").is_none());
    }
}
