//! Which history and which stream it is that is followed.

use std::fmt;

use domain::UnixNanos;

/// What a position or a sequence is worth nothing without: after either part has changed, whoever comes back with what it
/// knew before must be told that it cannot go on from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// The random id of the database in which the ticks are stored.
    pub history: String,
    /// When the `LF_TICKS` was created that is followed: one that was wiped has another time.
    pub ticks: UnixNanos,
}

impl fmt::Display for Epoch {
    /// `history.nanoseconds`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.history, self.ticks.nanos())
    }
}

/// What of an epoch is known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) history: Option<String>,
    pub(crate) ticks: Option<UnixNanos>,
}

impl Known {
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        Some(Epoch { history: self.history.clone()?, ticks: self.ticks? })
    }
}
