use std::collections::BTreeMap;

use super::problem::{Problem, ProblemKind};
use super::raw::{Entry, Raw};
use super::{Effective, Origin, variable_of_key};

/// The longest unknown key for which a suggestion is looked for.
const SUGGESTION_KEY_BYTES_MAX: usize = 200;

/// The problems with keys that nobody asked for.
pub(super) fn unknown_keys(
    entries: &BTreeMap<String, Entry>,
    other_variables: &[String],
    asked: &BTreeMap<String, Effective>,
) -> Vec<Problem> {
    let in_entries = entries
        .iter()
        .filter(|(key, entry)| !is_known(key, entry, asked))
        .map(|(key, entry)| unknown(key.clone(), entry.origin.clone(), suggestion(key, asked)));
    // `LEDGERFLUX_BUS_SHARDS` sets nothing, but whoever wrote it surely meant `LEDGERFLUX_BUS__SHARDS`.
    let in_variables = other_variables.iter().filter_map(|name| {
        let key = asked.keys().find(|key| variable_of_key(key).replace("__", "_") == *name)?;
        Some(unknown(key.clone(), Origin::Environment(name.clone()), Some(variable_of_key(key))))
    });
    in_entries.chain(in_variables).collect()
}

fn is_known(key: &str, entry: &Entry, asked: &BTreeMap<String, Effective>) -> bool {
    asked.contains_key(key) || (entry.raw == Raw::EmptySection && has_keys_below(key, asked))
}

fn has_keys_below(key: &str, asked: &BTreeMap<String, Effective>) -> bool {
    let prefix = format!("{key}.");
    asked.range(prefix.clone()..).next().is_some_and(|(next, _)| next.starts_with(&prefix))
}

fn unknown(key: String, origin: Origin, suggestion: Option<String>) -> Problem {
    Problem { key, value: None, origin, kind: ProblemKind::UnknownKey { suggestion } }
}

/// The known key that looks most like `key`: a few letters off, the beginning of it, or the
/// right name in the wrong section.
fn suggestion(key: &str, asked: &BTreeMap<String, Effective>) -> Option<String> {
    // Comparing costs the product of both lengths, and no key of ours is nearly as long.
    if key.len() > SUGGESTION_KEY_BYTES_MAX {
        return None;
    }
    let distance_max = (key.len() / 4).clamp(1, 4);
    let nearest = asked
        .keys()
        .map(|known| (strsim::damerau_levenshtein(known, key), known))
        .filter(|(distance, _)| *distance <= distance_max)
        .min();
    if let Some((_, known)) = nearest {
        return Some(known.clone());
    }
    if let Some(known) = asked.keys().rfind(|known| key.starts_with(known.as_str())) {
        return Some(known.clone());
    }
    let name = key.rsplit('.').next().unwrap_or(key);
    asked.keys().find(|known| known.rsplit('.').next() == Some(name)).cloned()
}
