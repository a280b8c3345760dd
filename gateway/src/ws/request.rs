//! What clients ask for. Unknown members of a request are ignored; known ones are checked precisely.

use std::{
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
    time::Duration,
};

use domain::{Instrument, InvalidInstrument, UnixNanos, Venue};
use live::{Products, Start, Token};
use serde_json::value::RawValue;

use super::refusal::{Code, Refusal};

/// How many faulty names an error repeats.
const NAMED_MAX: usize = 5;
/// What a client may put into the `t` of a ping.
const PING_BYTES_MAX: usize = 128;
/// How long a conflating client may have itself made to wait for the next tick of a product.
const INTERVAL_MS: RangeInclusive<u64> = 1..=3_600_000;

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe(Subscribe),
    Unsubscribe(Selection),
    /// The JSON text to send back.
    Ping(String),
    /// Credentials, which are not looked at any more.
    Auth,
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
    /// Where products start that `from_seq` does not name.
    pub(crate) start: Start,
    /// `None` leaves it as it is.
    pub(crate) want_events: Option<bool>,
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
    /// The newest tick per product, at most one in this time.
    Interval(Duration),
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
            Ok("auth") => Ok(Self::Auth),
            _ => {
                let said = clip(operation.get());
                Err(Refusal::new(Code::InvalidOperation, format!("op is {said}, allowed: {known}")))
            }
        }
    }
}

fn subscribe(members: &Members<'_>) -> Result<Subscribe, Refusal> {
    let token = token(members)?;
    let selection = match &token {
        // It says by itself what it is of.
        Some(token) if token.is_of_subscription() && !members.contains_key("products") => {
            match Products::of(token) {
                Products::All => Selection::All,
                Products::These(instruments) => Selection::These(instruments.into_iter().collect()),
            }
        }
        _ => selection(members, Code::SubscribeError)?,
    };
    check_token(token.as_ref(), &selection)?;
    let from_seq = from_seq(members, &selection)?;
    let want_snapshot = flag(members, "want_snapshot")?.unwrap_or(false);
    let start = match (token, from_time(members)?) {
        (Some(_), Some(_)) => {
            let message = "token and from_time name two starts: give one";
            return Err(Refusal::new(Code::SubscribeError, message));
        }
        (Some(token), None) => Start::Token(token),
        (None, Some(time)) => Start::Time(time),
        (None, None) if want_snapshot => Start::Snapshot,
        (None, None) => Start::Now,
    };
    Ok(Subscribe {
        selection,
        start,
        want_events: flag(members, "want_events")?,
        want: want(members)?,
        from_seq,
    })
}

fn token(members: &Members<'_>) -> Result<Option<Token>, Refusal> {
    let refuse = |message: String| Refusal::new(Code::InvalidToken, message);
    let text = match members.get("token").map(|value| value.get()) {
        None | Some("null") => return Ok(None),
        Some(text) => text,
    };
    let text: &str = serde_json::from_str(text)
        .map_err(|_| refuse(format!("token is {}, allowed: a token of a frame", clip(text))))?;
    Token::parse(text).map(Some).map_err(|error| refuse(format!("token: {error}")))
}

/// The token of one product says nothing of others: it must be among those that are named.
fn check_token(token: Option<&Token>, selection: &Selection) -> Result<(), Refusal> {
    let (Some(token), Selection::These(named)) =
        (token.filter(|token| !token.is_of_subscription()), selection)
    else {
        return Ok(());
    };
    match token.instruments().find(|instrument| !named.contains(*instrument)) {
        Some(stray) => {
            let message = format!("token is of {}, which products does not name", stray.product);
            Err(Refusal::new(Code::InvalidToken, message))
        }
        None => Ok(()),
    }
}

/// Nanoseconds since 1970, as in `ts_event`: a number, or a string as `?numbers=string` writes it.
fn from_time(members: &Members<'_>) -> Result<Option<UnixNanos>, Refusal> {
    let text = match members.get("from_time").map(|value| value.get()) {
        None | Some("null") => return Ok(None),
        Some(text) => text,
    };
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    digits.parse().map(|nanos| Some(UnixNanos::new(nanos))).map_err(|_| {
        let message = format!("from_time is {}, allowed: nanoseconds since 1970", clip(text));
        Refusal::new(Code::SubscribeError, message)
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

fn flag(members: &Members<'_>, name: &str) -> Result<Option<bool>, Refusal> {
    match members.get(name).map(|value| value.get()) {
        None | Some("null") => Ok(None),
        Some("false") => Ok(Some(false)),
        Some("true") => Ok(Some(true)),
        Some(other) => {
            let message = format!("{name} is {}, allowed: true or false", clip(other));
            Err(Refusal::new(Code::SubscribeError, message))
        }
    }
}

fn want(members: &Members<'_>) -> Result<Option<Want>, Refusal> {
    let refuse = |message| Err(Refusal::new(Code::SubscribeError, message));
    let interval = match members.get("interval_ms").map(|value| value.get()) {
        None | Some("null") => None,
        Some(text) => match text.parse().ok().filter(|ms| INTERVAL_MS.contains(ms)) {
            Some(ms) => Some(Duration::from_millis(ms)),
            None => {
                let (least, most) = (INTERVAL_MS.start(), INTERVAL_MS.end());
                let said = clip(text);
                return refuse(format!("interval_ms is {said}, allowed: a whole number, {least} to {most}"));
            }
        },
    };
    let want = match members.get("want").map(|value| value.get()) {
        None | Some("null") => None,
        Some(r#""conflate""#) => Some(Want::Conflate),
        Some(r#""lossless""#) => Some(Want::Lossless),
        Some(r#""interval""#) => match interval {
            Some(interval) => Some(Want::Interval(interval)),
            None => return refuse("want is \"interval\", and interval_ms is missing".into()),
        },
        Some(other) => {
            return refuse(format!(
                r#"want is {}, allowed: "conflate", "lossless" or "interval""#,
                clip(other)
            ));
        }
    };
    match (want, interval) {
        (Some(Want::Interval(_)), _) | (_, None) => Ok(want),
        _ => refuse("interval_ms is there, and want is not \"interval\"".into()),
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
mod tests;
