//! How a role says every second how it is doing.

use std::time::Duration;

use crate::{FeedState, Instrument, Position, Shard, UnixNanos};

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
    /// The products whose feed is in another state than `feed_state` (ingestor only).
    pub product_states: Vec<(Instrument, FeedState)>,
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

impl RoleStatus {
    /// The name of the worker of one shard: the instance with the shard at its end.
    pub fn worker_instance(instance: &str, shard: Shard) -> String {
        format!("{instance}-{shard}")
    }

    /// The shard of a worker, from the end of its instance name; meaningless for roles without shards.
    pub fn worker_shard(&self) -> Option<u16> {
        self.instance.rsplit_once('-')?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShardCount;

    #[test]
    fn a_worker_tells_its_shard() {
        let shard = ShardCount::default().shard(3).unwrap();
        let status = RoleStatus {
            role: "normalizer".into(),
            instance: RoleStatus::worker_instance("host-17", shard),
            time: UnixNanos::new(0),
            ready: true,
            feed_state: None,
            heartbeat_age: None,
            product_states: Vec::new(),
            progress: Vec::new(),
            backlog_messages: None,
            ticks: 0,
            rejected: 0,
            duplicates: 0,
        };
        assert_eq!((status.instance.as_str(), status.worker_shard()), ("host-17-3", Some(3)));
    }
}
