//! Why the simulator cannot run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::{InvalidFaults, RecordingError};

/// Why the simulator cannot run.
#[derive(Debug, Error)]
pub enum Error {
    /// The recording cannot be used.
    #[error("the recording cannot be replayed")]
    Recording(#[from] RecordingError),
    /// A market needs something to trade.
    #[error("a generated market needs at least one product")]
    NoProducts,
    /// The file for the ground truth cannot be written.
    #[error("the ground truth cannot be written to {}", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or the key cannot be used.
    #[error("the simulator cannot serve TLS")]
    Tls(#[from] runtime::tls::TlsError),
    /// A fault names what there is not.
    #[error("the faults cannot happen here")]
    Faults(#[from] InvalidFaults),
    /// A part of the simulator ended by a panic.
    #[error("a part of the simulator panicked")]
    Panicked(#[source] tokio::task::JoinError),
}
