//! The wire format of LedgerFlux: the generated types of `ledgerflux.v1` and their conversions to and from the domain.
//!
//! [`v1`] holds what is generated from `ledgerflux/v1/*.proto`, services included. Encoding is `From<&domain::X> for
//! v1::X` and cannot fail; decoding is `TryFrom<v1::X> for domain::X` and names the fault ([`InvalidTick`] and its
//! siblings). [`encode_batch`], [`decode_batch`] and their siblings are the payloads of the bus. Nothing here knows of
//! subjects, sockets or handlers.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]
#![deny(clippy::float_arithmetic)]

mod batch;
mod candle;
mod deadline;
mod event;
mod gap;
mod instrument;
mod market;
mod number;
mod payload;
mod price;
mod range;
mod reject;
mod snapshot;
mod status;
mod tick;
mod time;

pub use batch::{InvalidBatch, TICK_BYTES_MAX, tick_encoded_len};
pub use candle::{InvalidInterval, candle, interval};
pub use deadline::{call_timeout, call_timeout_text};
pub use event::InvalidEvent;
pub use gap::{InvalidGap, gap_state};
pub use instrument::{InvalidName, requested_instrument};
pub use market::InvalidMarket;
pub use number::InvalidDecimal;
pub use payload::{
    DecodeError, decode_batch, decode_event, decode_reject, decode_snapshot, decode_status, encode_batch,
    encode_event, encode_reject, encode_snapshot, encode_status,
};
pub use price::{latest_price, latest_price_unknown};
pub use range::{InvalidRange, time_range};
pub use reject::InvalidReject;
pub use snapshot::{InvalidSnapshot, past_snapshot};
pub use status::InvalidStatus;
pub use tick::InvalidTick;
pub use time::{InvalidTimestamp, TimeFault, duration, required_time, time, timestamp};

/// The package `ledgerflux.v1` as generated: messages, service clients and service servers.
#[allow(warnings, reason = "generated code keeps its own style")]
pub mod v1 {
    tonic::include_proto!("ledgerflux.v1");
}

/// The descriptors of `ledgerflux.v1` and of what it imports, as an encoded `FileDescriptorSet`: what reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("ledgerflux_descriptor");
