//! What can be set about the bus. The binary reads it from the configuration file.

use std::{fmt, time::Duration};

use domain::ShardCount;
use thiserror::Error;

/// The longest prefix of subjects and streams, in bytes.
pub const PREFIX_BYTES_MAX: usize = 32;

/// How to reach the bus, and how much it may hold.
#[derive(Clone, Debug)]
pub struct Config {
    /// The nats-server; `None` means the embedded bus.
    pub nats: Option<ServerUrl>,
    /// What every subject and stream name starts with; `lf` by default.
    pub prefix: Prefix,
    /// How many shards there are; 4 by default. The count is kept in the metadata of `LF_RAW`.
    pub shards: ShardCount,
    /// How many copies a JetStream cluster keeps of each stream, 1 to 5. The embedded bus ignores it.
    pub replicas: usize,
    /// The most bytes that `LF_RAW` holds before it refuses. `None`: 1 GiB on JetStream, 64 MiB embedded.
    pub raw_size_max_bytes: Option<u64>,
    /// The most bytes that `LF_TICKS` holds. `None`: 2 GiB on JetStream, 128 MiB embedded.
    pub ticks_size_max_bytes: Option<u64>,
    /// How long `LF_TICKS` keeps a message; 24 h by default.
    pub ticks_age_max: Duration,
    /// The most bytes that `LF_REJECTS` holds. `None`: 256 MiB on JetStream, 16 MiB embedded.
    pub rejects_size_max_bytes: Option<u64>,
    /// How long `LF_REJECTS` keeps a message; 7 days by default.
    pub rejects_age_max: Duration,
    /// The most bytes that `LF_EVENTS` holds. `None`: 64 MiB on JetStream, 16 MiB embedded.
    pub events_size_max_bytes: Option<u64>,
    /// How long `LF_EVENTS` keeps a message; 7 days by default.
    pub events_age_max: Duration,
    /// For how long a message id is remembered; 2 min by default, and never longer than a stream keeps a message.
    pub duplicate_window: Duration,
    /// After how long an unacknowledged message is delivered again; 60 s by default, long enough for a slow commit.
    pub ack_wait: Duration,
    /// The most messages that a worker may have taken without acknowledging them; 10 000 by default.
    pub unacknowledged_messages_max: usize,
    /// A worker, or who follows a stream, to whom nothing comes for so long though messages wait makes its consumer anew; 10 s by
    /// default.
    pub stalled_after: Duration,
    /// How long a publisher waits for the acknowledgement before it counts the attempt as failed; 5 s by default. In a
    /// cluster at most 3 s.
    pub publish_timeout: Duration,
    /// The most ticks that a raw publisher buffers before it makes its caller wait; 65 536 by default, about
    /// 30 MiB, and half a minute of a very busy market.
    pub raw_buffer_max_ticks: usize,
    /// The shortest wait before a publish is tried again; 50 ms by default.
    pub retry_delay_min: Duration,
    /// The longest wait before a publish is tried again; 2 s by default: a connection that comes back ends the wait, but a
    /// cluster that has a leader again tells nobody.
    pub retry_delay_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            nats: None,
            prefix: Prefix::default(),
            shards: ShardCount::default(),
            replicas: 1,
            raw_size_max_bytes: None,
            ticks_size_max_bytes: None,
            ticks_age_max: DAY,
            rejects_size_max_bytes: None,
            rejects_age_max: DAY.saturating_mul(7),
            events_size_max_bytes: None,
            events_age_max: DAY.saturating_mul(7),
            duplicate_window: Duration::from_secs(120),
            ack_wait: Duration::from_secs(60),
            unacknowledged_messages_max: 10_000,
            stalled_after: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(5),
            raw_buffer_max_ticks: 65_536,
            retry_delay_min: Duration::from_millis(50),
            retry_delay_max: Duration::from_secs(2),
        }
    }
}

/// What every subject and stream name starts with: `lf` gives `lf.raw.…` and `LF_RAW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// The text cannot start a subject.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a prefix: 1 to {PREFIX_BYTES_MAX} characters of a-z, 0-9, _ and -")]
pub struct InvalidPrefix(pub String);

impl Prefix {
    /// Checks a prefix: 1 to 32 characters of `a-z`, `0-9`, `_` and `-`.
    pub fn new(text: &str) -> Result<Self, InvalidPrefix> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if text.is_empty() || text.len() > PREFIX_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(InvalidPrefix(text.chars().take(64).collect()));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("lf".into())
    }
}

/// The address of a nats-server, e.g. `nats://localhost:4222`. A password in it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

/// The text is not the address of a nats-server.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not the address of a nats-server: nats://HOST:PORT or tls://HOST:PORT")]
pub struct InvalidServerUrl(pub String);

impl ServerUrl {
    /// Checks the scheme (`nats` or `tls`) and that there is a host.
    pub fn new(text: &str) -> Result<Self, InvalidServerUrl> {
        let url = Self(text.into());
        let rest = text.strip_prefix("nats://").or_else(|| text.strip_prefix("tls://"));
        let host = rest.map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
        match host {
            Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => Ok(url),
            _ => Err(InvalidServerUrl(url.to_string())),
        }
    }

    /// The address with everything in it, to connect with.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrl {
    /// The address with user and password hidden.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => write!(f, "{scheme}://***@{host}"),
            (None, Some((_, host))) => write!(f, "***@{host}"),
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_credentials() {
        let url = ServerUrl::new("nats://user:secret@localhost:4222").unwrap();
        assert_eq!(url.to_string(), "nats://***@localhost:4222");
        assert_eq!(format!("{url:?}"), "nats://***@localhost:4222");
        assert_eq!(url.expose(), "nats://user:secret@localhost:4222");
        assert_eq!(ServerUrl::new("http://a:b@c"), Err(InvalidServerUrl("http://***@c".into())));
        assert!(ServerUrl::new("nats://").is_err());
    }

    #[test]
    fn prefixes_have_a_form() {
        assert_eq!(Prefix::new("lf").unwrap(), Prefix::default());
        for bad in ["", "LF", "a.b", "a>", "a b", &"x".repeat(33)] {
            assert!(Prefix::new(bad).is_err(), "{bad:?}");
        }
    }
}
