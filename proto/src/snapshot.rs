//! Snapshots.

use domain::{Instrument, MarketState, Position, Snapshot, UnixNanos};
use prost_types::Timestamp;
use thiserror::Error;

use crate::{
    instrument,
    instrument::InvalidName,
    market::{BEST_ASK, BEST_BID, InvalidMarket, quote},
    time::{InvalidTimestamp, required_time, timestamp},
    v1,
};

/// Why a message is no snapshot.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidSnapshot {
    /// The snapshot does not say of which product it is.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Only a snapshot of a time in the past may have no position, and none of those is kept.
    #[error("sequence is missing")]
    MissingSequence,
    /// The state must be present, even if nothing is known.
    #[error("state is missing")]
    MissingState,
    /// A time is missing or malformed.
    #[error(transparent)]
    Time(#[from] InvalidTimestamp),
    /// A trade, a quote or the statistics of the day are malformed.
    #[error(transparent)]
    Market(#[from] InvalidMarket),
}

impl From<&MarketState> for v1::MarketState {
    fn from(state: &MarketState) -> Self {
        let (last_trade, last_trade_time) = encode(state.last_trade.as_ref());
        let (best_bid, best_bid_time) = encode(state.best_bid.as_ref());
        let (best_ask, best_ask_time) = encode(state.best_ask.as_ref());
        let (day_stats, day_stats_time) = encode(state.day.as_ref());
        Self {
            last_trade,
            last_trade_time,
            best_bid,
            best_bid_time,
            best_ask,
            best_ask_time,
            day_stats,
            day_stats_time,
        }
    }
}

/// What was known of `instrument` at `time`; `position` is where the newest live tick by then stands, if there is one.
pub fn past_snapshot(
    instrument: &Instrument,
    state: &MarketState,
    position: Option<Position>,
    time: UnixNanos,
) -> v1::Snapshot {
    let (venue, product) = instrument::encode(instrument);
    v1::Snapshot {
        venue,
        product,
        run: position.map_or(0, |position| position.run),
        sequence: position.map(|position| position.sequence),
        snapshot_time: Some(timestamp(time)),
        state: Some(state.into()),
    }
}

impl From<&Snapshot> for v1::Snapshot {
    fn from(snapshot: &Snapshot) -> Self {
        let (venue, product) = instrument::encode(&snapshot.instrument);
        Self {
            venue,
            product,
            run: snapshot.position.run,
            sequence: Some(snapshot.position.sequence),
            snapshot_time: Some(timestamp(snapshot.snapshot_time)),
            state: Some((&snapshot.state).into()),
        }
    }
}

impl TryFrom<v1::MarketState> for MarketState {
    type Error = InvalidSnapshot;

    fn try_from(state: v1::MarketState) -> Result<Self, InvalidSnapshot> {
        Ok(Self {
            last_trade: decode(
                "state.last_trade_time",
                state.last_trade.as_ref(),
                state.last_trade_time.as_ref(),
                |trade| trade.try_into(),
            )?,
            best_bid: decode(
                "state.best_bid_time",
                state.best_bid.as_ref(),
                state.best_bid_time.as_ref(),
                |bid| quote(&BEST_BID, bid),
            )?,
            best_ask: decode(
                "state.best_ask_time",
                state.best_ask.as_ref(),
                state.best_ask_time.as_ref(),
                |ask| quote(&BEST_ASK, ask),
            )?,
            day: decode(
                "state.day_stats_time",
                state.day_stats.as_ref(),
                state.day_stats_time.as_ref(),
                |day| day.try_into(),
            )?,
        })
    }
}

impl TryFrom<v1::Snapshot> for Snapshot {
    type Error = InvalidSnapshot;

    fn try_from(snapshot: v1::Snapshot) -> Result<Self, InvalidSnapshot> {
        Ok(Self {
            instrument: instrument::decode(&snapshot.venue, &snapshot.product)?,
            position: Position {
                run: snapshot.run,
                sequence: snapshot.sequence.ok_or(InvalidSnapshot::MissingSequence)?,
            },
            snapshot_time: required_time("snapshot_time", snapshot.snapshot_time.as_ref())?,
            state: snapshot.state.ok_or(InvalidSnapshot::MissingState)?.try_into()?,
        })
    }
}

/// A group and its time, which are present or absent together.
pub(crate) fn encode<'a, T, W: From<&'a T>>(
    group: Option<&'a (T, UnixNanos)>,
) -> (Option<W>, Option<Timestamp>) {
    group.map(|(said, at)| (W::from(said), timestamp(*at))).unzip()
}

fn decode<W, T>(
    time_field: &'static str,
    group: Option<&W>,
    time: Option<&Timestamp>,
    read: impl FnOnce(&W) -> Result<T, InvalidMarket>,
) -> Result<Option<(T, UnixNanos)>, InvalidSnapshot> {
    let Some(group) = group else { return Ok(None) };
    Ok(Some((read(group)?, required_time(time_field, time)?)))
}
