//! How roles fare.

use domain::{FeedState, Instrument, Position, RoleStatus, ShardProgress};
use thiserror::Error;

use crate::{
    gap::feed_state,
    instrument,
    instrument::InvalidName,
    time::{InvalidTimestamp, decode_duration, duration, required_time, timestamp},
    v1,
};

/// Why a message is no status.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidStatus {
    /// The role must not be empty.
    #[error("role is missing")]
    MissingRole,
    /// The instance must not be empty.
    #[error("instance is missing")]
    MissingInstance,
    /// An entry of the progress does not say of which product it is.
    #[error("progress")]
    Progress(#[source] InvalidName),
    /// An entry of the states of products does not say of which product it is.
    #[error("product_states")]
    ProductState(#[source] InvalidName),
    /// Shards are numbered from 0 to 65535.
    #[error("shard {0} is above 65535")]
    ShardOutOfRange(u32),
    /// The state of the feed is one that this version does not know.
    #[error("feed_state {0} is unknown")]
    UnknownFeedState(i32),
    /// A time or a duration is missing or malformed.
    #[error(transparent)]
    Time(#[from] InvalidTimestamp),
}

impl From<&ShardProgress> for v1::ShardProgress {
    fn from(progress: &ShardProgress) -> Self {
        let (venue, product) = instrument::encode(&progress.instrument);
        Self {
            venue,
            product,
            shard: progress.shard.into(),
            run: progress.position.run,
            sequence: progress.position.sequence,
            event_time: Some(timestamp(progress.event_time)),
        }
    }
}

impl From<&RoleStatus> for v1::RoleStatus {
    fn from(status: &RoleStatus) -> Self {
        Self {
            role: status.role.clone(),
            instance: status.instance.clone(),
            report_time: Some(timestamp(status.time)),
            ready: status.ready,
            feed_state: status.feed_state.map_or(v1::FeedState::Unspecified, Into::into).into(),
            heartbeat_age: status.heartbeat_age.map(duration),
            progress: status.progress.iter().map(Into::into).collect(),
            backlog_messages: status.backlog_messages,
            ticks: status.ticks,
            rejected: status.rejected,
            duplicates: status.duplicates,
            product_states: status.product_states.iter().map(encode_product_state).collect(),
        }
    }
}

fn encode_product_state((instrument, state): &(Instrument, FeedState)) -> v1::ProductFeedState {
    let (venue, product) = instrument::encode(instrument);
    v1::ProductFeedState { venue, product, feed_state: v1::FeedState::from(*state).into() }
}

fn decode_product_state(said: &v1::ProductFeedState) -> Result<(Instrument, FeedState), InvalidStatus> {
    let instrument = instrument::decode(&said.venue, &said.product).map_err(InvalidStatus::ProductState)?;
    match feed_state(said.feed_state) {
        Ok(Some(state)) => Ok((instrument, state)),
        _ => Err(InvalidStatus::UnknownFeedState(said.feed_state)),
    }
}

impl TryFrom<v1::ShardProgress> for ShardProgress {
    type Error = InvalidStatus;

    fn try_from(progress: v1::ShardProgress) -> Result<Self, InvalidStatus> {
        Ok(Self {
            instrument: instrument::decode(&progress.venue, &progress.product)
                .map_err(InvalidStatus::Progress)?,
            shard: u16::try_from(progress.shard)
                .map_err(|_| InvalidStatus::ShardOutOfRange(progress.shard))?,
            position: Position { run: progress.run, sequence: progress.sequence },
            event_time: required_time("progress.event_time", progress.event_time.as_ref())?,
        })
    }
}

impl TryFrom<v1::RoleStatus> for RoleStatus {
    type Error = InvalidStatus;

    fn try_from(status: v1::RoleStatus) -> Result<Self, InvalidStatus> {
        if status.role.is_empty() {
            return Err(InvalidStatus::MissingRole);
        }
        if status.instance.is_empty() {
            return Err(InvalidStatus::MissingInstance);
        }
        let heartbeat_age = status.heartbeat_age.as_ref();
        let product_states = status.product_states.iter().map(decode_product_state);
        Ok(Self {
            role: status.role,
            instance: status.instance,
            time: required_time("report_time", status.report_time.as_ref())?,
            ready: status.ready,
            feed_state: feed_state(status.feed_state).map_err(InvalidStatus::UnknownFeedState)?,
            heartbeat_age: heartbeat_age.map(|age| decode_duration("heartbeat_age", age)).transpose()?,
            progress: status.progress.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            backlog_messages: status.backlog_messages,
            ticks: status.ticks,
            rejected: status.rejected,
            duplicates: status.duplicates,
            product_states: product_states.collect::<Result<_, _>>()?,
        })
    }
}
