//! What can be configured of a query service.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use domain::Instrument;
use runtime::config::Reader;

/// Where a query service listens, and its limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether clients may ask what services there are.
    pub reflection: bool,
    /// The largest request, in bytes.
    pub request_bytes_max: usize,
    /// The most calls of one connection at the same time.
    pub concurrent_calls_max: u32,
    /// The most calls of all connections at the same time; those above it are refused at once.
    pub calls_max: usize,
    /// The most `StreamTicks` of all connections at the same time, which are not among `calls_max`: each holds up to two
    /// pages of 4,096 ticks, and a stream that nobody reads must not take the place of calls.
    pub streams_max: usize,
    /// The largest message that is sent, in bytes; pages of ticks and candles are cut to fit.
    pub response_bytes_max: usize,
    /// How long a call that is no stream may take.
    pub call_timeout: Duration,
    /// The certificate of the listener, if it speaks TLS.
    pub tls: Option<runtime::tls::Files>,
    /// The products that the feed is configured to follow; `None` where that is not known: another process holds the feed.
    /// No key of its own: whoever starts the service tells it.
    pub configured: Option<BTreeSet<Instrument>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            reflection: true,
            request_bytes_max: 64 * 1024,
            concurrent_calls_max: 256,
            calls_max: 512,
            streams_max: 32,
            // What generated clients accept by default.
            response_bytes_max: 4 * 1024 * 1024,
            call_timeout: Duration::from_secs(10),
            tls: None,
            configured: None,
        }
    }
}

impl Config {
    /// Reads the section `query`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let bytes =
            reader.integer("request_bytes_max", default.request_bytes_max as u64, 1024..=16 * 1024 * 1024);
        let calls =
            reader.integer("concurrent_calls_max", u64::from(default.concurrent_calls_max), 1..=65_536);
        let mut size = |key, default: usize, allowed| {
            usize::try_from(reader.integer(key, default as u64, allowed)).unwrap_or(default)
        };
        let calls_max = size("calls_max", default.calls_max, 1..=65_536);
        let streams_max = size("streams_max", default.streams_max, 1..=4_096);
        let response_bytes_max =
            size("response_bytes_max", default.response_bytes_max, 1024 * 1024..=64 * 1024 * 1024);
        Self {
            listen: reader.address("listen", default.listen),
            reflection: reader.flag("reflection", default.reflection),
            request_bytes_max: usize::try_from(bytes).unwrap_or(default.request_bytes_max),
            concurrent_calls_max: u32::try_from(calls).unwrap_or(default.concurrent_calls_max),
            calls_max,
            streams_max,
            response_bytes_max,
            tls: runtime::tls::Files::read(reader),
            configured: None,
            call_timeout: reader.duration(
                "call_timeout",
                default.call_timeout,
                Duration::from_millis(100)..=Duration::from_secs(600),
            ),
        }
    }
}
