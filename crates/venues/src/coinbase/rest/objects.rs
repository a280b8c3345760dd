//! A list of objects, as the body of an answer.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::{ANSWER_BYTES_MAX, RestFault};

/// Reads a body that is a list of objects of one form.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Vec<T>, RestFault> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(RestFault::TooLong { length: body.len() });
    }
    let text =
        std::str::from_utf8(body).map_err(|error| RestFault::NotText { valid_up_to: error.valid_up_to() })?;
    let objects: Vec<Object<T>> =
        serde_json::from_str(text).map_err(|source| RestFault::Undecodable { source })?;
    Ok(objects.into_iter().map(|object| object.0).collect())
}

/// A struct that is written as an object. Serde would also take an array with the members in the struct's order.
pub(super) struct Object<T>(pub(super) T);

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Object)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}
