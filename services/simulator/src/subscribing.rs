//! What one client is subscribed to, and how a request changes it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;

use tokio_tungstenite::tungstenite::Message;
use venues::coinbase::{ChannelRequest, Request, RequestFault, RequestKind};

use crate::faults::Refusing;
use crate::faults::live::Faults;
use crate::wire;

/// What there is to subscribe to.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) channels: Vec<&'static str>,
    pub(crate) products: BTreeSet<String>,
}

/// The products of each channel; a channel of the whole exchange (`status`) has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscribed(BTreeMap<String, BTreeSet<String>>);

/// Why a request is refused; the subscriptions stay as they were.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    message: &'static str,
    reason: String,
}

impl Refusal {
    pub(crate) fn to_message(&self) -> Message {
        wire::error(self.message, &self.reason)
    }
}

impl From<&RequestFault> for Refusal {
    fn from(fault: &RequestFault) -> Self {
        let message = match fault {
            RequestFault::Malformed(_) => "Malformed JSON",
            RequestFault::UnknownType(_) => "Type has to be either subscribe or unsubscribe",
            RequestFault::NoChannels | RequestFault::TooMany(_) => "Failed to subscribe",
        };
        let cause = fault.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self { message, reason: format!("{fault}{cause}") }
    }
}

impl Subscribed {
    /// Applies a request wholly or not at all; returns what is new, as channel and product.
    pub(crate) fn apply(
        &mut self,
        request: &Request,
        offer: &Offer,
    ) -> Result<Vec<(String, String)>, Refusal> {
        for channel in &request.channels {
            check(channel, offer, request.kind)?;
        }
        let mut fresh = Vec::new();
        for channel in &request.channels {
            match request.kind {
                RequestKind::Subscribe => self.join(channel, &mut fresh),
                RequestKind::Unsubscribe => self.leave(channel),
            }
        }
        Ok(fresh)
    }

    fn join(&mut self, channel: &ChannelRequest, fresh: &mut Vec<(String, String)>) {
        let products = self.0.entry(channel.name.clone()).or_default();
        if channel.name == "status" {
            return;
        }
        for product in &channel.products {
            if products.insert(product.clone()) {
                fresh.push((channel.name.clone(), product.clone()));
            }
        }
    }

    fn leave(&mut self, channel: &ChannelRequest) {
        let Some(products) = self.0.get_mut(&channel.name) else {
            return;
        };
        products.retain(|product| !channel.products.contains(product));
        if channel.products.is_empty() || products.is_empty() {
            self.0.remove(&channel.name);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `product` is subscribed to on `channel`, or on any channel.
    pub(crate) fn has(&self, channel: Option<&str>, product: &str) -> bool {
        match channel {
            Some(channel) => self.0.get(channel).is_some_and(|products| products.contains(product)),
            None => self.0.values().any(|products| products.contains(product)),
        }
    }

    pub(crate) fn to_message(&self) -> Message {
        let channels = self
            .0
            .iter()
            .map(|(name, products)| (name.as_str(), products.iter().map(String::as_str).collect::<Vec<_>>()));
        wire::subscriptions(channels)
    }
}

/// The request without the products that a fault refuses; an error when it refuses the request as a whole.
pub(crate) fn admitted(mut request: Request, faults: &Faults) -> Result<Request, Refusal> {
    if faults.are_none() || request.kind == RequestKind::Unsubscribe {
        return Ok(request);
    }
    for channel in &mut request.channels {
        let mut left = Vec::with_capacity(channel.products.len());
        for product in std::mem::take(&mut channel.products) {
            match faults.refuses(&product) {
                None => left.push(product),
                Some((_, Refusing::Omit)) => {}
                Some((_, Refusing::Error)) => {
                    let reason = format!("{product} is not a valid product");
                    return Err(Refusal { message: "Failed to subscribe", reason });
                }
            }
        }
        channel.products = left;
    }
    request.channels.retain(|channel| !channel.products.is_empty() || channel.name == "status");
    Ok(request)
}

fn check(channel: &ChannelRequest, offer: &Offer, kind: RequestKind) -> Result<(), Refusal> {
    let message = "Failed to subscribe";
    let clipped = |name: &str| name.chars().take(64).collect::<String>();
    if !offer.channels.contains(&channel.name.as_str()) {
        let reason = format!("{} is not a valid channel", clipped(&channel.name));
        return Err(Refusal { message, reason });
    }
    if let Some(product) = channel.products.iter().find(|product| !offer.products.contains(*product)) {
        return Err(Refusal { message, reason: format!("{} is not a valid product", clipped(product)) });
    }
    if kind == RequestKind::Subscribe && channel.products.is_empty() && channel.name != "status" {
        return Err(Refusal { message, reason: format!("{} requires product ids", channel.name) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        let products = ["BTC-USD", "ETH-USD"].map(str::to_owned);
        Offer { channels: vec!["ticker", "heartbeat", "status"], products: products.into() }
    }

    fn apply(subscribed: &mut Subscribed, text: &str) -> Result<Vec<(String, String)>, Refusal> {
        subscribed.apply(&Request::parse(text).unwrap(), &offer())
    }

    #[test]
    fn later_subscriptions_add_and_only_what_is_new_is_fresh() {
        let mut mine = Subscribed::default();
        let text = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker","status"]}"#;
        assert_eq!(apply(&mut mine, text).unwrap(), [("ticker".into(), "BTC-USD".into())]);
        let text = r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["ticker"]}"#;
        assert_eq!(apply(&mut mine, text).unwrap(), [("ticker".into(), "ETH-USD".into())]);
        assert!(mine.has(None, "ETH-USD") && mine.has(Some("ticker"), "BTC-USD"));
        assert!(!mine.has(Some("heartbeat"), "BTC-USD"));
    }

    #[test]
    fn leaving_some_products_or_the_whole_channel() {
        let mut mine = Subscribed::default();
        let text =
            r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["ticker","heartbeat"]}"#;
        apply(&mut mine, text).unwrap();
        apply(&mut mine, r#"{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["ticker"]}"#)
            .unwrap();
        assert!(!mine.has(Some("ticker"), "BTC-USD") && mine.has(Some("ticker"), "ETH-USD"));
        apply(&mut mine, r#"{"type":"unsubscribe","channels":["ticker","heartbeat"]}"#).unwrap();
        assert!(mine.is_empty());
    }

    #[test]
    fn a_wrong_request_is_refused_as_a_whole() {
        let mut mine = Subscribed::default();
        for (text, reason) in [
            (
                r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker","rumours"]}"#,
                "rumours is not a valid channel",
            ),
            (
                r#"{"type":"subscribe","product_ids":["BTC-USD","XXX-USD"],"channels":["ticker"]}"#,
                "XXX-USD is not a valid product",
            ),
            (r#"{"type":"subscribe","channels":["ticker"]}"#, "ticker requires product ids"),
        ] {
            assert_eq!(apply(&mut mine, text).unwrap_err().reason, reason);
            assert!(mine.is_empty());
        }
    }

    #[test]
    fn faults_become_complaints() {
        let fault = Request::parse("{").unwrap_err();
        assert_eq!(Refusal::from(&fault).message, "Malformed JSON");
        let fault = Request::parse(r#"{"type":"ping"}"#).unwrap_err();
        assert!(Refusal::from(&fault).to_message().to_text().unwrap().contains("subscribe or unsubscribe"));
    }
}
