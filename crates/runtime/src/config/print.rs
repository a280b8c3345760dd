use std::collections::BTreeMap;
use std::fmt::Write;

use super::raw::Raw;
use super::redact::{MASK, redact};
use super::{Effective, Origin};

/// The values in effect as TOML, grouped by section. A key without a value is a comment, so that the output can be read
/// back as a configuration file.
pub(super) fn print(asked: &BTreeMap<String, Effective>) -> String {
    let mut sections: BTreeMap<&str, Vec<(&str, &Effective)>> = BTreeMap::new();
    for (key, effective) in asked {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        sections.entry(section).or_default().push((name, effective));
    }
    let mut text = String::new();
    for (section, keys) in sections {
        if !section.is_empty() {
            let _ = writeln!(text, "{}[{section}]", if text.is_empty() { "" } else { "\n" });
        }
        let lines: Vec<(String, &Origin)> =
            keys.iter().map(|(name, effective)| (line(name, effective), &effective.origin)).collect();
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(60);
        for (line, origin) in lines {
            let _ = writeln!(text, "{line:width$}  # {origin}");
        }
    }
    text
}

fn line(name: &str, effective: &Effective) -> String {
    match &effective.value {
        None => format!("# {name} is not set"),
        Some(_) if effective.secret => format!("{name} = \"{MASK}\""),
        Some(value) => format!("{name} = {}", shown(value)),
    }
}

/// The value with passwords hidden.
pub(super) fn shown(value: &Raw) -> Raw {
    match value {
        Raw::Text(text) => Raw::Text(redact(text)),
        Raw::List(items) => Raw::List(items.iter().map(shown).collect()),
        other => other.clone(),
    }
}
