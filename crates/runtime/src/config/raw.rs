use std::fmt;

use super::Origin;

/// A value as a source gave it, before anybody said what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Integer(i128),
    /// Kept as text: the one use of a fraction is to be parsed by the section that wants it.
    Fraction(String),
    Flag(bool),
    List(Vec<Raw>),
    /// A section without a key in it. It has no value, but its name may be unknown.
    EmptySection,
}

impl Raw {
    /// The text of a scalar; `None` for a list or a section.
    pub(super) fn scalar_text(&self) -> Option<String> {
        match self {
            Raw::Text(text) | Raw::Fraction(text) => Some(text.clone()),
            Raw::Integer(value) => Some(value.to_string()),
            Raw::Flag(value) => Some(value.to_string()),
            Raw::List(_) | Raw::EmptySection => None,
        }
    }
}

/// As TOML: this is how values are shown in problems and by `config print`.
impl fmt::Display for Raw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) => formatter.write_str(&quoted(text)),
            Raw::Integer(value) => write!(formatter, "{value}"),
            Raw::Fraction(text) => formatter.write_str(text),
            Raw::Flag(value) => write!(formatter, "{value}"),
            Raw::List(items) => {
                formatter.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(formatter, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                formatter.write_str("]")
            }
            Raw::EmptySection => formatter.write_str("{}"),
        }
    }
}

/// A TOML basic string. JSON's escapes are a subset of TOML's, except that TOML wants DEL escaped too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

impl Entry {
    /// A value of the environment or the command line, where everything is text.
    pub(super) fn text(value: String, origin: Origin) -> Entry {
        Entry { raw: Raw::Text(value), origin }
    }

    /// The value that a text of this entry was read as, which only sources without types may give as a text. The error
    /// is what to tell about it.
    pub(super) fn unquoted<T>(&self, read: Option<T>) -> Result<T, Option<String>> {
        match read {
            Some(value) if self.is_untyped() => Ok(value),
            Some(_) => Err(Some("without quotes".to_owned())),
            None => Err(None),
        }
    }

    /// Whether the source has no types, so that `"4"` may mean the number and `"a,b"` the list.
    pub(super) fn is_untyped(&self) -> bool {
        matches!(self.origin, Origin::Environment(_) | Origin::Flag(_))
    }
}
