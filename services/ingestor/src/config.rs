//! What can be configured of an ingestor.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use domain::Product;
use runtime::config::Reader;
use venues::coinbase::{CHANNELS, LIVE_URL, TICK_CHANNELS};

use crate::Error;
use crate::rest::RestBase;

/// The exchange allows 10 requests a second per address.
const REST_RATE_MAX: u64 = 10;

/// The feed, and how patient to be with it.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ws://…` or `wss://…`.
    pub url: String,
    /// The products to subscribe to.
    pub products: Vec<Product>,
    /// The channels to subscribe to; one of them brings tickers.
    pub channels: Vec<String>,
    /// A PEM file with certificates to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// How many products one connection carries at most.
    pub products_per_connection: usize,
    /// How long a connection may be mute before it is given up, as long as it is not known to bring heartbeats.
    pub idle_timeout: Duration,
    /// How long a product, or a whole connection, may be without the heartbeats that come each second.
    pub heartbeat_timeout: Duration,
    /// How long connecting may take, TLS and WebSocket handshakes included.
    pub connect_timeout: Duration,
    /// How long the exchange may take to confirm a subscription.
    pub confirm_timeout: Duration,
    /// When a product that the exchange refused is asked for again; each further refusal doubles it.
    pub refused_retry_min: Duration,
    /// The longest such delay.
    pub refused_retry_max: Duration,
    /// The ceiling of the first delay before a new connection; each failure doubles it.
    pub reconnect_delay_min: Duration,
    /// The highest ceiling of the delay before a new connection.
    pub reconnect_delay_max: Duration,
    /// Where the REST API of the exchange is served.
    pub rest_url: RestUrl,
    /// How many requests a second the REST API is asked at most, whatever for.
    pub rest_rate_max: u32,
    /// How long one request to the REST API may take.
    pub rest_timeout: Duration,
    /// How often what the exchange says of its products is asked for.
    pub details_period: Duration,
    /// Whether missing trades are fetched over the REST API.
    pub backfill: bool,
    /// A gap of more trades than this is not fetched.
    pub backfill_trades_max: u64,
    /// How often the exchange must have answered without a trade before the trade counts as lost.
    pub backfill_attempts_max: u32,
    /// How long the drain may wait for acknowledgements of the broker.
    pub drain_max: Duration,
    /// Whether a feed that is not live makes the process not ready (a process of its own), or is only told (a process
    /// with other roles, which can serve all the same).
    pub feed_decides_readiness: bool,
}

/// Where the REST API of the exchange is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RestUrl {
    /// Derived from the address of the feed: for the exchange itself its API, otherwise the same host and port over http
    /// (https for `wss://`), where the simulator serves it.
    #[default]
    Auto,
    /// Nowhere: missing trades are not fetched and products have no details.
    Off,
    /// `http://…` or `https://…`.
    At(String),
}

impl FromStr for RestUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            url => RestBase::new(url).map(|_| Self::At(url.to_owned())),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: LIVE_URL.to_owned(),
            products: Vec::new(),
            channels: vec!["ticker".to_owned(), "heartbeat".to_owned()],
            ca_file: None,
            products_per_connection: 100,
            idle_timeout: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(5),
            refused_retry_min: Duration::from_secs(1),
            refused_retry_max: Duration::from_secs(3_600),
            reconnect_delay_min: Duration::from_millis(250),
            // Short enough to be live again within seconds of the exchange's return; 30 connections that try all the while
            // stay below the 8 attempts a second that it allows, because the delays spread over the whole span.
            reconnect_delay_max: Duration::from_secs(4),
            rest_url: RestUrl::Auto,
            rest_rate_max: 5,
            rest_timeout: Duration::from_secs(10),
            details_period: Duration::from_secs(3_600),
            backfill: true,
            backfill_trades_max: 100_000,
            backfill_attempts_max: 5,
            drain_max: Duration::from_secs(5),
            feed_decides_readiness: true,
        }
    }
}

