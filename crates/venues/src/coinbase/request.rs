//! What a client says to the exchange.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most channels and products that one request may name.
const NAMES_MAX: usize = 10_000;

/// Join or leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Join channels; earlier subscriptions stay.
    Subscribe,
    /// Leave channels, or some products of them.
    Unsubscribe,
}

/// A request, with the products that stand at its root applied to every channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Join or leave.
    pub kind: RequestKind,
    /// The channels.
    pub channels: Vec<ChannelRequest>,
}

/// One channel of a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRequest {
    /// Its name, as the client wrote it.
    pub name: String,
    /// Its products; none means all of the channel when leaving.
    pub products: Vec<String>,
}

/// Why a request cannot be understood.
#[derive(Debug, Error)]
pub enum RequestFault {
    /// It is no JSON, or not of the form of a request.
    #[error("the request is malformed")]
    Malformed(#[source] serde_json::Error),
    /// Clients subscribe and unsubscribe, nothing else.
    #[error("type is {0:?}, allowed: subscribe, unsubscribe")]
    UnknownType(String),
    /// It names no channel.
    #[error("no channel is named")]
    NoChannels,
    /// It names too much.
    #[error("{0} names, allowed: up to {NAMES_MAX}")]
    TooMany(usize),
}

#[derive(Serialize)]
struct Outgoing<'a> {
    r#type: &'static str,
    product_ids: &'a [&'a str],
    channels: &'a [&'a str],
}

#[derive(Deserialize)]
struct Incoming {
    r#type: String,
    #[serde(default)]
    product_ids: Option<Vec<String>>,
    #[serde(default)]
    channels: Vec<IncomingChannel>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IncomingChannel {
    Name(String),
    Object {
        name: String,
        #[serde(default)]
        product_ids: Option<Vec<String>>,
    },
}

impl Request {
    /// The text of a request to join `channels` for each of `products`.
    pub fn subscribe_text(products: &[&str], channels: &[&str]) -> String {
        Self::text("subscribe", products, channels)
    }

    /// The text of a request to leave `channels` for each of `products`; without products, the channels as a whole.
    pub fn unsubscribe_text(products: &[&str], channels: &[&str]) -> String {
        Self::text("unsubscribe", products, channels)
    }

    fn text(kind: &'static str, products: &[&str], channels: &[&str]) -> String {
        let outgoing = Outgoing { r#type: kind, product_ids: products, channels };
        // A struct of strings has no way to fail.
        serde_json::to_string(&outgoing).unwrap_or_default()
    }

    /// Reads a request.
    pub fn parse(text: &str) -> Result<Self, RequestFault> {
        let incoming: Incoming = serde_json::from_str(text).map_err(RequestFault::Malformed)?;
        let kind = match incoming.r#type.as_str() {
            "subscribe" => RequestKind::Subscribe,
            "unsubscribe" => RequestKind::Unsubscribe,
            other => return Err(RequestFault::UnknownType(other.chars().take(64).collect())),
        };
        if incoming.channels.is_empty() {
            return Err(RequestFault::NoChannels);
        }
        let shared = incoming.product_ids.unwrap_or_default();
        let named = incoming.channels.len().saturating_mul(shared.len().max(1));
        if named > NAMES_MAX {
            return Err(RequestFault::TooMany(named));
        }
        let channels = incoming.channels.into_iter().map(|channel| channel.with(&shared)).collect();
        Ok(Self { kind, channels })
    }
}

impl IncomingChannel {
    fn with(self, shared: &[String]) -> ChannelRequest {
        let (name, own) = match self {
            Self::Name(name) => (name, None),
            Self::Object { name, product_ids } => (name, product_ids),
        };
        let mut products = shared.to_vec();
        products.extend(own.unwrap_or_default());
        products.sort_unstable();
        products.dedup();
        ChannelRequest { name, products }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str, products: &[&str]) -> ChannelRequest {
        ChannelRequest {
            name: name.into(),
            products: products.iter().map(|product| (*product).into()).collect(),
        }
    }

    #[test]
    fn reads_the_documented_forms() {
        let text = r#"{"type":"subscribe","product_ids":["BTC-USD"],
                       "channels":["heartbeat",{"name":"ticker","product_ids":["ETH-USD"]},{"name":"status"}]}"#;
        let request = Request::parse(text).unwrap();
        assert_eq!(request.kind, RequestKind::Subscribe);
        assert_eq!(
            request.channels,
            [
                channel("heartbeat", &["BTC-USD"]),
                channel("ticker", &["BTC-USD", "ETH-USD"]),
                channel("status", &["BTC-USD"])
            ]
        );
        let leave = Request::parse(r#"{"type":"unsubscribe","channels":["ticker"]}"#).unwrap();
        assert_eq!((leave.kind, leave.channels), (RequestKind::Unsubscribe, vec![channel("ticker", &[])]));
    }

    #[test]
    fn reads_what_it_writes() {
        let text = Request::subscribe_text(&["BTC-USD", "ETH-USD"], &["ticker", "heartbeat"]);
        assert_eq!(
            text,
            r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["ticker","heartbeat"]}"#
        );
        let request = Request::parse(&text).unwrap();
        assert_eq!(request.channels.len(), 2);
        assert_eq!(request.channels[1], channel("heartbeat", &["BTC-USD", "ETH-USD"]));
    }

    #[test]
    fn names_what_is_wrong() {
        assert!(matches!(Request::parse("{"), Err(RequestFault::Malformed(_))));
        assert!(matches!(Request::parse("[]"), Err(RequestFault::Malformed(_))));
        assert!(matches!(Request::parse(r#"{"type":"ping"}"#), Err(RequestFault::UnknownType(_))));
        assert!(matches!(Request::parse(r#"{"type":"subscribe"}"#), Err(RequestFault::NoChannels)));
        let many = vec!["BTC-USD"; 200];
        let text = Request::subscribe_text(&many, &["ticker"; 60]);
        assert!(matches!(Request::parse(&text), Err(RequestFault::TooMany(12_000))));
    }
}
