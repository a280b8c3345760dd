//! The payloads of messages on the bus.

use bytes::Bytes;
use domain::{BATCH_BYTES_MAX, FeedEvent, RejectedTick, RoleStatus, Snapshot, TickBatch};
use prost::Message;
use thiserror::Error;

use crate::{InvalidBatch, InvalidEvent, InvalidReject, InvalidSnapshot, InvalidStatus, v1};

/// Why the payload of a message is not what it should be.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum DecodeError {
    /// A batch has at most 256 KiB.
    #[error("the batch has {0} bytes, allowed: {BATCH_BYTES_MAX}")]
    TooLarge(usize),
    /// The bytes are no message of this kind at all.
    #[error("malformed protobuf")]
    Malformed(#[from] prost::DecodeError),
    /// The message is no batch.
    #[error("invalid batch")]
    Batch(#[from] InvalidBatch),
    /// The message is no snapshot.
    #[error("invalid snapshot")]
    Snapshot(#[from] InvalidSnapshot),
    /// The message is no rejected tick.
    #[error("invalid rejected tick")]
    Reject(#[from] InvalidReject),
    /// The message is no event.
    #[error("invalid event")]
    Event(#[from] InvalidEvent),
    /// The message is no status.
    #[error("invalid status")]
    Status(#[from] InvalidStatus),
}

/// A batch as payload. It is at most 256 KiB when it has at most 512 ticks and a session id of at most 1 KiB.
pub fn encode_batch(batch: &TickBatch) -> Bytes {
    v1::TickBatch::from(batch).encode_to_vec().into()
}

/// Reads a batch: 1 to 512 ticks of one product, all sharing the names of the batch.
pub fn decode_batch(payload: &[u8]) -> Result<TickBatch, DecodeError> {
    if payload.len() > BATCH_BYTES_MAX {
        return Err(DecodeError::TooLarge(payload.len()));
    }
    Ok(v1::TickBatch::decode(payload)?.try_into()?)
}

/// A snapshot as payload.
pub fn encode_snapshot(snapshot: &Snapshot) -> Bytes {
    v1::Snapshot::from(snapshot).encode_to_vec().into()
}

/// Reads a snapshot.
pub fn decode_snapshot(payload: &[u8]) -> Result<Snapshot, DecodeError> {
    Ok(v1::Snapshot::decode(payload)?.try_into()?)
}

/// A rejected tick as payload.
pub fn encode_reject(rejected: &RejectedTick) -> Bytes {
    v1::RejectedTick::from(rejected).encode_to_vec().into()
}

/// Reads a rejected tick.
pub fn decode_reject(payload: &[u8]) -> Result<RejectedTick, DecodeError> {
    Ok(v1::RejectedTick::decode(payload)?.try_into()?)
}

/// An event as payload.
pub fn encode_event(event: &FeedEvent) -> Bytes {
    v1::FeedEvent::from(event).encode_to_vec().into()
}

/// Reads an event.
pub fn decode_event(payload: &[u8]) -> Result<FeedEvent, DecodeError> {
    Ok(v1::FeedEvent::decode(payload)?.try_into()?)
}

/// A status as payload.
pub fn encode_status(status: &RoleStatus) -> Bytes {
    v1::RoleStatus::from(status).encode_to_vec().into()
}

/// Reads a status.
pub fn decode_status(payload: &[u8]) -> Result<RoleStatus, DecodeError> {
    Ok(v1::RoleStatus::decode(payload)?.try_into()?)
}
