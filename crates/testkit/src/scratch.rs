//! Temporary directories that leave nothing behind.

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, test_kill_process};
use tempfile::TempDir;

const PREFIX: &str = "ledgerflux-test-";

/// PostgreSQL puts a Unix socket into its directory, whose path must fit into 107 bytes.
const BASE_LENGTH_MAX: usize = 48;

/// A directory of its own for one server or one test; removed on drop.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes a new, empty directory.
    ///
    /// # Panics
    /// When no directory can be made.
    pub fn new() -> Scratch {
        crate::or_panic(Scratch::try_new())
    }

    pub(crate) fn try_new() -> anyhow::Result<Scratch> {
        static SWEEP: Once = Once::new();
        let base = base();
        SWEEP.call_once(|| sweep(&base));
        tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(&base)
            .map(Scratch)
            .with_context(|| format!("no temporary directory can be made in {}", base.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

/// The system's temporary directory, or /tmp when that one is too long for a socket or closed to other users.
fn base() -> PathBuf {
    let configured = std::env::temp_dir();
    let short = configured.as_os_str().len() <= BASE_LENGTH_MAX;
    if short && is_traversable_by_others(&configured) { configured } else { PathBuf::from("/tmp") }
}

/// Whether every parent lets any user pass, so that a server that runs as another user can reach `path`.
pub(crate) fn is_traversable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.ancestors().filter(|parent| !parent.as_os_str().is_empty()).all(|parent| {
        std::fs::metadata(parent)
            .is_ok_and(|found| !found.is_dir() || found.permissions().mode() & 0o001 != 0)
    })
}

/// Removes what test processes left that were killed before they could clean up (Ctrl-C does that to `cargo test`).
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<i32>().ok())
            .and_then(Pid::from_raw);
        if owner.is_some_and(is_gone) && is_older_than(&entry, Duration::from_secs(600)) {
            // Somebody else's directory cannot be removed, and need not be.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn is_gone(pid: Pid) -> bool {
    test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

fn is_older_than(entry: &std::fs::DirEntry, age: Duration) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed > age))
}
