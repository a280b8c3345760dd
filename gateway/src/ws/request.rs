//! What clients ask for. Unknown members of a request are ignored; known ones are checked precisely.

use std::collections::{BTreeSet, HashMap};

use domain::{Instrument, InvalidInstrument, Venue};
use serde_json::value::RawValue;

use super::refusal::{Code, Refusal};

/// How many faulty names an error repeats.
const NAMED_MAX: usize = 5;
/// What a client may put into the `t` of a ping.
const PING_BYTES_MAX: usize = 128;

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe(Subscribe),
    Unsubscribe(Selection),
    /// The JSON text to send back.
    Ping(String),
}

/// Which products.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    All,
    These(BTreeSet<Instrument>),
}

/// A subscription.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Subscribe {
    pub(crate) selection: Selection,
    pub(crate) want_snapshot: bool,
    pub(crate) want_events: bool,
    /// How the client is served; `None` leaves it as it is.
    pub(crate) want: Option<Want>,
    /// Where products start; empty unless asked for.
    pub(crate) from_seq: HashMap<Instrument, u64>,
}

/// What happens when ticks come faster than the client takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The newest tick per product.
    Conflate,
    /// Every tick.
    Lossless,
}

/// The members of a request as they came, so that each is judged by the operation that uses it.
type Members<'a> = HashMap<String, &'a RawValue>;

impl Request {
    /// Reads a frame.
    pub(crate) fn parse(frame: &str) -> Result<Self, Refusal> {
        let members: Members<'_> = serde_json::from_str(frame)
            .map_err(|error| Refusal::new(Code::InvalidJson, format!("not a JSON object: {error}")))?;
        let operation = members.get("op").or_else(|| members.get("operation"));
        let known = "subscribe, unsubscribe or ping";
        let Some(operation) = operation else {
            return Err(Refusal::new(Code::InvalidOperation, format!("op is missing: {known}")));
        };
        match serde_json::from_str::<&str>(operation.get()) {
            Ok("subscribe") => subscribe(&members).map(Self::Subscribe),
            Ok("unsubscribe") => selection(&members, Code::UnsubscribeError).map(Self::Unsubscribe),
            Ok("ping") => ping(&members).map(Self::Ping),
            _ => {
                let said = clip(operation.get());
                Err(Refusal::new(Code::InvalidOperation, format!("op is {said}, allowed: {known}")))
            }
        }
    }
}

fn subscribe(members: &Members<'_>) -> Result<Subscribe, Refusal> {
    let selection = selection(members, Code::SubscribeError)?;
    let from_seq = from_seq(members, &selection)?;
    Ok(Subscribe {
        selection,
        want_snapshot: flag(members, "want_snapshot")?,
        want_events: flag(members, "want_events")?,
        want: want(members)?,
        from_seq,
    })
}

