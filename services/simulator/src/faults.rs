//! What goes wrong on purpose: a script of faults, each with its time, its extent, and whom it hits.
//!
//! [`FaultScript`] is what was written; [`script::Script`] runs it, as a state machine without clock and I/O;
//! [`live::Faults`] is shared by the feed, the connections and REST, and brings the clock.

mod keys;
pub(crate) mod live;
mod read;
pub(crate) mod script;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// Faults in the order in which they are asked: of two that would hit the same ticker, the first one does.
///
/// The default is no fault. See `docs/simulator.md` for every kind and key.
#[derive(Clone, Debug, Default)]
pub struct FaultScript {
    seed: u64,
    faults: Vec<Fault>,
}

/// Everything that is wrong with a script.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", self.text())]
pub struct InvalidFaults {
    /// One entry for each problem.
    pub problems: Vec<FaultProblem>,
}

/// One thing that is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultProblem {
    /// Which fault, e.g. `fault 2 (drop)`; the file when it is no TOML.
    pub place: String,
    /// The key.
    pub key: String,
    /// What is wrong with it, e.g. `is 0`.
    pub found: String,
    /// What would be allowed; empty where the parser has said it.
    pub allowed: String,
}

impl InvalidFaults {
    fn text(&self) -> String {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        lines.join("; ")
    }
}

impl fmt::Display for FaultProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.place, self.key, self.found)?;
        if self.allowed.is_empty() { Ok(()) } else { write!(f, ", allowed: {}", self.allowed) }
    }
}

impl FaultScript {
    /// Whether nothing goes wrong.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The same script; the same seed makes the same random choices.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The longest range that is ever repeated.
    pub(crate) fn repeated_max(&self) -> usize {
        let lengths = self.faults.iter().map(|fault| match fault.kind {
            Kind::Repeat { last } => last,
            _ => 0,
        });
        lengths.max().unwrap_or(0)
    }
}

/// One fault as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// What the truth and the log call it.
    pub(crate) name: Arc<str>,
    pub(crate) place: String,
    pub(crate) kind: Kind,
    pub(crate) start: Start,
    pub(crate) every: Option<Start>,
    pub(crate) times: Option<u64>,
    pub(crate) extent: Extent,
    /// `None` is all.
    pub(crate) products: Option<BTreeSet<String>>,
    pub(crate) connection: Connection,
}

impl Fault {
    pub(crate) fn covers(&self, product: &str) -> bool {
        self.products.as_ref().is_none_or(|products| products.contains(product))
    }
}

/// When it begins, or how far its repetitions are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Since somebody first asked for the feed.
    At(Duration),
    /// Tickers of its products since the first subscription.
    AfterTicks(u64),
}

/// How much it hits once it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// It happens, and that is all.
    Once,
    /// So many tickers, connections or requests.
    Count(u64),
    For(Duration),
    /// Until the end.
    Open,
}

/// Which of the connections it hits, by their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    All,
    Oldest,
    Newest,
}

impl Connection {
    /// Whether it hits the one at `index` of `count` that are sorted by age.
    pub(crate) fn hits(self, index: usize, count: usize) -> bool {
        match self {
            Self::All => true,
            Self::Oldest => index == 0,
            Self::Newest => index + 1 == count,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    // What happens to tickers.
    Drop { percent: u64 },
    Mute { also_heartbeats: bool },
    Corrupt { how: Corruption, percent: u64 },
    Duplicate { percent: u64 },
    Delay { by: Duration },
    Reorder { window: usize },
    // What happens to connections.
    Disconnect { how: Ending },
    Stall { also_new: bool },
    Repeat { last: usize },
    SequenceReset { to: u64 },
    Error { message: String, reason: String },
    Oversized { bytes: usize },
    // What happens to who connects and subscribes.
    SlowAccept { by: Duration },
    Refuse { how: Refusing },
    // What happens to requests to REST.
    RestTooMany,
    RestFails,
    RestGarbage,
    RestSlow { by: Duration },
    RestGone,
}

/// What a corrupt ticker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corruption {
    /// It breaks off.
    Cut,
    /// Text that is no JSON.
    Garbage,
    /// Bytes that are no text.
    Binary,
    /// A price that is no number.
    Number,
    /// It can be read, and its best bid is above its best ask.
    Crossed,
    /// It can be read, and its price is 0.
    Unpriced,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a goodbye.
    Close,
    /// Without one.
    Cut,
    /// By a reset of TCP.
    Reset,
}

/// How a product is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusing {
    /// The subscription is confirmed without it.
    Omit,
    /// The request gets an `error` and changes nothing.
    Error,
}
