//! Why a session ends, and what its client is told.

use live::Ended;
use tokio_tungstenite::tungstenite::{
    Error as SocketError,
    error::ProtocolError,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
use tracing::debug;

use crate::access;

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed the connection or lost it.
    Left,
    /// The gateway ends.
    Restart,
    /// The time of its key or token is over.
    Access(access::Ended),
    /// Every tick is more than its key or token allows.
    Quota,
    /// The client gave no sign of life.
    Idle,
    /// The client takes nothing off its socket.
    Stuck,
    /// The client asked for every tick and is too slow for it.
    FellBehind,
    /// Too many requests, for too long.
    Flood,
    /// A message is too long.
    TooLong,
    /// A binary message where text is due.
    Binary,
    /// Text that is not UTF-8.
    NotText,
    /// The client breaks the protocol.
    Protocol,
    /// History failed in the middle of what was promised.
    Interrupted,
}

impl End {
    /// The end of a session whose subscription has ended.
    pub(super) fn of(ended: &Ended) -> Self {
        match ended {
            Ended::FellBehind { .. } => Self::FellBehind,
            Ended::Interrupted { .. } => Self::Interrupted,
        }
    }

    /// As it stands in labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Restart => "restart",
            Self::Access(ended) => ended.as_str(),
            Self::Quota => "quota",
            Self::Idle => "idle",
            Self::Stuck => "stuck",
            Self::FellBehind => "fell_behind",
            Self::Flood => "flood",
            Self::TooLong => "too_long",
            Self::Binary => "binary",
            Self::NotText => "not_text",
            Self::Protocol => "protocol",
            Self::Interrupted => "interrupted",
        }
    }

    /// What the client is told, where it can still be told anything.
    pub(super) fn close(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Left | Self::Stuck => return None,
            Self::Restart => (CloseCode::Restart, "the server restarts, connect again"),
            Self::Access(access::Ended::Expired) => {
                (CloseCode::Policy, "the time of the key or token is over")
            }
            Self::Access(access::Ended::Revoked) => {
                (CloseCode::Policy, "the key or token was revoked or changed")
            }
            Self::Quota => {
                (CloseCode::Policy, "more messages than the key or token allows: conflate, or follow less")
            }
            Self::Idle => (CloseCode::Policy, "no sign of life: answer pings"),
            Self::FellBehind => (CloseCode::Policy, "too slow for every tick: resume with the token"),
            Self::Flood => (CloseCode::Policy, "too many requests"),
            Self::TooLong => (CloseCode::Size, "a message may have 256 KiB"),
            Self::Binary => (CloseCode::Unsupported, "requests are JSON text"),
            Self::NotText => (CloseCode::Invalid, "text must be UTF-8"),
            Self::Protocol => (CloseCode::Protocol, "that is no WebSocket frame"),
            Self::Interrupted => (CloseCode::Again, "history cannot be read: resume with the token"),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Capacity(_) => Self::TooLong,
            SocketError::Utf8(_) => Self::NotText,
            SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Left,
            SocketError::Protocol(error) => {
                debug!(%error, "a WebSocket client breaks the protocol");
                Self::Protocol
            }
            _ => Self::Left,
        }
    }
}
