//! From a ticker to a tick.

use domain::{DayStats, Instrument, Quote, Side, Tick, TickFlags, Trade, UnixNanos};

use super::fault::{FrameFault, clip};
use super::field::Field;
use super::instruments::Instruments;
use super::message::TickerMessage;

impl TickerMessage<'_> {
    /// The tick, with every decimal as it stands in the message.
    ///
    /// Needed are `product_id`, `sequence`, `time`, and the trade: `price`, `last_size`, `trade_id`. The exchange adds
    /// and drops the other fields over the years (book sizes came in October 2022), so what is absent stays absent;
    /// what is there must be sound. Whether the numbers make sense together is checked by `domain::validate`.
    pub fn to_tick(&self, instruments: &Instruments, receive_time: UnixNanos) -> Result<Tick, FrameFault> {
        self.to_tick_of(instruments.find(self.product()?)?, receive_time)
    }

    pub(super) fn product(&self) -> Result<&str, FrameFault> {
        self.product_id.required_text("product_id")
    }

    /// The same, of the product whose name it bears.
    pub(super) fn to_tick_of(
        &self,
        instrument: &Instrument,
        receive_time: UnixNanos,
    ) -> Result<Tick, FrameFault> {
        Ok(Tick {
            instrument: instrument.clone(),
            run: 0,
            sequence: Some(self.sequence.required_integer("sequence")?),
            event_time: self.time.required_time("time")?,
            receive_time,
            last_trade: Some(self.trade()?),
            best_bid: quote(("best_bid", &self.best_bid), ("best_bid_size", &self.best_bid_size))?,
            best_ask: quote(("best_ask", &self.best_ask), ("best_ask_size", &self.best_ask_size))?,
            day: self.day()?,
            flags: TickFlags::default(),
        })
    }

    fn trade(&self) -> Result<Trade, FrameFault> {
        Ok(Trade {
            price: self.price.required_decimal("price")?,
            size: self.last_size.required_decimal("last_size")?,
            side: side(&self.side)?,
            trade_id: Some(self.trade_id.required_integer("trade_id")?),
        })
    }

    fn day(&self) -> Result<Option<DayStats>, FrameFault> {
        let day = DayStats {
            open_24h: self.open_24h.decimal("open_24h")?,
            high_24h: self.high_24h.decimal("high_24h")?,
            low_24h: self.low_24h.decimal("low_24h")?,
            volume_24h: self.volume_24h.decimal("volume_24h")?,
            volume_30d: self.volume_30d.decimal("volume_30d")?,
        };
        Ok((day != DayStats::default()).then_some(day))
    }
}

fn quote(
    (price_name, price): (&'static str, &Field<'_>),
    (size_name, size): (&'static str, &Field<'_>),
) -> Result<Option<Quote>, FrameFault> {
    let size = size.decimal(size_name)?;
    match price.decimal(price_name)? {
        Some(price) => Ok(Some(Quote { price, size })),
        None if size.is_some() => Err(FrameFault::Missing { field: price_name }),
        None => Ok(None),
    }
}

/// The ticker tells the taker's side (a match tells the maker's).
fn side(field: &Field<'_>) -> Result<Option<Side>, FrameFault> {
    match field {
        Field::Absent => Ok(None),
        Field::Text(text) if text == "buy" => Ok(Some(Side::Buy)),
        Field::Text(text) if text == "sell" => Ok(Some(Side::Sell)),
        other => Err(FrameFault::UnknownSide { found: clip(&other.describe()) }),
    }
}

#[cfg(test)]
mod tests;
