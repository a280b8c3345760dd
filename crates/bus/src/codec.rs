//! From payloads to the domain and back.

use bytes::Bytes;
use domain::{FeedEvent, RejectedTick, RoleStatus, Snapshot, TickBatch};
use proto::DecodeError;
use thiserror::Error;

use crate::{
    broker::Stored,
    headers::{self, Headers},
};

/// What a payload can be.
pub(crate) trait Payload: Sized {
    /// The name of the message in the schema, as it stands in the header `lf-schema`.
    const SCHEMA: &'static str;

    fn encode(&self) -> Bytes;

    fn decode(payload: &[u8]) -> Result<Self, DecodeError>;
}

macro_rules! payload {
    ($type:ty, $name:literal, $encode:path, $decode:path) => {
        impl Payload for $type {
            const SCHEMA: &'static str = concat!("ledgerflux.v1.", $name);

            fn encode(&self) -> Bytes {
                $encode(self)
            }

            fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
                $decode(payload)
            }
        }
    };
}

payload!(TickBatch, "TickBatch", proto::encode_batch, proto::decode_batch);
payload!(Snapshot, "Snapshot", proto::encode_snapshot, proto::decode_snapshot);
payload!(RejectedTick, "RejectedTick", proto::encode_reject, proto::decode_reject);
payload!(FeedEvent, "FeedEvent", proto::encode_event, proto::decode_event);
payload!(RoleStatus, "RoleStatus", proto::encode_status, proto::decode_status);

/// A message whose payload is not what it should be.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("message {stream_sequence} on {subject} cannot be decoded")]
pub struct Undecodable {
    /// Where it stands in its stream.
    pub stream_sequence: u64,
    /// Its subject.
    pub subject: String,
    /// The payload as it was received.
    pub raw: Bytes,
    /// Why.
    #[source]
    pub why: Box<UndecodableReason>,
}

/// Why a payload cannot be decoded.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum UndecodableReason {
    /// The header names another schema than the subject is for.
    #[error("the schema is {found:?}, expected: {expected}")]
    Schema {
        /// What the header says.
        found: String,
        /// What belongs on this subject.
        expected: &'static str,
    },
    /// The payload does not follow the schema.
    #[error(transparent)]
    Payload(#[from] DecodeError),
}

/// Decodes a message. A message without the schema header is taken to be of the schema of its subject.
pub(crate) fn decode<T: Payload>(stored: &Stored) -> Result<T, Undecodable> {
    decode_content(&stored.headers, &stored.payload).map_err(|why| Undecodable {
        stream_sequence: stored.sequence,
        subject: stored.subject.to_string(),
        raw: stored.payload.clone(),
        why: Box::new(why),
    })
}

fn decode_content<T: Payload>(headers: &Headers, payload: &[u8]) -> Result<T, UndecodableReason> {
    match headers.get(headers::SCHEMA) {
        Some(found) if found != T::SCHEMA => {
            Err(UndecodableReason::Schema { found: found.chars().take(128).collect(), expected: T::SCHEMA })
        }
        _ => Ok(T::decode(payload)?),
    }
}
