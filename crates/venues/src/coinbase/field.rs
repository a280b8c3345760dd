//! A field of a message as it stands there, before anyone decides whether it may.

use std::borrow::Cow;
use std::fmt;

use domain::{Decimal, UnixNanos, parse_number};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::{FrameFault, clip};

/// The value of a field. Reading it never fails, so that a fault can name the field instead of a column.
///
/// Text is borrowed from the frame unless it contains escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// A string.
    Text(Cow<'a, str>),
    /// A number without sign and fraction.
    Integer(u64),
    /// Something else, and what.
    Other(&'static str),
}

impl Field<'_> {
    /// The text; `None` when it is anything else.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number; `None` when it is anything else.
    pub fn integer(&self) -> Option<u64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// Whether it is not there, or `null`.
    pub fn is_absent(&self) -> bool {
        *self == Self::Absent
    }

    pub(super) fn required_text(&self, field: &'static str) -> Result<&str, FrameFault> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Absent => Err(FrameFault::Missing { field }),
            other => Err(FrameFault::WrongType { field, found: other.describe(), allowed: "a string" }),
        }
    }

    pub(super) fn required_integer(&self, field: &'static str) -> Result<u64, FrameFault> {
        match self {
            Self::Integer(number) => Ok(*number),
            Self::Absent => Err(FrameFault::Missing { field }),
            other => {
                let allowed = "a whole number from 0 to 18446744073709551615";
                Err(FrameFault::NotANumber { field, found: other.describe(), allowed })
            }
        }
    }

    /// Rule 5: decimals are strings; one that came as a JSON number may have lost digits on its way.
    pub(super) fn decimal(&self, field: &'static str) -> Result<Option<Decimal>, FrameFault> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => match parse_number(text) {
                Ok(number) => Ok(Some(number)),
                Err(source) => Err(FrameFault::InvalidNumber { field, source }),
            },
            other => {
                let allowed = "a decimal in a string";
                Err(FrameFault::NotANumber { field, found: other.describe(), allowed })
            }
        }
    }

    pub(super) fn required_decimal(&self, field: &'static str) -> Result<Decimal, FrameFault> {
        self.decimal(field)?.ok_or(FrameFault::Missing { field })
    }

    pub(super) fn required_time(&self, field: &'static str) -> Result<UnixNanos, FrameFault> {
        let text = match self {
            Self::Text(text) => text,
            Self::Absent => return Err(FrameFault::Missing { field }),
            other => {
                return Err(FrameFault::NotATime { field, found: other.describe() });
            }
        };
        UnixNanos::parse_rfc3339(text).map_err(|source| FrameFault::InvalidTime { field, source })
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Absent => "absent".to_owned(),
            Self::Text(text) => format!("the string {:?}", clip(text)),
            Self::Integer(number) => format!("the number {number}"),
            Self::Other(what) => (*what).to_owned(),
        }
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Integer(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field<'de>, E> {
        Ok(u64::try_from(number).map_or(Field::Other("a negative number"), Field::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<'de>, E> {
        Ok(Field::Other("a number with a fraction or beyond 64 bits"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<'de>, E> {
        Ok(Field::Other("a boolean"))
    }

    fn visit_unit<E>(self) -> Result<Field<'de>, E> {
        Ok(Field::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field<'de>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other("an object"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Field<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn reads_whatever_stands_there() {
        assert!(matches!(read("\"1.50\""), Field::Text(Cow::Borrowed("1.50"))));
        assert!(matches!(read("\"BTC\\u002dUSD\""), Field::Text(Cow::Owned(text)) if text == "BTC-USD"));
        assert_eq!(read("18446744073709551615").integer(), Some(u64::MAX));
        assert_eq!(read("null"), Field::Absent);
        for (json, what) in [
            ("-1", "a negative number"),
            ("1.5", "a number with a fraction or beyond 64 bits"),
            ("18446744073709551616", "a number with a fraction or beyond 64 bits"),
            ("true", "a boolean"),
            ("[1,[2]]", "an array"),
            ("{\"a\":{}}", "an object"),
        ] {
            assert_eq!(read(json), Field::Other(what), "{json}");
        }
    }
}
