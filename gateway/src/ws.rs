//! The WebSocket endpoint: JSON frames, compatible with the original protocol.

mod admission;
mod frame;
mod refusal;
mod request;
mod session;
mod upgrade;

pub(crate) use upgrade::{Sessions, upgrade};
