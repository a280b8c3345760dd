//! Ticks that travel together.

use crate::{Instrument, Tick, UnixNanos};

/// The most ticks in one batch.
pub const BATCH_TICKS_MAX: usize = 512;
/// The most bytes of one encoded batch.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// One connection to an exchange. A new connection is a new session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedSession {
    /// Unique: the instance of the ingestor and the number of its connection, e.g. `host-1a2b-3`.
    pub id: String,
    /// When the connection was made, by our clock.
    pub started: UnixNanos,
}

/// 1 to 512 ticks of one product in feed order: the payload of a message on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickBatch {
    /// The product of every tick.
    pub instrument: Instrument,
    /// The ticks, in feed order.
    pub ticks: Vec<Tick>,
    /// The connection that the newest of them came from.
    pub session: FeedSession,
    /// The newest message of `LF_RAW` of this product that went into this batch; set by the normalizer.
    pub raw_sequence: Option<u64>,
    /// When the normalizer was done with it, by our clock.
    pub normalised_at: Option<UnixNanos>,
}
