//! The seam to stored ticks: what `live` needs of a history, and nothing else.

use std::{error::Error, fmt::Debug};

use domain::{Instrument, Position, Tick, UnixNanos};
use futures::future::BoxFuture;
use thiserror::Error;

/// The stored ticks of all products.
///
/// What is stored of a product must be complete up to its newest stored tick, apart from what retention has taken away at
/// the old end: the writer stores in the order of the stream. Ticks without a position are left out everywhere.
pub trait History: Debug + Send + Sync {
    /// The ticks of the run of `from` at or after `from`, in order of position: at most `max`, and fewer only when these
    /// are all that is stored of the run.
    fn ticks<'a>(
        &'a self,
        instrument: &'a Instrument,
        from: Position,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Tick>, HistoryError>>;

    /// The newest stored position in the run of `until` that is not after `until`.
    fn newest<'a>(
        &'a self,
        instrument: &'a Instrument,
        until: Position,
    ) -> BoxFuture<'a, Result<Option<Position>, HistoryError>>;

    /// What is stored of what happened at or after `time`.
    fn since<'a>(
        &'a self,
        instrument: &'a Instrument,
        time: UnixNanos,
    ) -> BoxFuture<'a, Result<Since, HistoryError>>;
}

/// What is stored of what happened at or after a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// The position of the first tick; `None` when none is stored.
    pub first: Option<Position>,
    /// Ticks before this time are no longer kept; `None` while everything is.
    pub horizon: Option<UnixNanos>,
}

/// Why history does not answer.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// It cannot be reached at the moment: worth another attempt.
    #[error("history cannot be reached")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// It refuses, and will do so again.
    #[error("history cannot be read")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}
