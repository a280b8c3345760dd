//! The files of keys, and what can be wrong with them.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why a file of keys cannot be used.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The system refused.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{} cannot be used: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never a secret.
        why: String,
    },
    /// A product that cannot be one.
    #[error(transparent)]
    Product(domain::InvalidInstrument),
    /// The system gives no random numbers.
    #[error("the system has no random numbers")]
    NoRandomness,
}

impl AccessError {
    pub(super) fn unusable(path: &Path, why: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_owned(), why: why.into() }
    }
}

/// The content of a file of at most `bytes_max`.
pub(super) fn content(path: &Path, bytes_max: u64) -> Result<Vec<u8>, AccessError> {
    let failed = |source| AccessError::Io { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > bytes_max {
        return Err(AccessError::unusable(path, format!("it has more than {bytes_max} bytes")));
    }
    Ok(content)
}
