//! What can be configured of an ingestor.

use std::path::PathBuf;
use std::time::Duration;

use domain::Product;
use runtime::config::Reader;
use venues::coinbase::{CHANNELS, LIVE_URL, TICK_CHANNELS};

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
    /// How long a connection may be mute before it is given up. With heartbeats something arrives each second.
    pub idle_timeout: Duration,
    /// How long connecting may take, TLS and WebSocket handshakes included.
    pub connect_timeout: Duration,
    /// How long the exchange may take to confirm the subscription.
    pub confirm_timeout: Duration,
    /// The ceiling of the first delay before a new connection; each failure doubles it.
    pub reconnect_delay_min: Duration,
    /// The highest ceiling of the delay before a new connection.
    pub reconnect_delay_max: Duration,
    /// How long the drain may wait for acknowledgements of the broker.
    pub drain_max: Duration,
    /// Whether a feed that is not live makes the process not ready (a process of its own), or is only told (a process
    /// with other roles, which can serve all the same).
    pub feed_decides_readiness: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: LIVE_URL.to_owned(),
            products: Vec::new(),
            channels: vec!["ticker".to_owned(), "heartbeat".to_owned()],
            ca_file: None,
            idle_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(10),
            reconnect_delay_min: Duration::from_millis(250),
            reconnect_delay_max: Duration::from_secs(30),
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
        let config = Self {
            channels,
            ca_file: reader.optional_path("ca_file"),
            idle_timeout: reader.duration("idle_timeout", default.idle_timeout, second..=hour),
            connect_timeout: reader.duration(
                "connect_timeout",
                default.connect_timeout,
                second..=second * 300,
            ),
            confirm_timeout: reader.duration(
                "confirm_timeout",
                default.confirm_timeout,
                second..=second * 300,
            ),
            reconnect_delay_min: reader.duration(
                "reconnect_delay_min",
                default.reconnect_delay_min,
                Duration::from_millis(10)..=second * 60,
            ),
            reconnect_delay_max: reader.duration(
                "reconnect_delay_max",
                default.reconnect_delay_max,
                second..=hour,
            ),
            ..default
        };
        if config.reconnect_delay_max < config.reconnect_delay_min {
            reader.conflict("reconnect_delay_max", "must not be below reconnect_delay_min");
        }
        config
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
    }

    #[test]
    fn refuses_what_could_not_work() {
        for (settings, key) in [
            (&[("channels", "rumours,ticker")][..], "feed.channels"),
            (&[("channels", "heartbeat")], "feed.channels"),
            (&[("idle_timeout", "10ms")], "feed.idle_timeout"),
            (&[("reconnect_delay_min", "30s"), ("reconnect_delay_max", "1s")], "feed.reconnect_delay_max"),
        ] {
            let problems = read(settings).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(key)), "{problems:?}");
        }
    }
}
