//! The messages that are read, with the names of the exchange. Text is borrowed from the frame.

use domain::Heartbeat;
use serde::Deserialize;

use super::fault::FrameFault;
use super::field::Field;

/// A trade of one product with the quote after it and the statistics of the day.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are documented by the exchange")]
pub struct TickerMessage<'a> {
    #[serde(borrow)]
    pub sequence: Field<'a>,
    #[serde(borrow)]
    pub product_id: Field<'a>,
    #[serde(borrow)]
    pub price: Field<'a>,
    #[serde(borrow)]
    pub open_24h: Field<'a>,
    #[serde(borrow)]
    pub volume_24h: Field<'a>,
    #[serde(borrow)]
    pub low_24h: Field<'a>,
    #[serde(borrow)]
    pub high_24h: Field<'a>,
    #[serde(borrow)]
    pub volume_30d: Field<'a>,
    #[serde(borrow)]
    pub best_bid: Field<'a>,
    #[serde(borrow)]
    pub best_bid_size: Field<'a>,
    #[serde(borrow)]
    pub best_ask: Field<'a>,
    #[serde(borrow)]
    pub best_ask_size: Field<'a>,
    #[serde(borrow)]
    pub side: Field<'a>,
    #[serde(borrow)]
    pub time: Field<'a>,
    #[serde(borrow)]
    pub trade_id: Field<'a>,
    #[serde(borrow)]
    pub last_size: Field<'a>,
}

/// A sign of life of one product, sent each second.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are documented by the exchange")]
pub struct HeartbeatMessage<'a> {
    #[serde(borrow)]
    pub sequence: Field<'a>,
    #[serde(borrow)]
    pub last_trade_id: Field<'a>,
    #[serde(borrow)]
    pub product_id: Field<'a>,
    #[serde(borrow)]
    pub time: Field<'a>,
}

impl HeartbeatMessage<'_> {
    pub(super) fn product(&self) -> Result<&str, FrameFault> {
        self.product_id.required_text("product_id")
    }

    pub(super) fn to_heartbeat(&self) -> Result<Heartbeat, FrameFault> {
        Ok(Heartbeat {
            last_trade_id: self.last_trade_id.required_integer("last_trade_id")?,
            time: self.time.required_time("time")?,
        })
    }
}

/// The answer to a subscription: everything that is subscribed to now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Subscriptions {
    /// The channels.
    pub channels: Vec<ConfirmedChannel>,
}

/// One channel of a [`Subscriptions`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConfirmedChannel {
    /// Its name; see [`super::confirmed_name`].
    pub name: String,
    /// Its products, in any order.
    #[serde(default)]
    pub product_ids: Option<Vec<String>>,
}

/// A complaint of the exchange (rule 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorMessage {
    /// What went wrong; empty when the exchange does not say.
    pub message: String,
    /// More about it, where the exchange says more.
    pub reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawError<'a> {
    #[serde(borrow)]
    pub(super) message: Field<'a>,
    #[serde(borrow)]
    pub(super) reason: Field<'a>,
}

/// What every message of a product has in common, read from any of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are documented by the exchange")]
pub struct Outline<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Field<'a>,
    #[serde(borrow)]
    pub product_id: Field<'a>,
    #[serde(borrow)]
    pub sequence: Field<'a>,
    #[serde(borrow)]
    pub trade_id: Field<'a>,
    #[serde(borrow)]
    pub last_trade_id: Field<'a>,
    #[serde(borrow)]
    pub time: Field<'a>,
}
