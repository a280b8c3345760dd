//! The bus: domain messages published and consumed on JetStream, or in memory with the same semantics.
//!
//! [`Bus`] is the entry type. It speaks `domain` types only; subjects, streams, headers and payloads are made here,
//! and nothing outside this crate knows of NATS. What is promised (order, fencing, what comes again and when) is
//! written once, over a small interface of operations on bytes that both substrates implement.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod broker;
mod codec;
mod config;
mod connect;
pub mod fail_point;
mod failures;
mod fence;
mod follow;
mod headers;
mod latest;
mod lookup;
mod manage;
pub mod metrics;
mod owner;
mod publish;
mod raw_publisher;
mod reconnections;
mod reporter;
mod reshard;
mod retry;
mod streams;
mod subjects;
mod successor;
mod tick_publisher;
mod work;

use std::sync::Arc;

use domain::ShardCount;

use broker::Broker;
pub use broker::BrokerError;
pub use codec::{Undecodable, UndecodableReason};
pub use config::{Config, InvalidPrefix, InvalidServerUrl, PREFIX_BYTES_MAX, Prefix, ServerUrl};
pub use connect::ConnectError;
pub use failures::Failures;
pub use fence::PublishError;
pub use follow::{
    EventFollower, FollowError, FollowFrom, Followed, Follower, RejectFollower, SnapshotFollower,
    TickFollower,
};
pub use lookup::TickMessage;
pub use manage::ManageError;
pub use owner::{InvalidOwner, Owner};
pub use raw_publisher::{PublisherClosed, RawPublisher};
pub use reconnections::Reconnections;
pub use reporter::Reporter;
pub use reshard::{ReshardError, Resharded};
use retry::RetryDelays;
pub use streams::{StreamKind, StreamState};
pub use subjects::{Parsed, Subjects};
pub use tick_publisher::{Recovered, RecoveredBatch, RecoveredRefusals, TickPublisher};
pub use work::{Delivery, FetchError, Lag, Work, WorkReader};

/// Whether ticks came from the live feed or were fetched afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// From the live feed.
    Live,
    /// Fetched afterwards; they have no position.
    Fill,
}

/// The bus. Cheap to clone; clones are the same participant.
#[derive(Clone, Debug)]
pub struct Bus {
    broker: Broker,
    config: Arc<Config>,
    subjects: Subjects,
    owner: Arc<Owner>,
}

impl Bus {
    /// A bus in memory, empty. It lives as long as one of its clones.
    pub fn embedded(config: &Config) -> Self {
        let broker = broker::embedded::Embedded::new(config.publish_timeout);
        Self::new(Broker::Embedded(Arc::new(broker)), config)
    }

    /// Another participant on the same broker: as another process would be, with an identity of its own, on the
    /// connection of this one.
    pub fn join(&self, config: &Config) -> Self {
        Self::new(self.broker.clone(), config)
    }

    fn new(broker: Broker, config: &Config) -> Self {
        Self {
            broker,
            config: Arc::new(config.clone()),
            subjects: Subjects::new(&config.prefix, config.shards),
            owner: Arc::new(Owner::new()),
        }
    }

    /// Makes and reads subjects.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// How many shards there are.
    pub fn shards(&self) -> ShardCount {
        self.config.shards
    }

    /// The identity of this participant on fenced subjects.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether the broker can be reached at this moment, as far as is known. The embedded bus always can.
    pub fn is_connected(&self) -> bool {
        self.broker.is_connected()
    }

    /// Whether this bus lives in the memory of this process, and ends with it.
    pub fn is_embedded(&self) -> bool {
        matches!(self.broker, Broker::Embedded(_))
    }

    fn retry_delays(&self) -> RetryDelays {
        RetryDelays::new(self.config.retry_delay_min, self.config.retry_delay_max)
    }
}
