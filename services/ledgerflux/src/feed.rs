//! Where the market data comes from.

use std::{path::PathBuf, str::FromStr};

use gateway::FeedLabel;
use thiserror::Error;

/// What `--feed` and `feed.source` may say.
pub(crate) const ALLOWED: &str =
    "live, simulated, replay:FILE, ws://HOST[:PORT][/PATH] or wss://HOST[:PORT][/PATH]";
/// The Coinbase Exchange feed, without authentication.
const LIVE: &str = "wss://ws-feed.exchange.coinbase.com";

/// Where the market data comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// The exchange.
    Live,
    /// A generated market in this process.
    Simulated,
    /// A recording, replayed in this process.
    Replay(PathBuf),
    /// Another address that speaks the exchange's protocol.
    Address(String),
}

/// The text names no feed.
#[derive(Debug, Error)]
#[error("not a feed")]
pub(crate) struct InvalidFeed;

impl FromStr for Feed {
    type Err = InvalidFeed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "live" => Ok(Self::Live),
            "simulated" => Ok(Self::Simulated),
            _ => {
                if let Some(file) = text.strip_prefix("replay:").filter(|file| !file.is_empty()) {
                    return Ok(Self::Replay(PathBuf::from(file)));
                }
                let host =
                    text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://")).ok_or(InvalidFeed)?;
                if host.is_empty() || host.starts_with('/') {
                    Err(InvalidFeed)
                } else {
                    Ok(Self::Address(text.into()))
                }
            }
        }
    }
}

impl Feed {
    /// What clients are told about the data.
    pub(crate) fn label(&self) -> FeedLabel {
        match self {
            Self::Live => FeedLabel::Live,
            Self::Simulated => FeedLabel::Simulated,
            Self::Replay(path) => {
                let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                FeedLabel::Replay { file }
            }
            Self::Address(_) => FeedLabel::Other,
        }
    }

    /// The address of the exchange; `None` when the exchange runs in this process.
    pub(crate) fn address(&self) -> Option<&str> {
        match self {
            Self::Live => Some(LIVE),
            Self::Address(address) => Some(address),
            Self::Simulated | Self::Replay(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_and_nothing_else() {
        assert_eq!("live".parse::<Feed>().unwrap(), Feed::Live);
        assert_eq!("simulated".parse::<Feed>().unwrap().label(), FeedLabel::Simulated);
        let replay = "replay:recorded/a.jsonl".parse::<Feed>().unwrap();
        assert_eq!(replay, Feed::Replay("recorded/a.jsonl".into()));
        assert_eq!(replay.label(), FeedLabel::Replay { file: "a.jsonl".into() });
        assert_eq!("ws://127.0.0.1:1".parse::<Feed>().unwrap().address(), Some("ws://127.0.0.1:1"));
        for bad in ["", "Live", "replay:", "http://x", "ws://", "wss:///path"] {
            assert!(bad.parse::<Feed>().is_err(), "{bad}");
        }
    }
}
