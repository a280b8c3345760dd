//! The WebSocket endpoint: JSON frames, compatible with the original protocol, or protobuf ones by subprotocol.
//!
//! `upgrade` makes a WebSocket of a request, `admission` finds out whose it is, `session` serves one client; what it asks
//! for is read in `request` and done in `subscribe`. `dialect` turns what the subscription gives into frames, which `wire` writes.

mod admission;
mod cadence;
mod dialect;
mod doorstep;
mod end;
mod frame;
mod patience;
mod refusal;
mod request;
mod session;
mod subscribe;
mod upgrade;
mod wire;

pub(crate) use cadence::Cadence;
pub(crate) use upgrade::{Sessions, upgrade};
