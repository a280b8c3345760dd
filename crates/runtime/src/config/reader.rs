use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::print::shown;
use super::problem::{Problem, ProblemKind};
use super::raw::{Entry, Raw};
use super::redact::{MASK, redact};
use super::secret::Secret;
use super::{Effective, Origin, Sources};

/// How much of a bad value a problem repeats.
const SHOWN_VALUE_CHARS_MAX: usize = 120;

/// Reads one section. Every getter makes its key known, and a value that is not allowed becomes a problem and reads as
/// the default, so that one run finds all problems. Keys are names within the section, such as `shards`.
#[derive(Debug)]
pub struct Reader<'a> {
    sources: &'a mut Sources,
    section: String,
}

/// What the sources say about a key.
enum Found<T> {
    Unset,
    /// A problem has been reported.
    Bad,
    Good(T, Origin),
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a mut Sources, section: &str) -> Reader<'a> {
        Reader { sources, section: section.to_owned() }
    }

    /// Some text, not empty unless the default is.
    pub fn text(&mut self, key: &str, default: &str) -> String {
        let allowed = if default.is_empty() { "text" } else { "text that is not empty" };
        let found = self.find(key, allowed, |entry| match &entry.raw {
            Raw::Text(text) if default.is_empty() || !text.trim().is_empty() => Ok(text.clone()),
            _ => Err(None),
        });
        self.settle(key, found, default.to_owned(), |text| Raw::Text(text.clone()))
    }

    /// Some text that is not empty, or nothing.
    pub fn optional_text(&mut self, key: &str) -> Option<String> {
        self.optional_parsed(key, "text that is not empty", |text| match text.trim() {
            "" => Err("it is empty"),
            _ => Ok(text.to_owned()),
        })
    }

    /// Several texts: a list in a file, separated by commas in the environment and on the command line. Empty items are
    /// refused in a file and skipped elsewhere.
    pub fn list(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let found = self.find(key, "a list of texts", |entry| match &entry.raw {
            Raw::Text(text) if entry.is_untyped() => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()),
            Raw::List(items) => items.iter().map(item_text).collect::<Option<Vec<_>>>().ok_or(None),
            _ => Err(None),
        });
        let default = default.iter().map(|item| (*item).to_owned()).collect();
        self.settle(key, found, default, |items: &Vec<String>| {
            Raw::List(items.iter().cloned().map(Raw::Text).collect())
        })
    }

    /// True or false.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        let found = self.find(key, "true or false", |entry| match &entry.raw {
            Raw::Flag(value) => Ok(*value),
            Raw::Text(text) => entry.unquoted(text.trim().parse().ok()),
            _ => Err(None),
        });
        self.settle(key, found, default, |value| Raw::Flag(*value))
    }

    /// A whole number within `allowed`.
    pub fn integer(&mut self, key: &str, default: u64, allowed: RangeInclusive<u64>) -> u64 {
        let found = self.find_integer(key, &allowed);
        self.settle(key, found, default, integer_raw)
    }

    /// A whole number within `allowed`, or nothing.
    pub fn optional_integer(&mut self, key: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
        let found = self.find_integer(key, &allowed);
        self.settle_optional(key, found, integer_raw)
    }

    /// A span of time such as `30s` or `1h 30m`, within `allowed`.
    pub fn duration(&mut self, key: &str, default: Duration, allowed: RangeInclusive<Duration>) -> Duration {
        let found = self.find_duration(key, &allowed);
        self.settle(key, found, default, duration_raw)
    }

    /// A span of time within `allowed`, or nothing.
    pub fn optional_duration(&mut self, key: &str, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        let found = self.find_duration(key, &allowed);
        self.settle_optional(key, found, duration_raw)
    }

    /// An address to listen on, such as `127.0.0.1:9100` or `[::]:9100`; port 0 takes a free port.
    pub fn address(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        let found = self.find_text(key, ADDRESS_ALLOWED, |text| text.parse::<SocketAddr>().map_err(|_| None));
        self.settle(key, found, default, |address| Raw::Text(address.to_string()))
    }

    /// An address to listen on, or nothing.
    pub fn optional_address(&mut self, key: &str) -> Option<SocketAddr> {
        self.optional_parsed(key, ADDRESS_ALLOWED, str::parse)
    }

    /// A path to a file or folder; a relative one starts at the working directory.
    pub fn path(&mut self, key: &str, default: &str) -> PathBuf {
        PathBuf::from(self.text(key, default))
    }

    /// A path to a file or folder, or nothing.
    pub fn optional_path(&mut self, key: &str) -> Option<PathBuf> {
        self.optional_text(key).map(PathBuf::from)
    }

    /// Anything that `parse` makes of the text of a scalar (a file's number or boolean counts as its text). The value
    /// is `None` only when a problem has been reported, which also happens when the default itself does not parse.
    pub fn parsed<T, E: Display>(
        &mut self,
        key: &str,
        default: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let built_in = Entry::text(default.to_owned(), Origin::Default);
        let entry = self.sources.entries.get(&self.full_key(key)).cloned().unwrap_or(built_in);
        let result = scalar_text(&entry)
            .and_then(|text| parse(&text).map_err(|error| Some(error.to_string())))
            .map_err(|detail| self.not_allowed(key, &entry.raw, entry.origin.clone(), allowed, detail));
        self.record(key, Some(entry.raw), entry.origin, false);
        result.ok()
    }

    /// Anything that `parse` makes of the text of a scalar, or nothing.
    pub fn optional_parsed<T, E: Display>(
        &mut self,
        key: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let found = self.find(key, allowed, |entry| {
            let text = scalar_text(entry)?;
            let value = parse(&text).map_err(|error| Some(error.to_string()))?;
            Ok((value, entry.raw.clone()))
        });
        self.settle_optional(key, found, |(_, raw): &(T, Raw)| raw.clone()).map(|(value, _)| value)
    }

    /// A password, token or key, or nothing. Neither problems nor `config print` show it.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        let full_key = self.full_key(key);
        let entry = self.sources.entries.get(&full_key).cloned();
        let (value, origin) = match entry {
            None => (None, Origin::Default),
            Some(Entry { raw: Raw::Text(text), origin }) if !text.is_empty() => {
                (Some(Secret::new(text)), origin)
            }
            Some(Entry { origin, .. }) => {
                let mask = Raw::Text(MASK.to_owned());
                self.not_allowed(key, &mask, origin, "text that is not empty", None);
                (None, Origin::Default)
            }
        };
        self.record(key, value.as_ref().map(|_| Raw::Text(MASK.to_owned())), origin, true);
        value
    }

    /// Reports that values which are allowed one by one do not fit together; `rule` is a clause such as `must not be
    /// below reconnect_delay_min`. Call it after the getter of `key`.
    pub fn conflict(&mut self, key: &str, rule: impl Into<String>) {
        let full_key = self.full_key(key);
        let asked = self.sources.asked.get(&full_key);
        let value =
            asked.and_then(|effective| effective.value.as_ref()).map(|value| shown(value).to_string());
        let origin = asked.map_or(Origin::Default, |effective| effective.origin.clone());
        let kind = ProblemKind::Conflict { rule: rule.into() };
        self.sources.problems.push(Problem { key: full_key, value, origin, kind });
    }

    /// Whether any source sets `key`. It does not make the key known.
    pub fn is_set(&self, key: &str) -> bool {
        self.sources.entries.contains_key(&self.full_key(key))
    }

    fn find_integer(&mut self, key: &str, allowed: &RangeInclusive<u64>) -> Found<u64> {
        let words = match (*allowed.start(), *allowed.end()) {
            (start, u64::MAX) => format!("a whole number of at least {start}"),
            (start, end) => format!("a whole number from {start} to {end}"),
        };
        let in_range = |value: &u64| allowed.contains(value);
        self.find(key, &words, |entry| match &entry.raw {
            Raw::Integer(value) => u64::try_from(*value).ok().filter(in_range).ok_or(None),
            Raw::Text(text) => entry.unquoted(text.trim().parse().ok().filter(in_range)),
            _ => Err(None),
        })
    }

    fn find_duration(&mut self, key: &str, allowed: &RangeInclusive<Duration>) -> Found<Duration> {
        let start = humantime::format_duration(*allowed.start());
        let words = match *allowed.end() {
            Duration::MAX => format!("a duration of at least {start}, such as \"30s\""),
            end => format!("a duration from {start} to {}, such as \"30s\"", humantime::format_duration(end)),
        };
        self.find_text(key, &words, |text| {
            let value = humantime::parse_duration(text).map_err(|error| Some(error.to_string()))?;
            if allowed.contains(&value) { Ok(value) } else { Err(None) }
        })
    }

    fn find_text<T>(
        &mut self,
        key: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, Option<String>>,
    ) -> Found<T> {
        self.find(key, allowed, |entry| match &entry.raw {
            Raw::Text(text) => parse(text.trim()),
            _ => Err(None),
        })
    }

    /// Looks the key up and reports a value that `parse` refuses; its error is what there is to say beyond `allowed`.
    fn find<T>(
        &mut self,
        key: &str,
        allowed: &str,
        parse: impl FnOnce(&Entry) -> Result<T, Option<String>>,
    ) -> Found<T> {
        let Some(entry) = self.sources.entries.get(&self.full_key(key)).cloned() else {
            return Found::Unset;
        };
        match parse(&entry) {
            Ok(value) => Found::Good(value, entry.origin),
            Err(detail) => {
                self.not_allowed(key, &entry.raw, entry.origin, allowed, detail);
                Found::Bad
            }
        }
    }

    fn settle<T>(&mut self, key: &str, found: Found<T>, default: T, show: impl FnOnce(&T) -> Raw) -> T {
        let (value, origin) = match found {
            Found::Good(value, origin) => (value, origin),
            Found::Unset | Found::Bad => (default, Origin::Default),
        };
        self.record(key, Some(show(&value)), origin, false);
        value
    }

    fn settle_optional<T>(&mut self, key: &str, found: Found<T>, show: impl FnOnce(&T) -> Raw) -> Option<T> {
        let (value, origin) = match found {
            Found::Good(value, origin) => (Some(value), origin),
            Found::Unset | Found::Bad => (None, Origin::Default),
        };
        self.record(key, value.as_ref().map(show), origin, false);
        value
    }

    fn record(&mut self, key: &str, value: Option<Raw>, origin: Origin, secret: bool) {
        let full_key = self.full_key(key);
        self.sources.asked.insert(full_key, Effective { value, origin, secret });
    }

    fn not_allowed(&mut self, key: &str, value: &Raw, origin: Origin, allowed: &str, detail: Option<String>) {
        let value = shown(value).to_string();
        let value = match value.char_indices().nth(SHOWN_VALUE_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value,
        };
        let detail = detail.filter(|text| !text.is_empty()).map(|text| redact(&text));
        let kind = ProblemKind::NotAllowed { allowed: allowed.to_owned(), detail };
        let key = self.full_key(key);
        self.sources.problems.push(Problem { key, value: Some(value), origin, kind });
    }

    fn full_key(&self, key: &str) -> String {
        format!("{}.{key}", self.section)
    }
}

const ADDRESS_ALLOWED: &str = "an address and a port, such as 127.0.0.1:9100";

fn scalar_text(entry: &Entry) -> Result<String, Option<String>> {
    entry.raw.scalar_text().ok_or(None)
}

/// An item of a file's list: text that is not empty, or another scalar as its text.
fn item_text(item: &Raw) -> Option<String> {
    item.scalar_text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn integer_raw(value: &u64) -> Raw {
    Raw::Integer((*value).into())
}

fn duration_raw(value: &Duration) -> Raw {
    Raw::Text(humantime::format_duration(*value).to_string())
}
