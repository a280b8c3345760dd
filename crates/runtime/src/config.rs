//! The configuration: layered sources, each value with the place it came from, and all problems told at once.
//!
//! Sources in rising precedence: built-in defaults, one TOML or JSON file, environment variables
//! (`LEDGERFLUX_BUS__SHARDS` is the key `bus.shards`), command-line flags. A crate owns its section and reads it with a
//! [`Reader`]; after all sections are read, [`Sources::finish`] adds the keys that nobody asked for and returns every
//! problem of the run. [`Sources::print`] shows the effective values and where each came from, without secrets.
//!
//! ```
//! use runtime::config::Sources;
//!
//! let environment = [("LEDGERFLUX_BUS__SHARDS".to_owned(), "8".to_owned())];
//! let mut sources = Sources::load(None, environment, Vec::new())?;
//! let shards = sources.read("bus", |reader| reader.integer("shards", 4, 1..=64));
//! sources.finish()?;
//! assert_eq!(shards, 8);
//! # Ok::<(), runtime::config::ConfigProblems>(())
//! ```

mod file;
mod origin;
mod print;
mod problem;
mod raw;
mod reader;
mod redact;
mod secret;
mod unknown;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use origin::Origin;
pub use problem::{ConfigProblems, Problem, ProblemKind};
pub use reader::Reader;
pub use redact::redact;
pub use secret::Secret;

use raw::{Entry, Raw};

/// What every variable that concerns the configuration starts with.
pub const ENVIRONMENT_PREFIX: &str = "LEDGERFLUX_";

/// The variable that names the configuration file when `--config` does not. It is not a key.
pub const ENVIRONMENT_FILE: &str = "LEDGERFLUX_CONFIG";

/// A value given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The full key that it sets, for example `bus.shards`.
    pub key: String,
    /// The value as it was typed.
    pub value: String,
    /// The flag as it was typed, for example `--shards`.
    pub name: String,
}

impl Flag {
    /// A value for `key`, typed as `name`.
    pub fn new(key: impl Into<String>, value: impl Into<String>, name: impl Into<String>) -> Flag {
        Flag { key: key.into(), value: value.into(), name: name.into() }
    }
}

/// A key that some section asked for, with the value in effect.
#[derive(Clone, Debug)]
struct Effective {
    /// `None` when the key is optional and not set.
    value: Option<Raw>,
    origin: Origin,
    secret: bool,
}

/// All values of all sources, and what has been asked of them so far.
#[derive(Debug)]
pub struct Sources {
    /// The winning value of each key, by full key.
    entries: BTreeMap<String, Entry>,
    /// Variables with our prefix and without `__`: not keys, but perhaps keys with a missing underscore.
    other_variables: Vec<String>,
    asked: BTreeMap<String, Effective>,
    problems: Vec<Problem>,
}

impl Sources {
    /// Reads the file, if any, and lays the environment and the flags over it. `file` wins over the variable
    /// `LEDGERFLUX_CONFIG`. An empty variable counts as not set, because that is how container tools unset one.
    ///
    /// # Errors
    /// When the file cannot be read, is no valid TOML or JSON, or is larger than 1 MiB. Values are not looked at yet.
    pub fn load(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Vec<Flag>,
    ) -> Result<Sources, ConfigProblems> {
        let mut variables: Vec<(String, String)> = environment
            .into_iter()
            .filter(|(name, value)| name.starts_with(ENVIRONMENT_PREFIX) && !value.is_empty())
            .collect();
        // Two spellings of one key must not win by chance.
        variables.sort();
        let named =
            variables.iter().find(|(name, _)| name == ENVIRONMENT_FILE).map(|(_, path)| PathBuf::from(path));
        let mut entries = match file.or(named) {
            Some(path) => file::read(&path)?,
            None => BTreeMap::new(),
        };

        let mut other_variables = Vec::new();
        for (name, value) in variables {
            match key_of_variable(&name) {
                Some(key) => {
                    set(&mut entries, key, Entry::text(value, Origin::Environment(name)));
                }
                None if name != ENVIRONMENT_FILE => other_variables.push(name),
                None => {}
            }
        }
        for flag in flags {
            set(&mut entries, flag.key, Entry::text(flag.value, Origin::Flag(flag.name)));
        }
        Ok(Sources { entries, other_variables, asked: BTreeMap::new(), problems: Vec::new() })
    }

    /// A reader of the section `name`.
    pub fn section(&mut self, name: &str) -> Reader<'_> {
        Reader::new(self, name)
    }

    /// Reads the section `name` with `read`, which is usually the `Config::read` of the crate that owns it.
    pub fn read<T>(&mut self, name: &str, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        read(&mut self.section(name))
    }

    /// Call it after every section has been read.
    ///
    /// # Errors
    /// Every problem that the readers met and every key that none of them knows, ordered by key.
    pub fn finish(&self) -> Result<(), ConfigProblems> {
        let mut problems = self.problems.clone();
        problems.extend(unknown::unknown_keys(&self.entries, &self.other_variables, &self.asked));
        ConfigProblems::check(problems)
    }

    /// The effective values as TOML, each with its source as a comment; secrets and passwords are shown as `***`.
    pub fn print(&self) -> String {
        print::print(&self.asked)
    }
}

/// The process environment's variables that concern the configuration. One that is not Unicode comes with replacement
/// characters, so that it is reported as a bad value and not overlooked.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
}

/// `LEDGERFLUX_BUS__SHARDS` is `bus.shards`. A variable without `__` is no key: cluster software sets such ones for its
/// own purposes (`LEDGERFLUX_GATEWAY_PORT` for a service named `ledgerflux-gateway`).
fn key_of_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix(ENVIRONMENT_PREFIX)?;
    rest.contains("__").then(|| rest.split("__").collect::<Vec<_>>().join(".").to_lowercase())
}

/// The variable that sets `key`.
fn variable_of_key(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Puts a value of a later layer over the earlier ones.
fn set(entries: &mut BTreeMap<String, Entry>, key: String, entry: Entry) {
    entries.insert(key, entry);
}

#[cfg(test)]
mod tests;
