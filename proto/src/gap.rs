//! Gaps and the states of a feed.

use domain::{FeedState, Gap, GapCause, GapState};
use thiserror::Error;

use crate::{
    instrument,
    instrument::InvalidName,
    time::{InvalidTimestamp, optional_time, required_time, timestamp},
    v1,
};

/// Why a message is no gap.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidGap {
    /// The gap does not say of which product it is.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The last missing trade comes before the first.
    #[error("last_trade_id {last} is below first_trade_id {first}")]
    Reversed {
        /// The first missing trade.
        first: u64,
        /// The last missing trade.
        last: u64,
    },
    /// The cause is absent or one that this version does not know.
    #[error("cause {0} is unknown")]
    UnknownCause(i32),
    /// The state is absent or one that this version does not know.
    #[error("state {0} is unknown")]
    UnknownState(i32),
    /// A time is missing or malformed.
    #[error(transparent)]
    Time(#[from] InvalidTimestamp),
}

impl From<FeedState> for v1::FeedState {
    fn from(state: FeedState) -> Self {
        match state {
            FeedState::Connecting => Self::Connecting,
            FeedState::Live => Self::Live,
            FeedState::Stale => Self::Stale,
            FeedState::BackingOff => Self::BackingOff,
        }
    }
}

impl From<GapCause> for v1::GapCause {
    fn from(cause: GapCause) -> Self {
        match cause {
            GapCause::Disconnect => Self::Disconnect,
            GapCause::Restart => Self::Restart,
            GapCause::Drop => Self::Drop,
            GapCause::Batched => Self::Batched,
            GapCause::Overflow => Self::Overflow,
        }
    }
}

impl From<GapState> for v1::GapState {
    fn from(state: GapState) -> Self {
        match state {
            GapState::Open => Self::Open,
            GapState::Repaired => Self::Repaired,
            GapState::Unrepairable => Self::Unrepairable,
        }
    }
}

impl From<&Gap> for v1::Gap {
    fn from(gap: &Gap) -> Self {
        let (venue, product) = instrument::encode(&gap.instrument);
        Self {
            venue,
            product,
            run: gap.run,
            first_trade_id: gap.first_trade_id,
            last_trade_id: gap.last_trade_id,
            previous_event_time: gap.after.map(timestamp),
            next_event_time: gap.before.map(timestamp),
            detect_time: Some(timestamp(gap.detected_at)),
            cause: v1::GapCause::from(gap.cause).into(),
            state: v1::GapState::from(gap.state).into(),
            repaired_count: gap.repaired_count,
        }
    }
}

impl TryFrom<v1::Gap> for Gap {
    type Error = InvalidGap;

    fn try_from(gap: v1::Gap) -> Result<Self, InvalidGap> {
        if gap.last_trade_id < gap.first_trade_id {
            return Err(InvalidGap::Reversed { first: gap.first_trade_id, last: gap.last_trade_id });
        }
        Ok(Self {
            instrument: instrument::decode(&gap.venue, &gap.product)?,
            run: gap.run,
            first_trade_id: gap.first_trade_id,
            last_trade_id: gap.last_trade_id,
            after: optional_time("previous_event_time", gap.previous_event_time.as_ref())?,
            before: optional_time("next_event_time", gap.next_event_time.as_ref())?,
            detected_at: required_time("detect_time", gap.detect_time.as_ref())?,
            cause: decode_cause(gap.cause)?,
            state: gap_state(gap.state).ok_or(InvalidGap::UnknownState(gap.state))?,
            repaired_count: gap.repaired_count,
        })
    }
}

fn decode_cause(number: i32) -> Result<GapCause, InvalidGap> {
    match v1::GapCause::try_from(number) {
        Ok(v1::GapCause::Disconnect) => Ok(GapCause::Disconnect),
        Ok(v1::GapCause::Restart) => Ok(GapCause::Restart),
        Ok(v1::GapCause::Drop) => Ok(GapCause::Drop),
        Ok(v1::GapCause::Batched) => Ok(GapCause::Batched),
        Ok(v1::GapCause::Overflow) => Ok(GapCause::Overflow),
        Ok(v1::GapCause::Unspecified) | Err(_) => Err(InvalidGap::UnknownCause(number)),
    }
}

/// The state of a gap with this number on the wire; `None` when it is absent or unknown.
pub fn gap_state(number: i32) -> Option<GapState> {
    match v1::GapState::try_from(number).ok()? {
        v1::GapState::Unspecified => None,
        v1::GapState::Open => Some(GapState::Open),
        v1::GapState::Repaired => Some(GapState::Repaired),
        v1::GapState::Unrepairable => Some(GapState::Unrepairable),
    }
}

/// The state of a feed with this number on the wire; `None` when it is absent, the number when it is unknown or one that
/// no feed says of itself: gaps are a matter of history.
pub(crate) fn feed_state(number: i32) -> Result<Option<FeedState>, i32> {
    match v1::FeedState::try_from(number).map_err(|_| number)? {
        v1::FeedState::Unspecified => Ok(None),
        v1::FeedState::Connecting => Ok(Some(FeedState::Connecting)),
        v1::FeedState::Live => Ok(Some(FeedState::Live)),
        v1::FeedState::Stale => Ok(Some(FeedState::Stale)),
        v1::FeedState::BackingOff => Ok(Some(FeedState::BackingOff)),
        v1::FeedState::Gap => Err(number),
    }
}
