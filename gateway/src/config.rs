//! The section `gateway`.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use live::{Policy, Rate};
use runtime::config::Reader;
use tonic::transport::Uri;

use crate::access::AccessConfig;

/// What the gateway is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may call.
    pub access: AccessConfig,
    /// Where query serves gRPC; history calls go to every address that the hosts of these have.
    pub query: Vec<Uri>,
    /// The root certificates that query's is checked with over https, beside those of the system.
    pub query_ca_file: Option<PathBuf>,
    /// The most calls that are with query at one time; further ones are refused with RESOURCE_EXHAUSTED.
    pub forwarded_max: usize,
    /// How long query may take until it has answered, or has begun to stream, over all attempts. A shorter deadline of the caller counts instead.
    pub query_timeout: Duration,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
    /// The certificate of the listener, if it speaks TLS.
    pub tls: Option<runtime::tls::Files>,
    /// The most TCP connections that speak HTTP at one time; further ones wait in the system's queue.
    pub connections_max: usize,
    /// The most connections of one address at one time, WebSockets included; further ones are closed at once.
    pub connections_per_address_max: usize,
    /// How long a client may take to begin, to shake hands, and to send the headers of a request.
    pub header_timeout: Duration,
    /// How long a client may take to send a request of gRPC.
    pub request_timeout: Duration,
    /// The most calls and streams of one HTTP/2 connection at one time; further ones wait with the client.
    pub streams_per_connection_max: u32,
    /// The most HTTP/2 streams that a client may open and reset before they are looked at; with more its connection is closed.
    pub pending_resets_max: usize,
    /// The most WebSocket clients at one time; further ones are closed with code 1013.
    pub websockets_max: usize,
    /// The most streams over gRPC and grpc-web at one time; further ones are refused with RESOURCE_EXHAUSTED.
    pub streams_max: usize,
    /// The most products that one client may name; `*` counts as one.
    pub products_max: usize,
    /// How often a WebSocket client is pinged.
    pub ping_interval: Duration,
    /// After how long without a sign of life a WebSocket client is given up.
    pub idle_timeout: Duration,
    /// After how long a WebSocket client that takes nothing off its socket is given up, and any other answer that is not read.
    pub write_timeout: Duration,
    /// How many ticks of one product a client may be behind before it is given the newest only.
    pub behind_ticks_max: NonZeroU64,
    /// How fast one client is sent to.
    pub rate: Rate,
    /// What is kept in memory.
    pub live: live::Config,
    /// What the data is; set by the binary, which knows the feed.
    pub feed_label: FeedLabel,
}

/// Where the data comes from, as the page says it, so that nobody takes a simulation for a market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FeedLabel {
    /// An exchange.
    #[default]
    Live,
    /// A simulated market.
    Simulated,
    /// A recording.
    Replay {
        /// The name of the file, without its folder.
        file: String,
    },
    /// Another server, which may be anything.
    Other,
}

impl FeedLabel {
    /// `live`, `simulated`, `replay` or `other`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Simulated => "simulated",
            Self::Replay { .. } => "replay",
            Self::Other => "other",
        }
    }
}

/// The largest number that any of the counts may be set to.
const COUNT_MAX: u64 = 1_000_000;

