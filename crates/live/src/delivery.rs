//! What a subscriber is given.

use std::{sync::Arc, time::Duration};

use domain::{FeedEvent, Instrument, Position, Snapshot};
use thiserror::Error;

use crate::LiveTick;

/// One message to a subscriber.
///
/// Per product, positions strictly increase over ticks, and a snapshot is never older than what was given before.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// The full state of a product: asked for, or given instead of ticks that cannot be given one by one.
    Snapshot {
        /// The state. Position 0/0 and an empty state when nothing is known of the product yet.
        snapshot: Arc<Snapshot>,
        /// Ticks since the last delivery of this product that were not given and are contained in the state.
        skipped: u64,
    },
    /// A tick.
    Tick {
        /// The tick.
        tick: Arc<LiveTick>,
        /// Ticks since the last delivery of this product that were left out.
        skipped: u64,
    },
    /// Something happened.
    Event(Event),
}

/// Something that a subscriber should know.
#[derive(Clone, Debug)]
pub enum Event {
    /// The subscriber's token bucket is empty; until it has recovered, only the newest ticks are given. Said once per
    /// episode.
    RateLimited {
        /// When the next message can be sent.
        retry: Duration,
    },
    /// Ticks of the product are missing here: the stream no longer had them when the connection to it came back. A snapshot
    /// or a newer tick follows.
    Missed {
        /// The product.
        instrument: Instrument,
        /// The last position that was given, if any was.
        after: Option<Position>,
    },
    /// Something happened to the feed of a product.
    Feed(Arc<FeedEvent>),
    /// So many feed events have passed unseen.
    EventsSkipped(u64),
}

/// A subscriber that asked for every tick is too slow to be given every tick.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{instrument} has moved on beyond what is kept in memory; the last position given was {after:?}")]
pub struct FellBehind {
    /// The product whose ticks are no longer here.
    pub instrument: Instrument,
    /// The last position that was given, if any was.
    pub after: Option<Position>,
}
