//! Who writes to a fenced subject.

use std::{fmt, str::FromStr};

use domain::UnixNanos;
use uuid::Uuid;

/// A participant: a random id, and when it started. Of two, the one that started later goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// When it started, by its own clock. Compared first; the id decides between equal times.
    pub started: UnixNanos,
    /// Random.
    pub id: Uuid,
}

impl Owner {
    pub(crate) fn new() -> Self {
        Self { started: UnixNanos::now(), id: Uuid::new_v4() }
    }
}

impl fmt::Display for Owner {
    /// `id/nanoseconds since 1970`, the form of the header `lf-owner`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.started.nanos())
    }
}

/// The text is not an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not of the form id/nanoseconds")]
pub struct InvalidOwner;

impl FromStr for Owner {
    type Err = InvalidOwner;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, started) = text.split_once('/').ok_or(InvalidOwner)?;
        Ok(Self {
            id: id.parse().map_err(|_| InvalidOwner)?,
            started: UnixNanos::new(started.parse().map_err(|_| InvalidOwner)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_orders_by_start() {
        let owner = Owner::new();
        assert_eq!(owner.to_string().parse(), Ok(owner));
        assert_eq!("".parse::<Owner>(), Err(InvalidOwner));
        assert_eq!("x/1".parse::<Owner>(), Err(InvalidOwner));
        let later = Owner { started: UnixNanos::new(owner.started.nanos() + 1), id: Uuid::nil() };
        assert!(later > owner);
    }
}
