//! Batches of ticks: what travels on the bus.

use domain::{
    BATCH_BYTES_MAX, BATCH_TICKS_MAX, FeedSession, Heartbeat, PRODUCT_BYTES_MAX, Tick, TickBatch,
    VENUE_BYTES_MAX,
};
use prost::Message;
use thiserror::Error;

use crate::{
    instrument,
    instrument::InvalidName,
    tick::{InvalidTick, decode_within, encode_within},
    time::{InvalidTimestamp, optional_time, required_time, timestamp},
    v1,
};

/// The most bytes that one tick adds to an encoded batch of its product: every group present, every number and time of
/// the greatest length.
pub const TICK_BYTES_MAX: usize = 447;

/// What an encoded batch holds besides its ticks: the names, the session (whose id is at most 1 KiB), and the marks of
/// the normalizer.
const BATCH_FRAME_BYTES_MAX: usize = VENUE_BYTES_MAX + PRODUCT_BYTES_MAX + 1024 + 128;

// A batch that keeps the limit of ticks keeps the limit of bytes as well, whatever its ticks say.
const _: () = assert!(BATCH_TICKS_MAX * TICK_BYTES_MAX + BATCH_FRAME_BYTES_MAX <= BATCH_BYTES_MAX);

/// Why a message is no batch.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidBatch {
    /// The batch does not say of which product it is.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A batch has 1 to 512 ticks, or none and a heartbeat.
    #[error("the batch has {0} ticks, allowed: 1 to {BATCH_TICKS_MAX}")]
    TickCount(usize),
    /// One of the ticks is at fault, and with it the batch.
    #[error("tick {index} of the batch")]
    Tick {
        /// Its place in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: InvalidTick,
    },
    /// The batch does not say from which feed session it is.
    #[error("session is missing")]
    MissingSession,
    /// The session has no id.
    #[error("session.id is missing")]
    MissingSessionId,
    /// A time is missing or malformed.
    #[error(transparent)]
    Time(#[from] InvalidTimestamp),
}

/// How many bytes `tick` adds to an encoded batch of its product; at most [`TICK_BYTES_MAX`].
pub fn tick_encoded_len(tick: &Tick) -> usize {
    let length = encode_within(&tick.instrument, tick).encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

impl From<&FeedSession> for v1::FeedSession {
    fn from(session: &FeedSession) -> Self {
        Self { id: session.id.clone(), start_time: Some(timestamp(session.started)) }
    }
}

impl From<&TickBatch> for v1::TickBatch {
    fn from(batch: &TickBatch) -> Self {
        let (venue, product) = instrument::encode(&batch.instrument);
        Self {
            venue,
            product,
            ticks: batch.ticks.iter().map(|tick| encode_within(&batch.instrument, tick)).collect(),
            session: Some((&batch.session).into()),
            raw_sequence: batch.raw_sequence,
            normalise_time: batch.normalised_at.map(timestamp),
            heartbeat: batch.heartbeat.map(|heartbeat| v1::Heartbeat {
                last_trade_id: heartbeat.last_trade_id,
                time: Some(timestamp(heartbeat.time)),
            }),
        }
    }
}

impl TryFrom<v1::TickBatch> for TickBatch {
    type Error = InvalidBatch;

    fn try_from(batch: v1::TickBatch) -> Result<Self, InvalidBatch> {
        let instrument = instrument::decode(&batch.venue, &batch.product)?;
        let is_empty = batch.ticks.is_empty() && batch.heartbeat.is_none();
        if is_empty || batch.ticks.len() > BATCH_TICKS_MAX {
            return Err(InvalidBatch::TickCount(batch.ticks.len()));
        }
        let mut ticks = Vec::with_capacity(batch.ticks.len());
        for (index, tick) in batch.ticks.iter().enumerate() {
            let tick =
                decode_within(&instrument, tick).map_err(|source| InvalidBatch::Tick { index, source })?;
            ticks.push(tick);
        }
        let session = batch.session.ok_or(InvalidBatch::MissingSession)?;
        if session.id.is_empty() {
            return Err(InvalidBatch::MissingSessionId);
        }
        let heartbeat = batch.heartbeat.map(|heartbeat| {
            let time = required_time("heartbeat.time", heartbeat.time.as_ref())?;
            Ok::<_, InvalidTimestamp>(Heartbeat { last_trade_id: heartbeat.last_trade_id, time })
        });
        Ok(Self {
            instrument,
            ticks,
            heartbeat: heartbeat.transpose()?,
            session: FeedSession {
                started: required_time("session.start_time", session.start_time.as_ref())?,
                id: session.id,
            },
            raw_sequence: batch.raw_sequence,
            normalised_at: optional_time("normalise_time", batch.normalise_time.as_ref())?,
        })
    }
}
