//! The lock on the data directory: two processes on one embedded database would each believe to be alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::config::{Reader, redact};

/// The file in the data directory that is locked and tells who holds the lock.
const LOCK_FILE: &str = "lock";

/// What is read of a lock file; ours are far shorter.
const HOLDER_BYTES_MAX: u64 = 4096;

/// The section `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder for everything that this process keeps on disk.
    pub dir: PathBuf,
}

impl Config {
    /// Reads the section.
    pub fn read(reader: &mut Reader<'_>) -> Config {
        Config { dir: reader.path("dir", ".ledgerflux") }
    }
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process uses it.
    #[error("the data directory {} is in use by {holder}; use another one (data.dir, --data-dir)", dir.display())]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The process id and command of the other process, as it wrote them.
        holder: String,
    },
    /// It cannot be created, or the lock file in it cannot be written.
    #[error("cannot use the data directory {} (data.dir)", dir.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The data directory, held by this process until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    file: File,
}

impl DataDir {
    /// Creates the folder if need be and locks it.
    ///
    /// # Errors
    /// When another process holds it (the error says which), or it cannot be created or written.
    pub fn lock(path: &Path) -> Result<DataDir, LockError> {
        let io_error = |source| LockError::Io { dir: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io_error)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_FILE))
            .map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { dir: path.to_owned(), holder: read_holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }
        write_holder(&mut file).map_err(io_error)?;
        Ok(DataDir { path: path.to_owned(), file })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing the file releases the lock in any case; the emptied file only says that nobody holds it. The file
        // itself stays, because another process may already wait on it.
        if let Err(error) = self.file.set_len(0).and_then(|()| self.file.unlock()) {
            tracing::debug!(%error, "cannot clear the lock file");
        }
    }
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    let command: Vec<String> =
        std::env::args_os().map(|argument| redact(&argument.to_string_lossy())).collect();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "process {}: {}", std::process::id(), command.join(" "))
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    // The holder may just be writing; then its name is not known, but that there is one is.
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_holds_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("data");
        let held = DataDir::lock(&path).unwrap();
        assert_eq!(held.path(), path);
        match DataDir::lock(&path).unwrap_err() {
            LockError::Held { dir, holder } => {
                assert_eq!(dir, path);
                assert!(holder.starts_with(&format!("process {}: ", std::process::id())), "{holder}");
            }
            other => panic!("{other:?}"),
        }
        drop(held);
        DataDir::lock(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::lock(&file.path().join("data")).unwrap_err();
        assert!(matches!(error, LockError::Io { dir, .. } if dir.starts_with(file.path())));
    }
}