fn selection(members: &Members<'_>, code: Code) -> Result<Selection, Refusal> {
    let refuse = |message: String| Refusal::new(code, message);
    let venue = venue(members, code)?;
    let Some(products) = members.get("products") else {
        return Err(refuse(
            r#"products is missing: a list of names, e.g. ["BTC-USD"], or ["*"] for all"#.into(),
        ));
    };
    let names: Vec<String> = serde_json::from_str(products.get())
        .map_err(|_| refuse(format!("products is {}, allowed: a list of names", clip(products.get()))))?;
    if names.is_empty() {
        return Err(refuse(r#"products is empty: name at least one, or "*" for all"#.into()));
    }
    if names.iter().any(|name| name.trim() == "*") {
        return Ok(Selection::All);
    }
    let (good, bad): (Vec<_>, Vec<_>) =
        names.iter().map(|name| instrument(&venue, name)).partition(Result::is_ok);
    if bad.is_empty() {
        return Ok(Selection::These(good.into_iter().filter_map(Result::ok).collect()));
    }
    let named: Vec<String> =
        bad.iter().take(NAMED_MAX).filter_map(|bad| bad.as_ref().err().map(ToString::to_string)).collect();
    let more = bad.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(refuse(format!("{}{more}", named.join("; "))))
}

fn instrument(venue: &Venue, name: &str) -> Result<Instrument, InvalidInstrument> {
    Instrument::new(venue.as_str(), &name.trim().to_uppercase())
}

fn venue(members: &Members<'_>, code: Code) -> Result<Venue, Refusal> {
    let Some(venue) = members.get("venue") else {
        return Ok(Venue::coinbase());
    };
    serde_json::from_str::<String>(venue.get()).ok().and_then(|name| Venue::new(name.trim()).ok()).ok_or_else(
        || Refusal::new(code, format!("venue is {}, allowed: a name like \"coinbase\"", clip(venue.get()))),
    )
}

fn from_seq(members: &Members<'_>, selection: &Selection) -> Result<HashMap<Instrument, u64>, Refusal> {
    let Some(from_seq) = members.get("from_seq").filter(|value| value.get() != "null") else {
        return Ok(HashMap::new());
    };
    let refuse = |message: String| Refusal::new(Code::SubscribeError, message);
    let starts: HashMap<String, u64> = serde_json::from_str(from_seq.get()).map_err(|_| {
        refuse(format!("from_seq is {}, allowed: a sequence for each product", clip(from_seq.get())))
    })?;
    let venue = venue(members, Code::SubscribeError)?;
    let mut read = HashMap::with_capacity(starts.len());
    for (name, sequence) in starts {
        let instrument = instrument(&venue, &name).map_err(|error| refuse(format!("from_seq: {error}")))?;
        let named = matches!(selection, Selection::These(instruments) if instruments.contains(&instrument));
        if !named {
            return Err(refuse(format!(
                "from_seq names {}, which products does not name",
                instrument.product
            )));
        }
        read.insert(instrument, sequence);
    }
    Ok(read)
}

fn flag(members: &Members<'_>, name: &str) -> Result<bool, Refusal> {
    match members.get(name).map(|value| value.get()) {
        None | Some("null" | "false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let message = format!("{name} is {}, allowed: true or false", clip(other));
            Err(Refusal::new(Code::SubscribeError, message))
        }
    }
}

fn want(members: &Members<'_>) -> Result<Option<Want>, Refusal> {
    match members.get("want").map(|value| value.get()) {
        None | Some("null") => Ok(None),
        Some(r#""conflate""#) => Ok(Some(Want::Conflate)),
        Some(r#""lossless""#) => Ok(Some(Want::Lossless)),
        Some(other) => {
            let message = format!(r#"want is {}, allowed: "conflate" or "lossless""#, clip(other));
            Err(Refusal::new(Code::SubscribeError, message))
        }
    }
}

/// `t` goes back as it came, so that a client finds its own number again to the last digit.
fn ping(members: &Members<'_>) -> Result<String, Refusal> {
    let Some(t) = members.get("t").or_else(|| members.get("timestamp")) else {
        return Ok("null".into());
    };
    let text = t.get();
    let scalar = !text.starts_with(['{', '[']) && text.len() <= PING_BYTES_MAX;
    scalar.then(|| text.to_owned()).ok_or_else(|| {
        Refusal::new(
            Code::PingError,
            format!("t is {}, allowed: a number of at most {PING_BYTES_MAX} bytes", clip(text)),
        )
    })
}

/// Errors quote what they refuse, but never at unbounded length.
fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(80).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
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
        let Request::Subscribe(subscribe) = Request::parse(frame).unwrap() else {
            panic!("not a subscription")
        };
        assert_eq!(subscribe.selection, these(&["BTC-USD"]));
        assert!(subscribe.want_snapshot && !subscribe.want_events && subscribe.from_seq.is_empty());
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
                want_snapshot: false,
                want_events: false,
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
}
