//! Why a connection is given up.

use std::fmt;
use std::time::Duration;

use super::super::message::ErrorMessage;

/// Why a connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReconnectReason {
    /// The exchange refused the subscription and named none of its products (rule 4).
    Refused(ErrorMessage),
    /// The exchange confirmed no product in time: `channel:product` of what is missing.
    NotConfirmed(Vec<String>),
    /// Nothing was heard for this long (rule 6).
    Mute(Duration),
}

impl ReconnectReason {
    /// A label of bounded cardinality.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::NotConfirmed(_) => "not_confirmed",
            Self::Mute(_) => "mute",
        }
    }
}

impl fmt::Display for ReconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the exchange refused the subscription: {error}"),
            Self::NotConfirmed(missing) => {
                write!(f, "the exchange did not confirm {} in time", missing.join(", "))
            }
            Self::Mute(silence) => write!(f, "nothing was heard for {} s", silence.as_secs()),
        }
    }
}

impl fmt::Display for ErrorMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} ({reason})", self.message),
            None => f.write_str(&self.message),
        }
    }
}
