//! What can be configured of a normalizer.

use std::time::Duration;

use runtime::config::Reader;

/// Limits of a normalizer.
#[derive(Clone, Debug)]
pub struct Config {
    /// The most raw messages that are handled in one go.
    pub fetch_messages_max: usize,
    /// How long one fetch waits for a first message.
    pub fetch_wait: Duration,
    /// How long a product is held back when trades are missing that another ingestor may still bring; zero: not at all.
    pub merge_wait: Duration,
    /// How long a fenced owner waits before it tries again; doubles each time, up to 16 times this.
    pub fenced_wait: Duration,
    /// After so many failures at one message, for a reason that lies in it, it is filed among the rejects.
    pub deliveries_max: u32,
    /// The longest wait between two attempts after a failure; they begin at 100 ms and double. Short, because only a
    /// connection that comes back ends it early: a cluster that has a leader again tells nobody.
    pub retry_delay_max: Duration,
    /// How long the drain at shutdown goes on with what is still waiting.
    pub drain_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fetch_messages_max: 256,
            fetch_wait: Duration::from_millis(500),
            merge_wait: Duration::from_millis(250),
            fenced_wait: Duration::from_secs(30),
            deliveries_max: 5,
            retry_delay_max: Duration::from_secs(2),
            drain_max: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Reads the section `normalizer`. `shard_id` is read by the binary, which composes the roles.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let seconds = Duration::from_secs;
        let deliveries = reader.integer("deliveries_max", u64::from(default.deliveries_max), 1..=1_000);
        let messages = reader.integer("fetch_messages_max", default.fetch_messages_max as u64, 1..=10_000);
        Self {
            fetch_messages_max: usize::try_from(messages).unwrap_or(default.fetch_messages_max),
            fetch_wait: reader.duration(
                "fetch_wait",
                default.fetch_wait,
                Duration::from_millis(10)..=seconds(10),
            ),
            merge_wait: reader.duration("merge_wait", default.merge_wait, Duration::ZERO..=seconds(5)),
            fenced_wait: reader.duration("fenced_wait", default.fenced_wait, seconds(1)..=seconds(600)),
            deliveries_max: u32::try_from(deliveries).unwrap_or(default.deliveries_max),
            retry_delay_max: reader.duration(
                "retry_delay_max",
                default.retry_delay_max,
                Duration::from_millis(100)..=seconds(600),
            ),
            drain_max: reader.duration("drain_max", default.drain_max, Duration::ZERO..=seconds(60)),
        }
    }
}
