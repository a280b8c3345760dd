//! One event of the market.

use crate::{Decimal, Instrument, Position, UnixNanos};

/// Who took the liquidity of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
}

impl Side {
    /// `buy` or `sell`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }

    /// The other side: what is a maker's buy is a taker's sell.
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// A trade. Price and size are positive in units of the quote and the base currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Quote currency for one unit of the base currency.
    pub price: Decimal,
    /// Base currency.
    pub size: Decimal,
    /// The taker's side, where the feed tells it.
    pub side: Option<Side>,
    /// The exchange's number of the trade; consecutive per product.
    pub trade_id: Option<u64>,
}

/// The best price on one side of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Quote currency for one unit of the base currency.
    pub price: Decimal,
    /// Base currency on offer at that price; absent in feeds before October 2022.
    pub size: Option<Decimal>,
}

/// What the exchange says of the last 24 hours (and 30 days) along with a trade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayStats {
    /// The price 24 hours ago.
    pub open_24h: Option<Decimal>,
    /// The highest price of the last 24 hours.
    pub high_24h: Option<Decimal>,
    /// The lowest price of the last 24 hours.
    pub low_24h: Option<Decimal>,
    /// Base currency traded in the last 24 hours.
    pub volume_24h: Option<Decimal>,
    /// Base currency traded in the last 30 days.
    pub volume_30d: Option<Decimal>,
}

/// Remarks about a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickFlags {
    /// The trade was fetched afterwards; it has no place in the live sequence.
    pub backfilled: bool,
    /// Bid equals ask.
    pub locked_book: bool,
}

impl TickFlags {
    /// As stored: bit 0 backfilled, bit 1 locked book.
    pub fn to_bits(self) -> u32 {
        u32::from(self.backfilled) | u32::from(self.locked_book) << 1
    }

    /// The reverse of [`TickFlags::to_bits`]; unknown bits are ignored.
    pub fn from_bits(bits: u32) -> Self {
        Self { backfilled: bits & 1 != 0, locked_book: bits & 2 != 0 }
    }
}

/// One event of one product's market: a trade with the quote after it, or what of that the venue sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Where and what.
    pub instrument: Instrument,
    /// The run in which `sequence` counts; 0 until the normalizer has said otherwise.
    pub run: u32,
    /// The exchange's number; absent in backfilled ticks.
    pub sequence: Option<u64>,
    /// When it happened, by the exchange's clock.
    pub event_time: UnixNanos,
    /// When the frame arrived, by our clock.
    pub receive_time: UnixNanos,
    /// The trade.
    pub last_trade: Option<Trade>,
    /// The highest price bid.
    pub best_bid: Option<Quote>,
    /// The lowest price asked.
    pub best_ask: Option<Quote>,
    /// Statistics of the day.
    pub day: Option<DayStats>,
    /// Remarks.
    pub flags: TickFlags,
}

impl Tick {
    /// The place of this tick in the live feed; `None` for backfilled ticks.
    pub fn position(&self) -> Option<Position> {
        self.sequence.map(|sequence| Position { run: self.run, sequence })
    }

    /// The exchange's number of the trade.
    pub fn trade_id(&self) -> Option<u64> {
        self.last_trade.as_ref().and_then(|trade| trade.trade_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_round_trip() {
        for bits in 0..4 {
            assert_eq!(TickFlags::from_bits(bits).to_bits(), bits);
        }
    }

    #[test]
    fn sides_have_names_and_opposites() {
        assert_eq!((Side::Buy.as_str(), Side::Buy.opposite().as_str()), ("buy", "sell"));
        assert_eq!(Side::Sell.opposite(), Side::Buy);
    }
}
