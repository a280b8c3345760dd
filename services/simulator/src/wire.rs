//! The messages as the exchange writes them.

use domain::UnixNanos;
use serde::Serialize;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio_tungstenite::tungstenite::Message;

/// RFC 3339 with 6 decimals, 27 characters.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

#[derive(Serialize)]
pub(crate) struct Ticker<'a> {
    pub(crate) r#type: &'static str,
    pub(crate) sequence: u64,
    pub(crate) product_id: &'a str,
    pub(crate) price: String,
    pub(crate) open_24h: String,
    pub(crate) volume_24h: String,
    pub(crate) low_24h: String,
    pub(crate) high_24h: String,
    pub(crate) volume_30d: String,
    pub(crate) best_bid: String,
    pub(crate) best_bid_size: String,
    pub(crate) best_ask: String,
    pub(crate) best_ask_size: String,
    pub(crate) side: &'static str,
    pub(crate) time: String,
    pub(crate) trade_id: u64,
    pub(crate) last_size: String,
}

#[derive(Serialize)]
struct Heartbeat<'a> {
    r#type: &'static str,
    last_trade_id: u64,
    product_id: &'a str,
    sequence: u64,
    time: String,
}

#[derive(Serialize)]
struct Subscriptions<'a> {
    r#type: &'static str,
    channels: Vec<Channel<'a>>,
}

#[derive(Serialize)]
struct Channel<'a> {
    name: &'a str,
    product_ids: Vec<&'a str>,
    /// The exchange has sent this since 2026.
    account_ids: Option<()>,
}

#[derive(Serialize)]
struct Error<'a> {
    r#type: &'static str,
    message: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Complaint<'a> {
    message: &'a str,
}

/// The text of a message. The types above have no way to fail.
pub(crate) fn text(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

pub(crate) fn time(at: UnixNanos) -> String {
    at.to_offset_date_time().format(TIME).unwrap_or_else(|_| at.to_string())
}

pub(crate) fn heartbeat(product: &str, sequence: u64, last_trade_id: u64, at: UnixNanos) -> Message {
    let time = time(at);
    let message = Heartbeat { r#type: "heartbeat", last_trade_id, product_id: product, sequence, time };
    Message::text(text(&message))
}

/// Everything a client is subscribed to.
pub(crate) fn subscriptions<'a>(channels: impl Iterator<Item = (&'a str, Vec<&'a str>)>) -> Message {
    let channels = channels
        .map(|(name, product_ids)| Channel {
            name: venues::coinbase::confirmed_name(name),
            product_ids,
            account_ids: None,
        })
        .collect();
    Message::text(text(&Subscriptions { r#type: "subscriptions", channels }))
}

/// What REST says when it does not do what it was asked for.
pub(crate) fn complaint(message: &str) -> String {
    text(&Complaint { message })
}

pub(crate) fn error(message: &str, reason: &str) -> Message {
    Message::text(text(&Error { r#type: "error", message, reason }))
}

/// A sound message of a type that is no use to anyone, of exactly so many bytes.
pub(crate) fn oversized(bytes: usize) -> Message {
    let (start, end) = (r#"{"type":"padding","padding":""#, r#""}"#);
    let padding = bytes.saturating_sub(start.len() + end.len());
    Message::text(format!("{start}{}{end}", "x".repeat(padding)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_the_exchange_writes() {
        let at = UnixNanos::parse_rfc3339("2026-07-07T22:58:18Z").unwrap();
        assert_eq!(
            heartbeat("BTC-USD", 132_235_026_653, 1_052_119_293, at).to_text().unwrap(),
            r#"{"type":"heartbeat","last_trade_id":1052119293,"product_id":"BTC-USD","sequence":132235026653,"time":"2026-07-07T22:58:18.000000Z"}"#
        );
        let channels = [("level2_batch", vec!["BTC-USD"]), ("status", vec![])];
        assert_eq!(
            subscriptions(channels.into_iter()).to_text().unwrap(),
            r#"{"type":"subscriptions","channels":[{"name":"level2_50","product_ids":["BTC-USD"],"account_ids":null},{"name":"status","product_ids":[],"account_ids":null}]}"#
        );
        assert_eq!(oversized(1_000).len(), 1_000);
        assert_eq!(
            error("Failed to subscribe", "X is not a valid product").to_text().unwrap(),
            r#"{"type":"error","message":"Failed to subscribe","reason":"X is not a valid product"}"#
        );
    }
}
