//! The six streams: their names, what they hold and how much of it.

use std::time::Duration;

use domain::UnixNanos;

use crate::{Config, Subjects};

const MIB: u64 = 1024 * 1024;

/// One of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// `LF_RAW`: ticks as received. A message leaves when its shard has acknowledged it.
    Raw,
    /// `LF_TICKS`: ticks validated, ordered, unique.
    Ticks,
    /// `LF_SNAPSHOTS`: the last snapshot of each product.
    Snapshots,
    /// `LF_REJECTS`: what was refused.
    Rejects,
    /// `LF_EVENTS`: what happened to the feeds.
    Events,
    /// `LF_STATUS`: how each role is doing.
    Status,
}

impl StreamKind {
    /// Every stream. `LF_RAW` comes first: it carries the shard count, and a conflict there ends everything.
    pub const ALL: [Self; 6] =
        [Self::Raw, Self::Ticks, Self::Snapshots, Self::Rejects, Self::Events, Self::Status];

    /// The name as it stands in labels: `raw`, `ticks` and so on.
    pub fn label(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Ticks => "ticks",
            Self::Snapshots => "snapshots",
            Self::Rejects => "rejects",
            Self::Events => "events",
            Self::Status => "status",
        }
    }

    /// Whether a message replaces the one before it on its subject.
    pub(crate) fn is_one_per_subject(self) -> bool {
        matches!(self, Self::Snapshots | Self::Status)
    }

    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Raw => &["raw", "rawfill"],
            Self::Ticks => &["tick", "fill"],
            Self::Snapshots => &["snapshot"],
            Self::Rejects => &["reject"],
            Self::Events => &["event"],
            Self::Status => &["status"],
        }
    }
}

/// When a message leaves a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// As soon as its worker has acknowledged it.
    WorkQueue,
    /// When a limit is reached.
    Limits,
}

/// What happens at the limit of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discard {
    /// New messages are refused.
    New,
    /// The oldest messages are dropped.
    Old,
}

/// What a stream is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamSpec {
    pub(crate) kind: StreamKind,
    pub(crate) name: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) retention: Retention,
    pub(crate) discard: Discard,
    pub(crate) size_bytes_max: u64,
    pub(crate) age_max: Option<Duration>,
    pub(crate) one_per_subject: bool,
    pub(crate) duplicate_window: Duration,
    pub(crate) replicas: usize,
    /// The shard count, on the stream that keeps it.
    pub(crate) shards: Option<u16>,
}

/// Where the messages are held; memory is scarcer than disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Substrate {
    Disk,
    Memory,
}

/// What is known of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// When it was created. Its sequences start at 1 then.
    pub created: UnixNanos,
    /// How many messages it holds.
    pub messages: u64,
    /// How many bytes they take.
    pub size_bytes: u64,
    /// The most bytes it may hold.
    pub size_bytes_max: u64,
    /// The sequence of the oldest message; one more than `last_sequence` when it is empty.
    pub first_sequence: u64,
    /// The sequence of the newest message there has been; 0 when there was none.
    pub last_sequence: u64,
    /// How many nodes of the broker have a copy of it.
    pub replicas: usize,
}

/// The name of a stream, e.g. `LF_RAW`.
pub(crate) fn name(config: &Config, kind: StreamKind) -> String {
    format!("{}_{}", config.prefix.as_str().to_ascii_uppercase(), kind.label().to_ascii_uppercase())
}

/// What the stream is to be under `config`.
pub(crate) fn spec(
    config: &Config,
    subjects: &Subjects,
    substrate: Substrate,
    kind: StreamKind,
) -> StreamSpec {
    let (size, on_disk, in_memory, age_max) = match kind {
        StreamKind::Raw => (config.raw_size_max_bytes, 1024, 64, None),
        StreamKind::Ticks => (config.ticks_size_max_bytes, 2048, 128, Some(config.ticks_age_max)),
        StreamKind::Snapshots => (None, 64, 64, None),
        StreamKind::Rejects => (config.rejects_size_max_bytes, 256, 16, Some(config.rejects_age_max)),
        StreamKind::Events => (config.events_size_max_bytes, 64, 16, Some(config.events_age_max)),
        StreamKind::Status => (None, 16, 16, Some(Duration::from_secs(60))),
    };
    let default_mib = match substrate {
        Substrate::Disk => on_disk,
        Substrate::Memory => in_memory,
    };
    let raw = kind == StreamKind::Raw;
    StreamSpec {
        kind,
        name: name(config, kind),
        subjects: subjects.all(kind.kinds()),
        retention: if raw { Retention::WorkQueue } else { Retention::Limits },
        discard: if raw { Discard::New } else { Discard::Old },
        size_bytes_max: size.unwrap_or(default_mib * MIB),
        age_max,
        one_per_subject: kind.is_one_per_subject(),
        // The broker refuses a window that is longer than the age.
        duplicate_window: age_max.map_or(config.duplicate_window, |age| age.min(config.duplicate_window)),
        replicas: config.replicas,
        shards: raw.then_some(config.shards.get()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_of(config: &Config, kind: StreamKind) -> StreamSpec {
        spec(config, &Subjects::new(&config.prefix, config.shards), Substrate::Disk, kind)
    }

    #[test]
    fn raw_is_a_work_queue_that_refuses() {
        let raw = spec_of(&Config::default(), StreamKind::Raw);
        assert_eq!(
            (raw.name.as_str(), raw.retention, raw.discard),
            ("LF_RAW", Retention::WorkQueue, Discard::New)
        );
        assert_eq!(raw.subjects, ["lf.raw.>", "lf.rawfill.>"]);
        assert_eq!((raw.shards, raw.age_max), (Some(4), None));
    }

    #[test]
    fn the_window_is_never_longer_than_the_age() {
        let config = Config { ticks_age_max: Duration::from_secs(1), ..Config::default() };
        assert_eq!(spec_of(&config, StreamKind::Ticks).duplicate_window, Duration::from_secs(1));
        for kind in StreamKind::ALL {
            let spec = spec_of(&Config::default(), kind);
            assert!(spec.age_max.is_none_or(|age| age >= spec.duplicate_window), "{kind:?}");
            assert_eq!(spec.one_per_subject, matches!(kind, StreamKind::Snapshots | StreamKind::Status));
        }
    }
}
