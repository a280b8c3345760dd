//! Where the pinned programs are that `make tools` fetched.

use std::path::{Path, PathBuf};

/// The root of the workspace that this crate was compiled in.
pub fn workspace_root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.ancestors().nth(2).unwrap_or(crate_dir).to_path_buf()
}

/// The path of a pinned program such as `nats-server` or `buf`, with symbolic links resolved.
///
/// Looks in `$LEDGERFLUX_TOOLS/bin`, by default `.tools/bin` of the workspace. Never on the PATH: another version than
/// the pinned one would make results differ from machine to machine.
///
/// # Panics
/// When the program is not there: a test that cannot run has failed.
pub fn tool(name: &str) -> PathBuf {
    let root =
        std::env::var_os("LEDGERFLUX_TOOLS").map_or_else(|| workspace_root().join(".tools"), PathBuf::from);
    let path = root.join("bin").join(name);
    match path.canonicalize() {
        Ok(resolved) => resolved,
        Err(error) => panic!("{} is not there ({error}): run `make tools`", path.display()),
    }
}
