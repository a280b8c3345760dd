//! What can be wrong with a frame: what, where, and what would be allowed.

use std::error::Error as _;

use domain::{InvalidNumber, InvalidTime, RejectReason};
use thiserror::Error;

use super::FRAME_BYTES_MAX;

/// The longest explanation that is kept with a refused frame, in characters.
const DETAIL_CHARACTERS_MAX: usize = 500;

/// Why a frame was refused.
#[derive(Debug, Error)]
pub enum FrameFault {
    /// No message of the exchange is that long.
    #[error("the frame has {length} bytes, allowed: up to {FRAME_BYTES_MAX}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// JSON is UTF-8.
    #[error("the frame is no UTF-8 text from byte {valid_up_to} on")]
    NotText {
        /// How many bytes are sound.
        valid_up_to: usize,
    },
    /// Every message is a JSON object.
    #[error("the frame is no JSON object")]
    NotAnObject,
    /// The JSON breaks off or is malformed; the source names the place.
    #[error("the frame is no message of the feed")]
    Undecodable {
        /// What the parser says, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field is of another JSON type.
    #[error("{field} is {found}, allowed: {allowed}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A field that holds a number is of another JSON type.
    #[error("{field} is {found}, allowed: {allowed}")]
    NotANumber {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A number is malformed or cannot be held exactly.
    #[error("{field} is no number")]
    InvalidNumber {
        /// The field.
        field: &'static str,
        /// Why.
        #[source]
        source: InvalidNumber,
    },
    /// A time is of another JSON type.
    #[error("{field} is {found}, allowed: an RFC 3339 time in a string")]
    NotATime {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
    },
    /// A time is malformed or outside what can be held.
    #[error("{field} is no time")]
    InvalidTime {
        /// The field.
        field: &'static str,
        /// Why.
        #[source]
        source: InvalidTime,
    },
    /// A taker buys or sells.
    #[error("side is {found}, allowed: buy, sell")]
    UnknownSide {
        /// What stands there.
        found: String,
    },
    /// Nobody subscribed to this product.
    #[error("product_id {product:?} is not configured")]
    UnknownProduct {
        /// The product.
        product: String,
    },
}

impl FrameFault {
    /// The reason under which the frame is filed.
    pub fn reason(&self) -> RejectReason {
        match self {
            Self::TooLong { .. }
            | Self::NotText { .. }
            | Self::NotAnObject
            | Self::Undecodable { .. }
            | Self::WrongType { .. }
            | Self::UnknownSide { .. } => RejectReason::Undecodable,
            Self::Missing { .. } => RejectReason::MissingField,
            Self::NotANumber { .. } | Self::InvalidNumber { .. } => RejectReason::InvalidNumber,
            Self::NotATime { .. } | Self::InvalidTime { .. } => RejectReason::ImplausibleTime,
            Self::UnknownProduct { .. } => RejectReason::UnknownProduct,
        }
    }

    /// The whole explanation with its causes, at most 500 characters.
    pub fn detail(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text.chars().take(DETAIL_CHARACTERS_MAX).collect()
    }
}

/// Faults quote what they refuse, but never at unbounded length.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
