//! How a role says every second how it is doing.

use std::time::Duration;

use crate::{FeedState, Instrument, Position, UnixNanos};

/// How far a shard of a role has come with one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardProgress {
    /// Where and what.
    pub instrument: Instrument,
    /// The shard.
    pub shard: u16,
    /// The newest position it is done with.
    pub position: Position,
    /// The event time there.
    pub event_time: UnixNanos,
}

/// What a role says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleStatus {
    /// `ingestor`, `normalizer`, `snapshotter`, `query` or `gateway`.
    pub role: String,
    /// Which process, and shard where there is one.
    pub instance: String,
    /// When, by our clock.
    pub time: UnixNanos,
    /// Whether it can do its job.
    pub ready: bool,
    /// How its feed is doing (ingestor only).
    pub feed_state: Option<FeedState>,
    /// How long ago its feed was heard of (ingestor only).
    pub heartbeat_age: Option<Duration>,
    /// How far each product has come.
    pub progress: Vec<ShardProgress>,
    /// Messages that wait for it (workers only).
    pub backlog_messages: Option<u64>,
    /// Ticks handled since it started.
    pub ticks: u64,
    /// Ticks refused since it started.
    pub rejected: u64,
    /// Duplicates dropped since it started.
    pub duplicates: u64,
}
