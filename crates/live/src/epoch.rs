//! Which history and which stream it is that is followed.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use domain::UnixNanos;
use sha2::{Digest as _, Sha256};

/// What a position or a sequence is worth nothing without: after either part has changed, whoever comes back with what it
/// knew before must be told that it cannot go on from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// The random id of the database in which the ticks are stored.
    pub history: String,
    /// When the `LF_TICKS` was created that is followed: one that was wiped has another time.
    pub ticks: UnixNanos,
}

/// An epoch in eight bytes: what stands in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochId([u8; 8]);

/// The epoch in which a tick came, as soon as it is known.
pub(crate) type EpochCell = Arc<OnceLock<EpochId>>;

impl Epoch {
    pub(crate) fn id(&self) -> EpochId {
        let digest = Sha256::digest(self.to_string());
        EpochId(std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default()))
    }
}

impl EpochId {
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(self) -> [u8; 8] {
        self.0
    }
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
