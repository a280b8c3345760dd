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

impl FeedSession {
    /// The instance of the ingestor, which all of its connections share: the id without the number of the connection.
    pub fn instance(&self) -> &str {
        self.id.rsplit_once('-').map_or(self.id.as_str(), |(instance, _)| instance)
    }
}

/// What the exchange says of a product each second, whether or not anything happens: how far its trades have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The exchange's number of the newest trade.
    pub last_trade_id: u64,
    /// When, by the exchange's clock.
    pub time: UnixNanos,
}

/// Up to 512 ticks of one product in feed order: the payload of a message on the bus. Without ticks it carries a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickBatch {
    /// The product of every tick.
    pub instrument: Instrument,
    /// The ticks, in feed order.
    pub ticks: Vec<Tick>,
    /// The connection that the newest of them, or the heartbeat, came from.
    pub session: FeedSession,
    /// The feed has kept trades up to this one from us: they came with none of the ticks so far. Set by the ingestor.
    pub heartbeat: Option<Heartbeat>,
    /// The newest message of `LF_RAW` of this product that went into this batch; set by the normalizer.
    pub raw_sequence: Option<u64>,
    /// When the normalizer was done with it, by our clock.
    pub normalised_at: Option<UnixNanos>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_ingestor_share_its_instance() {
        let session = |id: &str| FeedSession { id: id.into(), started: UnixNanos::new(0) };
        assert_eq!(session("host-1a2b-3").instance(), "host-1a2b");
        assert_eq!(session("host-1a2b-3").instance(), session("host-1a2b-12").instance());
        assert_eq!(session("host").instance(), "host");
    }
}