impl Config {
    /// Reads the section `feed`, except `source`, `products` and `replay_speed`: those tell the binary which exchange
    /// to give to the ingestor, as `url` and `products`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        let channels = reader.list("channels", &["ticker", "heartbeat"]);
        if let Some(channel) = channels.iter().find(|channel| !CHANNELS.contains(&channel.as_str())) {
            reader
                .conflict("channels", format!("{channel:?} is no channel; allowed: {}", CHANNELS.join(", ")));
        }
        if !channels.iter().any(|channel| TICK_CHANNELS.contains(&channel.as_str())) {
            reader.conflict("channels", format!("must have one of {}", TICK_CHANNELS.join(", ")));
        }
        let (timeouts, delays) = (second..=second * 300, second..=hour);
        let mut duration =
            |key, default, allowed: &RangeInclusive<Duration>| reader.duration(key, default, allowed.clone());
        let config = Self {
            channels,
            idle_timeout: duration("idle_timeout", default.idle_timeout, &delays),
            heartbeat_timeout: duration("heartbeat_timeout", default.heartbeat_timeout, &timeouts),
            connect_timeout: duration("connect_timeout", default.connect_timeout, &timeouts),
            confirm_timeout: duration("confirm_timeout", default.confirm_timeout, &timeouts),
            refused_retry_min: duration("refused_retry_min", default.refused_retry_min, &delays),
            refused_retry_max: duration(
                "refused_retry_max",
                default.refused_retry_max,
                &(second..=hour * 24),
            ),
            reconnect_delay_min: duration(
                "reconnect_delay_min",
                default.reconnect_delay_min,
                &(Duration::from_millis(10)..=second * 60),
            ),
            reconnect_delay_max: duration("reconnect_delay_max", default.reconnect_delay_max, &delays),
            rest_timeout: duration("rest_timeout", default.rest_timeout, &timeouts),
            details_period: duration("details_period", default.details_period, &(second * 60..=hour * 24)),
            ..default
        };
        let config = config.read_rest(reader);
        for (max, min, is_below) in [
            (
                "reconnect_delay_max",
                "reconnect_delay_min",
                config.reconnect_delay_max < config.reconnect_delay_min,
            ),
            ("refused_retry_max", "refused_retry_min", config.refused_retry_max < config.refused_retry_min),
        ] {
            if is_below {
                reader.conflict(max, format!("must not be below {min}"));
            }
        }
        config
    }

    fn read_rest(self, reader: &mut Reader<'_>) -> Self {
        let allowed = "`auto`, `off`, or an address such as https://HOST[:PORT]";
        let per_connection =
            reader.integer("products_per_connection", self.products_per_connection as u64, 1..=1_000);
        let rate = reader.integer("rest_rate_max", u64::from(self.rest_rate_max), 1..=REST_RATE_MAX);
        let attempts =
            reader.integer("backfill_attempts_max", u64::from(self.backfill_attempts_max), 1..=100);
        Self {
            ca_file: reader.optional_path("ca_file"),
            products_per_connection: usize::try_from(per_connection).unwrap_or(self.products_per_connection),
            rest_url: reader.parsed("rest_url", "auto", allowed, str::parse).unwrap_or_default(),
            rest_rate_max: u32::try_from(rate).unwrap_or(self.rest_rate_max),
            backfill: reader.flag("backfill", self.backfill),
            backfill_trades_max: reader.integer(
                "backfill_trades_max",
                self.backfill_trades_max,
                1..=10_000_000,
            ),
            backfill_attempts_max: u32::try_from(attempts).unwrap_or(self.backfill_attempts_max),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::{Flag, Sources};

    fn read(settings: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let flag = |(key, value): &(&str, &str)| Flag::new(format!("feed.{key}"), *value, format!("--{key}"));
        let flags = settings.iter().map(flag).collect();
        let mut sources = Sources::load(None, Vec::new(), flags).unwrap();
        let config = sources.read("feed", Config::read);
        match sources.finish() {
            Ok(()) => Ok(config),
            Err(problems) => Err(problems.to_string().lines().map(str::to_owned).collect()),
        }
    }

    #[test]
    fn reads_its_keys() {
        let config = read(&[("channels", "ticker_batch,status"), ("idle_timeout", "5s")]).unwrap();
        assert_eq!(config.channels, ["ticker_batch", "status"]);
        assert_eq!(config.idle_timeout, Duration::from_secs(5));
        assert_eq!(read(&[]).unwrap().channels, ["ticker", "heartbeat"]);
        assert_eq!(read(&[("rest_url", "off")]).unwrap().rest_url, RestUrl::Off);
        let elsewhere =
            read(&[("rest_url", "http://127.0.0.1:1"), ("products_per_connection", "7")]).unwrap();
        assert_eq!(elsewhere.rest_url, RestUrl::At("http://127.0.0.1:1".into()));
        assert_eq!(elsewhere.products_per_connection, 7);
    }

    #[test]
    fn refuses_what_could_not_work() {
        for (settings, key) in [
            (&[("channels", "rumours,ticker")][..], "feed.channels"),
            (&[("channels", "heartbeat")], "feed.channels"),
            (&[("idle_timeout", "10ms")], "feed.idle_timeout"),
            (&[("reconnect_delay_min", "30s"), ("reconnect_delay_max", "1s")], "feed.reconnect_delay_max"),
            (&[("refused_retry_min", "30s"), ("refused_retry_max", "1s")], "feed.refused_retry_max"),
            (&[("rest_url", "wss://127.0.0.1")], "feed.rest_url"),
            (&[("rest_rate_max", "11")], "feed.rest_rate_max"),
            (&[("products_per_connection", "0")], "feed.products_per_connection"),
        ] {
            let problems = read(settings).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(key)), "{problems:?}");
        }
    }
}
