//! What a tick must satisfy before anyone relies on it.

use std::time::Duration;

use thiserror::Error;

use crate::{Decimal, Quote, RejectReason, Tick, UnixNanos};

/// No exchange that LedgerFlux knows is older: 2010-01-01T00:00:00Z.
pub const EARLIEST_EVENT_TIME: UnixNanos = UnixNanos::new(1_262_304_000_000_000_000);
/// How far the exchange's clock may be ahead of ours. Ours may be the wrong one, by hours when somebody sets it, and good
/// ticks are not refused for that; what is beyond a day is no time of a market's.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is wrong with a tick.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// A live tick must have a sequence.
    #[error("sequence is missing")]
    MissingSequence,
    /// A tick must say something: a trade or a quote.
    #[error("neither a trade nor a quote is present")]
    Empty,
    /// A backfilled tick must have a trade with its number.
    #[error("a backfilled tick needs a trade with a trade_id")]
    MissingTrade,
    /// Prices and trade sizes are positive; sizes of quotes and volumes are not negative.
    #[error("{field} is {value}, allowed: {allowed}")]
    NotPositive {
        /// The field.
        field: &'static str,
        /// What it says.
        value: Decimal,
        /// What it may say.
        allowed: &'static str,
    },
    /// A bid above the ask is a broken book.
    #[error("best_bid {bid} is above best_ask {ask}")]
    CrossedBook {
        /// The bid.
        bid: Decimal,
        /// The ask.
        ask: Decimal,
    },
    /// The event time is before 2010.
    #[error("event_time {0} is before 2010")]
    TooEarly(UnixNanos),
    /// The event time is more than a day after the receive time.
    #[error("event_time {event_time} is more than a day after receive_time {receive_time}")]
    InTheFuture {
        /// When the exchange says it happened.
        event_time: UnixNanos,
        /// When it arrived.
        receive_time: UnixNanos,
    },
}

impl Fault {
    /// The reason under which it is filed.
    pub fn reason(&self) -> RejectReason {
        match self {
            Self::MissingSequence | Self::Empty | Self::MissingTrade => RejectReason::MissingField,
            Self::NotPositive { .. } => RejectReason::NotPositive,
            Self::CrossedBook { .. } => RejectReason::CrossedBook,
            Self::TooEarly(_) | Self::InTheFuture { .. } => RejectReason::ImplausibleTime,
        }
    }
}

/// Checks `tick` and, when it holds, marks a locked book. An old event time is no fault: the first ticker after a
/// subscription tells of the last trade, whenever that was.
pub fn validate(tick: &mut Tick) -> Result<(), Fault> {
    check_presence(tick)?;
    check_time(tick)?;
    if let Some(trade) = &tick.last_trade {
        positive("price", trade.price)?;
        positive("size", trade.size)?;
    }
    check_quote("best_bid", "best_bid_size", tick.best_bid.as_ref())?;
    check_quote("best_ask", "best_ask_size", tick.best_ask.as_ref())?;
    tick.flags.locked_book = false;
    if let (Some(bid), Some(ask)) = (&tick.best_bid, &tick.best_ask) {
        if bid.price > ask.price {
            return Err(Fault::CrossedBook { bid: bid.price, ask: ask.price });
        }
        tick.flags.locked_book = bid.price == ask.price;
    }
    check_day(tick)
}

fn check_presence(tick: &Tick) -> Result<(), Fault> {
    if tick.flags.backfilled {
        return if tick.trade_id().is_some() { Ok(()) } else { Err(Fault::MissingTrade) };
    }
    if tick.sequence.is_none() {
        return Err(Fault::MissingSequence);
    }
    if tick.last_trade.is_none() && tick.best_bid.is_none() && tick.best_ask.is_none() {
        return Err(Fault::Empty);
    }
    Ok(())
}

fn check_time(tick: &Tick) -> Result<(), Fault> {
    if tick.event_time < EARLIEST_EVENT_TIME {
        return Err(Fault::TooEarly(tick.event_time));
    }
    if tick.event_time > tick.receive_time.saturating_add(FUTURE_TOLERANCE) {
        return Err(Fault::InTheFuture { event_time: tick.event_time, receive_time: tick.receive_time });
    }
    Ok(())
}

fn check_quote(price: &'static str, size: &'static str, quote: Option<&Quote>) -> Result<(), Fault> {
    let Some(quote) = quote else { return Ok(()) };
    positive(price, quote.price)?;
    quote.size.map_or(Ok(()), |value| not_negative(size, value))
}

fn check_day(tick: &Tick) -> Result<(), Fault> {
    let Some(day) = &tick.day else { return Ok(()) };
    let fields = [
        ("open_24h", day.open_24h),
        ("high_24h", day.high_24h),
        ("low_24h", day.low_24h),
        ("volume_24h", day.volume_24h),
        ("volume_30d", day.volume_30d),
    ];
    fields.into_iter().try_for_each(|(field, value)| value.map_or(Ok(()), |value| not_negative(field, value)))
}

fn positive(field: &'static str, value: Decimal) -> Result<(), Fault> {
    if value > Decimal::ZERO { Ok(()) } else { Err(Fault::NotPositive { field, value, allowed: "above 0" }) }
}

fn not_negative(field: &'static str, value: Decimal) -> Result<(), Fault> {
    if value >= Decimal::ZERO {
        Ok(())
    } else {
        Err(Fault::NotPositive { field, value, allowed: "0 or above" })
    }
}

#[cfg(test)]
mod tests;
