//! What a subscriber is given.

use std::{sync::Arc, time::Duration};

use domain::{FeedEvent, Instrument, Position, Snapshot, UnixNanos};
use thiserror::Error;

use crate::{HistoryError, LiveTick};

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
        /// Resumes the product after it; empty when there is no place to resume from.
        token: String,
    },
    /// A tick. [`LiveTick::token`] resumes the product after it.
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
    /// Everything from the past has been given; what follows happens now. Said once after products were added.
    Live,
    /// The whole subscription resumes from here with this token. It comes without one too: a subscriber hears that all is
    /// well.
    Checkpoint {
        /// The token; empty while there is none.
        token: String,
    },
    /// What the product was to start with, or what the connection to the stream has missed, cannot be given completely, so
    /// none of it is. The full state follows, and then what happens now.
    NotRecovered {
        /// The product.
        instrument: Instrument,
        /// The last position that was given, or that the subscriber came with; `None` when there is none.
        after: Option<Position>,
        /// Why.
        reason: NotRecovered,
    },
    /// The subscriber's token bucket is empty; until it has recovered, only the newest ticks are given. Said once per
    /// episode.
    RateLimited {
        /// When the next message can be sent.
        retry: Duration,
    },
    /// Something happened to the feed of a product.
    Feed(Arc<FeedEvent>),
    /// So many feed events have passed unseen.
    EventsSkipped(u64),
}

/// Why the past cannot be given.
#[derive(Clone, Debug, Error)]
pub enum NotRecovered {
    /// The token is of another database, or of another stream of ticks.
    #[error("the token is of another history than this one")]
    OtherHistory,
    /// Nobody has said yet which history this is.
    #[error("it is not known yet which history this is")]
    UnknownHistory,
    /// The wanted tick is not there, while later ones are: it is no longer kept, or was never part of this history.
    #[error("{wanted} is not in history")]
    NotStored {
        /// The wanted position.
        wanted: Position,
    },
    /// The wanted time is before everything that is kept.
    #[error("history is kept from {horizon} on")]
    BeforeHorizon {
        /// The oldest time that is kept.
        horizon: UnixNanos,
    },
    /// Nothing as new as the wanted position has been heard of.
    #[error("{wanted} is ahead of everything that is known")]
    Ahead {
        /// The wanted position.
        wanted: Position,
    },
    /// What is stored did not reach up to what is in memory in time.
    #[error("history is too far behind the stream")]
    Behind,
    /// More runs than can be read lie in between.
    #[error("the sequence has started anew too often since")]
    TooManyRuns,
    /// Memory does not reach back that far, and there is no history to read.
    #[error("memory does not reach back that far, and there is no history to read here")]
    NoHistory,
    /// History does not answer.
    #[error("history does not answer")]
    History(#[source] Arc<HistoryError>),
}

/// Why a subscription ends. Its token resumes where it stopped.
#[derive(Clone, Debug, Error)]
pub enum Ended {
    /// It asked for every tick and is too slow to be given every tick.
    #[error("{instrument} has moved on beyond what is kept in memory; the last position given was {after:?}")]
    FellBehind {
        /// The product whose ticks are no longer here.
        instrument: Instrument,
        /// The last position that was given, if any was.
        after: Option<Position>,
    },
    /// A part of the past was given, and the rest cannot be.
    #[error("the rest of the past of {instrument} cannot be given")]
    Interrupted {
        /// The product.
        instrument: Instrument,
        /// Why.
        #[source]
        reason: NotRecovered,
    },
}

impl Ended {
    /// The product because of which it ends.
    pub fn instrument(&self) -> &Instrument {
        match self {
            Self::FellBehind { instrument, .. } | Self::Interrupted { instrument, .. } => instrument,
        }
    }
}