impl Config {
    /// Reads the section.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let seconds = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
        let listen = reader.address("listen", SocketAddr::from(([127, 0, 0, 1], 8000)));
        let config = Self {
            listen,
            access: AccessConfig::read(reader, listen),
            query: reader.parsed("query", QUERY_DEFAULT, QUERY_ALLOWED, query_addresses).unwrap_or_default(),
            query_ca_file: reader.optional_path("query_ca_file"),
            forwarded_max: count(reader, "forwarded_max", 256, 1..=16_384),
            query_timeout: reader.duration("query_timeout", Duration::from_secs(15), seconds(1, 600)),
            reflection: reader.flag("reflection", true),
            connections_max: count(reader, "connections_max", 12_000, 1..=COUNT_MAX),
            tls: runtime::tls::Files::read(reader),
            // What is on this machine is no stranger, and may be a proxy.
            connections_per_address_max: {
                let default = if listen.ip().is_loopback() { COUNT_MAX } else { 1_024 };
                count(reader, "connections_per_address_max", default, 1..=COUNT_MAX)
            },
            header_timeout: reader.duration("header_timeout", Duration::from_secs(10), seconds(1, 300)),
            request_timeout: reader.duration("request_timeout", Duration::from_secs(10), seconds(1, 300)),
            streams_per_connection_max: {
                let streams = reader.integer("streams_per_connection_max", 128, 1..=65_536);
                u32::try_from(streams).unwrap_or(128)
            },
            pending_resets_max: count(reader, "pending_resets_max", 32, 1..=65_536),
            websockets_max: count(reader, "websockets_max", 10_000, 1..=COUNT_MAX),
            streams_max: count(reader, "streams_max", 10_000, 1..=COUNT_MAX),
            products_max: count(reader, "products_max", 1_000, 1..=100_000),
            ping_interval: reader.duration("ping_interval", Duration::from_secs(25), seconds(1, 3_600)),
            idle_timeout: reader.duration("idle_timeout", Duration::from_secs(75), seconds(1, 86_400)),
            write_timeout: reader.duration("write_timeout", Duration::from_secs(30), seconds(1, 3_600)),
            behind_ticks_max: {
                let behind = reader.integer("behind_ticks_max", 512, 1..=COUNT_MAX);
                NonZeroU64::new(behind).unwrap_or(NonZeroU64::MIN)
            },
            rate: Rate {
                per_second: per_second(reader, "rate_per_second", 100),
                burst: per_second(reader, "rate_burst", 200),
            },
            live: live_config(reader),
            feed_label: FeedLabel::default(),
        };
        if config.idle_timeout <= config.ping_interval {
            reader.conflict(
                "idle_timeout",
                "must be longer than gateway.ping_interval, or no client could answer in time",
            );
        }
        config
    }

    /// What a WebSocket client gets, and a gRPC client that names no policy.
    pub(crate) fn conflate(&self) -> Policy {
        Policy::Conflate { behind_max: self.behind_ticks_max, rate: Some(self.rate), interval: None }
    }
}

const QUERY_DEFAULT: &str = "http://127.0.0.1:50051";
const QUERY_ALLOWED: &str =
    "addresses like http://127.0.0.1:50051, separated by commas, all of them http or all https";

fn live_config(reader: &mut Reader<'_>) -> live::Config {
    let default = live::Config::default();
    let ticks = count(reader, "ring_ticks_max", 16_384, 1..=COUNT_MAX);
    live::Config {
        ring_ticks_max: NonZeroUsize::new(ticks).unwrap_or(default.ring_ticks_max),
        ring_bytes_max: count(reader, "ring_size_max_bytes", 40 * 1024 * 1024, 65_536..=4_294_967_296),
        ..default
    }
}

fn count(reader: &mut Reader<'_>, key: &str, default: u64, allowed: std::ops::RangeInclusive<u64>) -> usize {
    usize::try_from(reader.integer(key, default, allowed)).unwrap_or(usize::MAX)
}

fn per_second(reader: &mut Reader<'_>, key: &str, default: u32) -> NonZeroU32 {
    let number = reader.integer(key, u64::from(default), 1..=COUNT_MAX);
    u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

/// Addresses with a scheme and a host: tonic would take less and fail with the first call.
fn query_addresses(text: &str) -> Result<Vec<Uri>, String> {
    let read = |text: &str| {
        let uri: Uri = text.trim().parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(_)) => Ok(uri),
            _ => Err("the scheme is neither http nor https".to_owned()),
        }
    };
    let addresses = text.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
    match addresses.iter().all(|address| address.scheme() == addresses.first().and_then(Uri::scheme)) {
        true => Ok(addresses),
        false => Err("some are http, some https".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_scheme() {
        assert_eq!(query_addresses(QUERY_DEFAULT).unwrap().len(), 1);
        assert_eq!(query_addresses("http://a:1, http://b:2").unwrap().len(), 2);
        for bad in ["127.0.0.1:50051", "/path", "ftp://host", "", "http://a,", "http://a,https://b"] {
            assert!(query_addresses(bad).is_err(), "{bad}");
        }
    }
}
