//! The JSON frames of the WebSocket protocol, written by hand so that every number keeps the digits that it came with.

use std::fmt::{Display, Write};

use domain::{DayStats, Decimal, FeedEvent, Instrument, Quote, Snapshot, Tick, Trade, UnixNanos};
use serde_json::Value;

use super::refusal::Refusal;

/// How prices, sizes and times in nanoseconds are written. Neither goes through a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// As JSON numbers, like the original protocol.
    #[default]
    Number,
    /// As JSON strings, for clients whose JSON reader would round: a browser, for one.
    Text,
}

/// One tick: `{"op":"incr",…}`. It ends with `}}`, which [`with_skipped`] relies on.
pub(crate) fn incr(tick: &Tick, token: &str, numbers: Numbers) -> String {
    let mut json = Json { text: String::with_capacity(512), numbers };
    json.raw(r#"{"op":"incr","data":{"v":1,"type":"tick","product":""#);
    json.raw(tick.instrument.product.as_str());
    json.raw(r#"","seq":"#);
    json.plain(tick.sequence.unwrap_or(0));
    json.raw(r#","ts_event":"#);
    json.time(tick.event_time);
    json.raw(r#","ts_ingest":"#);
    json.time(tick.receive_time);
    json.raw(r#","fields":{"#);
    let mut comma = "";
    if let Some(trade) = &tick.last_trade {
        json.raw(r#""last_trade":"#);
        json.trade(trade, None);
        comma = ",";
    }
    for (name, quote) in [("best_bid", &tick.best_bid), ("best_ask", &tick.best_ask)] {
        if let Some(quote) = quote {
            json.member(comma, name);
            json.quote(quote, None);
            comma = ",";
        }
    }
    if let Some(day) = &tick.day {
        json.member(comma, "day");
        json.day(day);
    }
    json.raw(r#"},"venue":""#);
    json.raw(tick.instrument.venue.as_str());
    json.raw(r#"","run":"#);
    json.plain(tick.run);
    if tick.flags.backfilled {
        json.raw(r#","backfilled":true"#);
    }
    json.token(token);
    json.raw("}}");
    json.text
}

/// The full state: `{"op":"snapshot",…}`. Without data it has `seq` 0 and null members, never an invented price.
pub(crate) fn snapshot(snapshot: &Snapshot, token: &str, numbers: Numbers) -> String {
    let mut json = Json { text: String::with_capacity(512), numbers };
    let state = &snapshot.state;
    json.raw(r#"{"op":"snapshot","data":{"v":1,"type":"snapshot","product":""#);
    json.raw(snapshot.instrument.product.as_str());
    json.raw(r#"","seq":"#);
    json.plain(snapshot.position.sequence);
    json.raw(r#","ts_snapshot":"#);
    json.time(snapshot.snapshot_time);
    json.raw(r#","state":{"last_trade":"#);
    json.or_null(state.last_trade.as_ref(), |json, (trade, at)| json.trade(trade, Some(*at)));
    json.member(",", "best_bid");
    json.or_null(state.best_bid.as_ref(), |json, (quote, at)| json.quote(quote, Some(*at)));
    json.member(",", "best_ask");
    json.or_null(state.best_ask.as_ref(), |json, (quote, at)| json.quote(quote, Some(*at)));
    json.member(",", "last_seq");
    let updated_at = state.updated_at();
    json.or_null(updated_at, |json, _| json.plain(snapshot.position.sequence));
    json.member(",", "last_update");
    json.or_null(updated_at, Json::time);
    if let Some((day, _)) = &state.day {
        json.member(",", "day");
        json.day(day);
    }
    json.raw(r#"},"venue":""#);
    json.raw(snapshot.instrument.venue.as_str());
    json.raw(r#"","run":"#);
    json.plain(snapshot.position.run);
    json.token(token);
    json.raw("}}");
    json.text
}

/// The same tick or snapshot with the count of what was left out before it.
pub(crate) fn with_skipped(text: &str, skipped: u64) -> String {
    format!(r#"{},"skipped":{skipped}}}}}"#, text.strip_suffix("}}").unwrap_or(text))
}

/// The client's token bucket is empty.
pub(crate) fn rate_limit(retry_ms: u128) -> String {
    format!(r#"{{"op":"rate_limit","retry_ms":{retry_ms}}}"#)
}

/// The answer to a ping; `t` is the JSON text that the client sent.
pub(crate) fn pong(t: &str) -> String {
    format!(r#"{{"op":"pong","t":{t}}}"#)
}

/// The client is let in under this name.
pub(crate) fn auth(name: &str) -> String {
    format!(r#"{{"op":"auth","name":{}}}"#, Value::from(name))
}

/// What the client asked for cannot be done.
pub(crate) fn error(refusal: &Refusal) -> String {
    let message = Value::from(refusal.message.as_str());
    format!(r#"{{"op":"error","code":"{}","msg":{message}}}"#, refusal.code.as_str())
}

/// Something happened to the feed of a product; sent to clients that asked for events.
pub(crate) fn feed_event(event: &FeedEvent, numbers: Numbers) -> String {
    let kind = match &event.kind {
        domain::EventKind::FeedState(state) => format!("feed_{}", snake_case(&format!("{state:?}"))),
        other => other.name().to_owned(),
    };
    let mut json = Json { text: String::with_capacity(160), numbers };
    json.raw(r#"{"op":"event","data":{"v":1,"type":""#);
    json.raw(&kind);
    json.raw(r#"","product":""#);
    json.raw(event.instrument.product.as_str());
    json.raw(r#"","ts":"#);
    json.time(event.time);
    if let domain::EventKind::Gap(gap) | domain::EventKind::Repaired(gap) = &event.kind {
        json.raw(r#","first_trade_id":"#);
        json.plain(gap.first_trade_id);
        json.raw(r#","last_trade_id":"#);
        json.plain(gap.last_trade_id);
        json.raw(r#","repaired_count":"#);
        json.plain(gap.repaired_count);
    }
    json.raw(r#","venue":""#);
    json.raw(event.instrument.venue.as_str());
    json.raw(r#""}}"#);
    json.text
}

/// Something happened to the subscription itself, or to one product of it.
pub(crate) fn event<const N: usize>(
    kind: &str,
    about: Option<&Instrument>,
    members: [(&str, Value); N],
) -> String {
    let mut text = format!(r#"{{"op":"event","data":{{"v":1,"type":"{kind}""#);
    if let Some(instrument) = about {
        // Names of venues and products need no escape. Writing to a String cannot fail.
        let _ = write!(text, r#","product":"{}","venue":"{}""#, instrument.product, instrument.venue);
    }
    for (name, value) in members {
        let _ = write!(text, r#","{name}":{value}"#);
    }
    text.push_str("}}");
    text
}

struct Json {
    text: String,
    numbers: Numbers,
}

impl Json {
    fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn member(&mut self, comma: &str, name: &str) {
        self.plain(format_args!(r#"{comma}"{name}":"#));
    }

    /// Something that is the same in both notations.
    fn plain(&mut self, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
    }

    fn number(&mut self, value: impl Display) {
        match self.numbers {
            Numbers::Number => self.plain(value),
            Numbers::Text => self.plain(format_args!(r#""{value}""#)),
        }
    }

    fn decimal(&mut self, value: Decimal) {
        self.number(value);
    }

    fn time(&mut self, time: UnixNanos) {
        self.number(time.nanos());
    }

    /// Tokens are base64url, which needs no escape; there is none while the history is not known.
    fn token(&mut self, token: &str) {
        if !token.is_empty() {
            self.plain(format_args!(r#","token":"{token}""#));
        }
    }

    fn or_null<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.raw("null"),
        }
    }

    fn price(&mut self, price: Decimal, size: Option<Decimal>, at: Option<UnixNanos>) {
        self.raw(r#"{"px":"#);
        self.decimal(price);
        self.raw(r#","qty":"#);
        self.or_null(size, Self::decimal);
        if let Some(at) = at {
            self.raw(r#","ts":"#);
            self.time(at);
        }
    }

    fn trade(&mut self, trade: &Trade, at: Option<UnixNanos>) {
        self.price(trade.price, Some(trade.size), at);
        if let Some(side) = trade.side {
            self.raw(r#","side":""#);
            self.raw(side.as_str());
            self.raw("\"");
        }
        if let Some(trade_id) = trade.trade_id {
            self.raw(r#","trade_id":"#);
            self.plain(trade_id);
        }
        self.raw("}");
    }

    fn quote(&mut self, quote: &Quote, at: Option<UnixNanos>) {
        self.price(quote.price, quote.size, at);
        self.raw("}");
    }

    fn day(&mut self, day: &DayStats) {
        let known = [
            ("open_24h", day.open_24h),
            ("high_24h", day.high_24h),
            ("low_24h", day.low_24h),
            ("volume_24h", day.volume_24h),
            ("volume_30d", day.volume_30d),
        ];
        self.raw("{");
        let mut comma = "";
        for (name, value) in known {
            if let Some(value) = value {
                self.member(comma, name);
                self.decimal(value);
                comma = ",";
            }
        }
        self.raw("}");
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for (at, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests;
