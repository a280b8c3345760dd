//! Ticks.

use domain::{Instrument, Tick, TickFlags};
use thiserror::Error;

use crate::{
    instrument,
    instrument::InvalidName,
    market::{BEST_ASK, BEST_BID, InvalidMarket, quote},
    time::{InvalidTimestamp, required_time, timestamp},
    v1,
};

/// Why a message is no tick. What the market would never do (a crossed book, a price of 0) is no fault here: the
/// normalizer judges that.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidTick {
    /// The tick stands alone and does not say of which product it is.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The tick travels in a batch and names another product than the batch.
    #[error("the tick is of {tick:?}, the batch of {batch}")]
    OtherInstrument {
        /// What the tick says, as `venue:product`.
        tick: String,
        /// What the batch says.
        batch: Instrument,
    },
    /// A time is missing or malformed.
    #[error(transparent)]
    Time(#[from] InvalidTimestamp),
    /// A trade, a quote or the statistics of the day are malformed.
    #[error(transparent)]
    Market(#[from] InvalidMarket),
}

impl From<&Tick> for v1::Tick {
    /// The tick as it stands alone, with its venue and product.
    fn from(tick: &Tick) -> Self {
        let (venue, product) = instrument::encode(&tick.instrument);
        encode(tick, venue, product)
    }
}

impl TryFrom<v1::Tick> for Tick {
    type Error = InvalidTick;

    fn try_from(tick: v1::Tick) -> Result<Self, InvalidTick> {
        let instrument = instrument::decode(&tick.venue, &tick.product)?;
        decode(&tick, instrument)
    }
}

/// The tick as it stands in a batch of `batch`: without names, unless they differ, so that a tick is never relabelled
/// and the reader refuses the batch.
pub(crate) fn encode_within(batch: &Instrument, tick: &Tick) -> v1::Tick {
    if tick.instrument == *batch { encode(tick, String::new(), String::new()) } else { tick.into() }
}

/// The reverse of [`encode_within`]. The tick shares the names of `batch`.
pub(crate) fn decode_within(batch: &Instrument, tick: &v1::Tick) -> Result<Tick, InvalidTick> {
    let same = |own: &str, of_batch: &str| own.is_empty() || own == of_batch;
    if !same(&tick.venue, batch.venue.as_str()) || !same(&tick.product, batch.product.as_str()) {
        let named: String = format!("{}:{}", tick.venue, tick.product).chars().take(128).collect();
        return Err(InvalidTick::OtherInstrument { tick: named, batch: batch.clone() });
    }
    decode(tick, batch.clone())
}

fn encode(tick: &Tick, venue: String, product: String) -> v1::Tick {
    v1::Tick {
        venue,
        product,
        run: tick.run,
        sequence: tick.sequence,
        event_time: Some(timestamp(tick.event_time)),
        receive_time: Some(timestamp(tick.receive_time)),
        last_trade: tick.last_trade.as_ref().map(Into::into),
        best_bid: tick.best_bid.as_ref().map(Into::into),
        best_ask: tick.best_ask.as_ref().map(Into::into),
        day_stats: tick.day.as_ref().map(Into::into),
        backfilled: tick.flags.backfilled,
        locked_book: tick.flags.locked_book,
    }
}

fn decode(tick: &v1::Tick, instrument: Instrument) -> Result<Tick, InvalidTick> {
    Ok(Tick {
        instrument,
        run: tick.run,
        sequence: tick.sequence,
        event_time: required_time("event_time", tick.event_time.as_ref())?,
        receive_time: required_time("receive_time", tick.receive_time.as_ref())?,
        last_trade: tick.last_trade.as_ref().map(TryInto::try_into).transpose()?,
        best_bid: tick.best_bid.as_ref().map(|bid| quote(&BEST_BID, bid)).transpose()?,
        best_ask: tick.best_ask.as_ref().map(|ask| quote(&BEST_ASK, ask)).transpose()?,
        day: tick.day_stats.as_ref().map(TryInto::try_into).transpose()?,
        flags: TickFlags { backfilled: tick.backfilled, locked_book: tick.locked_book },
    })
}
