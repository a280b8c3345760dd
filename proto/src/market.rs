//! The groups that ticks and snapshots are made of: trade, quote, statistics of the day.

use domain::{DayStats, Quote, Side, Trade};
use thiserror::Error;

use crate::{number, number::InvalidDecimal, v1};

/// What is wrong with a trade, a quote or the statistics of a day.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidMarket {
    /// A price, a size or a volume is not a decimal.
    #[error(transparent)]
    Number(#[from] InvalidDecimal),
    /// The side is one that this version does not know.
    #[error("last_trade.side {0} is unknown")]
    UnknownSide(i32),
}

/// The paths of a quote's fields, so that a fault names the field and not only its kind.
pub(crate) struct QuoteFields {
    price: &'static str,
    size: &'static str,
}

pub(crate) const BEST_BID: QuoteFields = QuoteFields { price: "best_bid.price", size: "best_bid.size" };
pub(crate) const BEST_ASK: QuoteFields = QuoteFields { price: "best_ask.price", size: "best_ask.size" };

impl From<Side> for v1::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Buy => Self::Buy,
            Side::Sell => Self::Sell,
        }
    }
}

impl From<&Trade> for v1::Trade {
    fn from(trade: &Trade) -> Self {
        Self {
            price: number::encode(trade.price),
            size: number::encode(trade.size),
            side: trade.side.map_or(v1::Side::Unspecified, Into::into).into(),
            trade_id: trade.trade_id,
        }
    }
}

impl From<&Quote> for v1::Quote {
    fn from(quote: &Quote) -> Self {
        Self { price: number::encode(quote.price), size: number::encode_optional(quote.size) }
    }
}

impl From<&DayStats> for v1::DayStats {
    fn from(day: &DayStats) -> Self {
        Self {
            open_24h: number::encode_optional(day.open_24h),
            high_24h: number::encode_optional(day.high_24h),
            low_24h: number::encode_optional(day.low_24h),
            volume_24h: number::encode_optional(day.volume_24h),
            volume_30d: number::encode_optional(day.volume_30d),
        }
    }
}

impl TryFrom<&v1::Trade> for Trade {
    type Error = InvalidMarket;

    fn try_from(trade: &v1::Trade) -> Result<Self, InvalidMarket> {
        let side = match v1::Side::try_from(trade.side) {
            Ok(v1::Side::Unspecified) => None,
            Ok(v1::Side::Buy) => Some(Side::Buy),
            Ok(v1::Side::Sell) => Some(Side::Sell),
            Err(_) => return Err(InvalidMarket::UnknownSide(trade.side)),
        };
        Ok(Self {
            price: number::decode("last_trade.price", &trade.price)?,
            size: number::decode("last_trade.size", &trade.size)?,
            side,
            trade_id: trade.trade_id,
        })
    }
}

pub(crate) fn quote(fields: &QuoteFields, quote: &v1::Quote) -> Result<Quote, InvalidMarket> {
    Ok(Quote {
        price: number::decode(fields.price, &quote.price)?,
        size: number::decode_optional(fields.size, quote.size.as_ref())?,
    })
}

impl TryFrom<&v1::DayStats> for DayStats {
    type Error = InvalidMarket;

    fn try_from(day: &v1::DayStats) -> Result<Self, InvalidMarket> {
        Ok(Self {
            open_24h: number::decode_optional("day_stats.open_24h", day.open_24h.as_ref())?,
            high_24h: number::decode_optional("day_stats.high_24h", day.high_24h.as_ref())?,
            low_24h: number::decode_optional("day_stats.low_24h", day.low_24h.as_ref())?,
            volume_24h: number::decode_optional("day_stats.volume_24h", day.volume_24h.as_ref())?,
            volume_30d: number::decode_optional("day_stats.volume_30d", day.volume_30d.as_ref())?,
        })
    }
}
