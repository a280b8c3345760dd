//! What can be configured of a query service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

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
    /// How long a call that is no stream may take.
    pub call_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            reflection: true,
            request_bytes_max: 64 * 1024,
            concurrent_calls_max: 256,
            call_timeout: Duration::from_secs(10),
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
        Self {
            listen: reader.address("listen", default.listen),
            reflection: reader.flag("reflection", default.reflection),
            request_bytes_max: usize::try_from(bytes).unwrap_or(default.request_bytes_max),
            concurrent_calls_max: u32::try_from(calls).unwrap_or(default.concurrent_calls_max),
            call_timeout: reader.duration(
                "call_timeout",
                default.call_timeout,
                Duration::from_millis(100)..=Duration::from_secs(600),
            ),
        }
    }
}
