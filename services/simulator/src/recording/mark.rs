//! What a recording says beside its messages.

use domain::UnixNanos;
use serde::{Deserialize, Serialize};

/// The version of the form that is written.
pub const RECORDING_FORMAT: u32 = 1;

/// How each mark begins; no message of the exchange does.
const BEGINNING: &[u8] = b"{\"ledgerflux\":";

/// A line of a recording that is no message, but tells of those around it. A recording without marks is read as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ledgerflux", rename_all = "snake_case")]
pub enum Mark {
    /// Stands at the head of each file.
    Recording {
        /// [`RECORDING_FORMAT`].
        format: u32,
        /// The number of the file in this recording, from 1.
        file: u64,
        /// The address of the feed.
        feed: String,
        /// What was subscribed to.
        products: Vec<String>,
        /// The channels.
        channels: Vec<String>,
    },
    /// A connection was made.
    Opened {
        /// Its number; one that ended is followed by another of the same number.
        connection: usize,
        /// When.
        #[serde(with = "rfc3339")]
        time: UnixNanos,
        /// Which one it is.
        session: String,
    },
    /// What follows, up to the end of the line, is a message as it came.
    Frame {
        /// The connection.
        connection: usize,
        /// When it arrived, by the recorder's clock, to the nanosecond.
        #[serde(with = "rfc3339")]
        received: UnixNanos,
        /// How long it is, where the end of the line does not tell: it has several lines, or ends in white space.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<usize>,
        /// Whether it came as binary, rather than as text.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        binary: bool,
    },
    /// A connection ended.
    Closed {
        /// Its number.
        connection: usize,
        /// When.
        #[serde(with = "rfc3339")]
        time: UnixNanos,
        /// Why.
        why: String,
    },
}

impl Mark {
    /// The mark for a message.
    pub fn frame(connection: usize, received: UnixNanos, message: &[u8], binary: bool) -> Self {
        let is_line = !message.contains(&b'\n') && message.last().is_some_and(|last| *last != b'\r');
        Self::Frame { connection, received, bytes: (!is_line).then_some(message.len()), binary }
    }

    /// The line, without its end.
    pub fn line(&self) -> String {
        // Texts, numbers and times have no way to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether a line is a mark, of this version or a later one.
    pub(super) fn begins(line: &[u8]) -> bool {
        line.starts_with(BEGINNING)
    }

    /// Reads a line; `None` when it is no mark of this version.
    pub fn parse(line: &[u8]) -> Option<Self> {
        Self::begins(line).then(|| serde_json::from_slice(line).ok()).flatten()
    }
}

mod rfc3339 {
    use domain::UnixNanos;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &UnixNanos, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixNanos, D::Error> {
        let text = String::deserialize(deserializer)?;
        UnixNanos::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}
