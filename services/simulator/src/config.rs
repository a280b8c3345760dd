//! What the simulator is told.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use domain::Product;
use thiserror::Error;

use crate::FaultScript;

/// Everything the simulator is told. The defaults generate a small market.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the messages come from.
    pub source: Source,
    /// The file that gets one JSON line for each trade that was made, and for each fault; it is written anew.
    pub truth: Option<PathBuf>,
    /// Serve `wss://` instead of `ws://`.
    pub tls: Option<TlsFiles>,
    /// What REST serves, on the same port.
    pub rest: RestConfig,
    /// What goes wrong on purpose.
    pub faults: FaultScript,
    /// How long a connection may take to subscribe; the exchange gives 5 s.
    pub subscribe_timeout: Duration,
    /// How long a replay waits for a client that does not read, before it is disconnected.
    pub stall_timeout: Duration,
    /// The most messages that wait for one client.
    pub queue_messages_max: usize,
    /// The most bytes that wait for one client; a longer message waits alone.
    pub queue_bytes_max: usize,
    /// The most connections at once.
    pub clients_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: Source::Generate(GenerateConfig::default()),
            truth: None,
            tls: None,
            rest: RestConfig::default(),
            faults: FaultScript::default(),
            subscribe_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            queue_messages_max: 1_024,
            queue_bytes_max: 8 * 1024 * 1024,
            clients_max: 256,
        }
    }
}

impl Config {
    /// How long the feed waits for a client without room. At a rate it does not, as the exchange does not; a replay, and
    /// a market as fast as it is read, do.
    pub(crate) fn patience(&self) -> Duration {
        match &self.source {
            Source::Generate(GenerateConfig { rate: Rate::PerSecond(_), .. }) => Duration::ZERO,
            Source::Generate(_) | Source::Replay(_) => self.stall_timeout,
        }
    }
}

/// Where the messages come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A recording.
    Replay(ReplayConfig),
    /// A market that is made up.
    Generate(GenerateConfig),
}

/// A recording, and how fast it goes.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// One message per line, packed with gzip or not.
    pub path: PathBuf,
    /// How fast.
    pub speed: Speed,
}

/// A market that is made up.
#[derive(Clone, Debug)]
pub struct GenerateConfig {
    /// What is traded.
    pub products: Vec<Product>,
    /// How many tickers a second, over all products.
    pub rate: Rate,
    /// The same seed makes the same prices and sizes; the times are those of the clock.
    pub seed: u64,
    /// The first sequence of each product; unless told, microseconds since 1970, so that a restart goes on above.
    pub first_sequence: Option<u64>,
    /// The first trade_id of each product; unless told, microseconds since 1970.
    pub first_trade_id: Option<u64>,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        let products = ["BTC-USD", "ETH-USD", "ADA-USD"];
        Self {
            products: products.into_iter().filter_map(|name| Product::new(name).ok()).collect(),
            rate: Rate::default(),
            seed: 1,
            first_sequence: None,
            first_trade_id: None,
        }
    }
}

/// What REST serves.
#[derive(Clone, Copy, Debug)]
pub struct RestConfig {
    /// How many of the newest trades of each product can be asked for; one takes some 70 bytes of memory.
    pub trades_max: usize,
    /// How many requests an address may make; `None` is any number.
    pub rate: Option<RestRate>,
}

impl Default for RestConfig {
    fn default() -> Self {
        Self { trades_max: 100_000, rate: Some(RestRate::default()) }
    }
}

/// How many requests an address may make; beyond that the answer is 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestRate {
    /// Requests a second, evenly.
    pub per_second: NonZeroU32,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
}

impl Default for RestRate {
    /// The limit of the exchange: 10 a second, 15 at once.
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self { per_second: number(10), burst: number(15) }
    }
}

/// The certificate chain and the key of the server, PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// How fast a replay goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as recorded; above 0, up to 1,000,000.
    Factor(f64),
    /// As fast as the clients read.
    Max,
}

/// How fast a market is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Tickers a second over all products, on average; 1 to 1,000,000.
    PerSecond(u32),
    /// As fast as the clients read.
    Max,
}

impl Default for Speed {
    fn default() -> Self {
        Self::Factor(1.0)
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::PerSecond(20)
    }
}

/// The text is no speed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no speed: a number above 0 up to 1000000, or max")]
pub struct InvalidSpeed(String);

/// The text is no rate.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no rate: 1 to 1000000 tickers a second, or max")]
pub struct InvalidRate(String);

impl FromStr for Speed {
    type Err = InvalidSpeed;

    fn from_str(text: &str) -> Result<Self, InvalidSpeed> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let number = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok();
        let factor = number.filter(|factor| *factor > 0.0 && *factor <= 1_000_000.0);
        factor.map(Self::Factor).ok_or_else(|| InvalidSpeed(text.chars().take(64).collect()))
    }
}

/// The text is no limit on requests.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no limit on requests: 1 to 100000 a second, or off")]
pub struct InvalidRestRate(String);

impl RestRate {
    /// Reads `N` requests a second, with a burst of one and a half times as many; `off` is no limit.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse_limit(text: &str) -> Result<Option<Self>, InvalidRestRate> {
        if text == "off" {
            return Ok(None);
        }
        let number = text.parse::<u32>().ok().filter(|rate| *rate <= 100_000).and_then(NonZeroU32::new);
        let per_second = number.ok_or_else(|| InvalidRestRate(text.chars().take(64).collect()))?;
        Ok(Some(Self { per_second, burst: per_second.saturating_add(per_second.get() / 2) }))
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let number = text.parse::<u32>().ok().filter(|rate| (1..=1_000_000).contains(rate));
        number.map(Self::PerSecond).ok_or_else(|| InvalidRate(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_speeds_and_rates() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("0.5".parse(), Ok(Speed::Factor(0.5)));
        assert_eq!("10x".parse(), Ok(Speed::Factor(10.0)));
        for bad in ["", "0", "-1", "NaN", "inf", "2000000", "fast"] {
            assert_eq!(bad.parse::<Speed>(), Err(InvalidSpeed(bad.into())));
        }
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("500".parse(), Ok(Rate::PerSecond(500)));
        for bad in ["", "0", "1.5", "1000001"] {
            assert_eq!(bad.parse::<Rate>(), Err(InvalidRate(bad.into())));
        }
        assert_eq!(RestRate::parse_limit("10"), Ok(Some(RestRate::default())));
        assert_eq!(RestRate::parse_limit("off"), Ok(None));
        for bad in ["", "0", "-1", "1.5", "100001", "none"] {
            assert_eq!(RestRate::parse_limit(bad), Err(InvalidRestRate(bad.into())));
        }
    }
}
