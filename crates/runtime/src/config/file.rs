use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use config::{FileFormat, Format, Map, Value, ValueKind};

use super::problem::{ConfigProblems, Problem, ProblemKind};
use super::raw::{Entry, Raw};
use super::{Origin, set};

/// A configuration of all keys is a few KiB; whatever is larger is the wrong file.
const FILE_SIZE_BYTES_MAX: u64 = 1024 * 1024;

/// The values of the TOML or JSON file at `path`, by full key.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Entry>, ConfigProblems> {
    let origin = Origin::File(path.to_owned());
    let table = parse(path).map_err(|why| {
        let kind = ProblemKind::BadFile { why };
        ConfigProblems::one(Problem { key: String::new(), value: None, origin: origin.clone(), kind })
    })?;
    let mut entries = BTreeMap::new();
    flatten(table, "", &origin, &mut entries);
    Ok(entries)
}

fn parse(path: &Path) -> Result<Map<String, Value>, String> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("json") => FileFormat::Json,
        _ => return Err("the name must end in .toml or .json".to_owned()),
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_SIZE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > FILE_SIZE_BYTES_MAX {
        return Err(format!("is larger than {FILE_SIZE_BYTES_MAX} bytes"));
    }
    Format::parse(&format, None, &text).map_err(|error| without_excerpt(&error.to_string()))
}

/// The parser's message on one line, without the lines of the file that it repeats: there may be a secret in them.
fn without_excerpt(message: &str) -> String {
    let is_excerpt = |line: &&str| {
        line.trim_start_matches(|letter: char| letter.is_ascii_digit()).trim_start().starts_with('|')
    };
    message.lines().filter(|line| !is_excerpt(&line.trim_start())).collect::<Vec<_>>().join(": ")
}

/// Turns nested tables into full keys. Lists are values: a later source replaces them as a whole.
fn flatten(table: Map<String, Value>, prefix: &str, origin: &Origin, entries: &mut BTreeMap<String, Entry>) {
    for (name, value) in table {
        // A name with a dot in it is not a path: it stays one name, which nobody will know.
        let name = if name.is_empty() || name.contains('.') { format!("\"{name}\"") } else { name };
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => flatten(inner, &key, origin, entries),
            kind => {
                if let Some(raw) = raw(kind) {
                    set(entries, key, Entry { raw, origin: origin.clone() });
                }
            }
        }
    }
}

/// `None` for JSON's null, which means: not set.
fn raw(kind: ValueKind) -> Option<Raw> {
    Some(match kind {
        ValueKind::Nil => return None,
        ValueKind::Boolean(value) => Raw::Flag(value),
        ValueKind::I64(value) => Raw::Integer(value.into()),
        ValueKind::U64(value) => Raw::Integer(value.into()),
        ValueKind::I128(value) => Raw::Integer(value),
        ValueKind::U128(value) => {
            i128::try_from(value).map_or_else(|_| Raw::Text(value.to_string()), Raw::Integer)
        }
        ValueKind::Float(value) => Raw::Fraction(value.to_string()),
        ValueKind::String(value) => Raw::Text(value),
        ValueKind::Table(_) => Raw::EmptySection,
        ValueKind::Array(items) => Raw::List(items.into_iter().filter_map(|item| raw(item.kind)).collect()),
    })
}
