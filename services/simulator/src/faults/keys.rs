//! The keys of one fault, taken one by one, with every problem kept.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use domain::Product;
use humantime::{format_duration, parse_duration};
use toml::{Table, Value};

use super::FaultProblem;

/// How much of a wrong value is quoted.
const QUOTED_MAX: usize = 64;

/// What stands in a fault and was not taken yet. Asking for a key makes it known.
pub(super) struct Keys {
    place: String,
    table: Table,
    known: Vec<&'static str>,
    pub(super) problems: Vec<FaultProblem>,
}

impl Keys {
    pub(super) fn new(place: String, table: Table) -> Self {
        Self { place, table, known: Vec::new(), problems: Vec::new() }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Names the fault in problems from here on.
    pub(super) fn rename(&mut self, place: String) {
        self.place = place;
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let allowed = || {
            let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
            format!("a time from {low} to {high}, such as \"10s\" or \"500ms\"")
        };
        self.take(key, allowed, |value| {
            parse_duration(value.as_str()?).ok().filter(|duration| range.contains(duration))
        })
    }

    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let allowed = || format!("a number from {} to {}", range.start(), range.end());
        self.take(key, allowed, |value| {
            u64::try_from(value.as_integer()?).ok().filter(|number| range.contains(number))
        })
    }

    /// A number of things that fit into memory.
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<usize> {
        self.number(key, range).and_then(|number| usize::try_from(number).ok())
    }

    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        self.take(key, || "true, false".to_owned(), Value::as_bool).unwrap_or(false)
    }

    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let allowed = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.take(key, allowed, |value| {
            let said = value.as_str()?;
            words.iter().find(|(word, _)| *word == said).map(|(_, meaning)| *meaning)
        })
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let allowed = || "a text of 1 to 200 characters".to_owned();
        self.take(key, allowed, |value| {
            let text = value.as_str()?;
            (1..=200).contains(&text.chars().count()).then(|| text.to_owned())
        })
    }

    pub(super) fn products(&mut self) -> Option<BTreeSet<String>> {
        let allowed = || "a list of products, such as [\"BTC-USD\"]".to_owned();
        self.take("products", allowed, |value| {
            let names = value.as_array().filter(|names| !names.is_empty())?.iter();
            names
                .map(|name| name.as_str().filter(|name| Product::new(name).is_ok()).map(str::to_owned))
                .collect()
        })
    }

    /// A problem with a key that has been taken.
    pub(super) fn complain(&mut self, key: &str, found: &str, allowed: &str) {
        self.problems.push(FaultProblem {
            place: self.place.clone(),
            key: key.to_owned(),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        });
    }

    /// Every key that was not asked for is a problem.
    pub(super) fn finish(mut self) -> Vec<FaultProblem> {
        let allowed = self.known.join(", ");
        for key in std::mem::take(&mut self.table).keys() {
            self.complain(key, "is not a key of it", &allowed);
        }
        self.problems
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        allowed: impl FnOnce() -> String,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        let found = read(&value);
        if found.is_none() {
            let quoted: String = value.to_string().chars().take(QUOTED_MAX).collect();
            self.complain(key, &format!("is {quoted}"), &allowed());
        }
        found
    }
}
