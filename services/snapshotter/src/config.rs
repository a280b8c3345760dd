//! What can be configured of a snapshotter.

use std::time::Duration;

use runtime::config::Reader;

/// Limits of a snapshotter.
#[derive(Clone, Debug)]
pub struct Config {
    /// The most messages that are fetched in one go.
    pub fetch_messages_max: usize,
    /// How long one fetch waits for a first message; also how late a due snapshot can be.
    pub fetch_wait: Duration,
    /// The most ticks in one transaction. One message is never split, so a transaction may exceed it by 511.
    pub batch_ticks_max: usize,
    /// A product's snapshot is stored and published at most once in this time.
    pub snapshot_interval: Duration,
    /// How long ticks are kept, by event time; `None` keeps them for ever.
    pub keep: Option<Duration>,
    /// How often retention runs.
    pub retention_interval: Duration,
    /// After so many failures at one message, for a reason that lies in it, it is filed among the rejects.
    pub deliveries_max: u32,
    /// The longest wait between two attempts after a failure; they begin at 100 ms and double. Short, because only a
    /// connection that comes back ends it early: a cluster that has a leader again tells nobody.
    pub retry_delay_max: Duration,
    /// How long a writer waits that gave way to one that started later, before it looks again; doubles each time, up to 16
    /// times this.
    pub fenced_wait: Duration,
    /// How long the drain at shutdown goes on with what is still waiting.
    pub drain_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fetch_messages_max: 256,
            fetch_wait: Duration::from_millis(250),
            batch_ticks_max: 4096,
            snapshot_interval: Duration::from_secs(1),
            keep: None,
            retention_interval: Duration::from_secs(60),
            deliveries_max: 5,
            retry_delay_max: Duration::from_secs(2),
            fenced_wait: Duration::from_secs(30),
            drain_max: Duration::from_secs(5),
        }
    }
}

/// What `keep` may say.
const KEEP_ALLOWED: &str = "`forever`, or a duration of 1 minute or more such as 24h";

impl Config {
    /// Reads the section `snapshotter`; `keep_default` is what holds when `keep` is not set. `shard_id` is read by the
    /// binary, which composes the roles.
    pub fn read(reader: &mut Reader<'_>, keep_default: &str) -> Self {
        let default = Self::default();
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        let deliveries = reader.integer("deliveries_max", u64::from(default.deliveries_max), 1..=1_000);
        let messages = reader.integer("fetch_messages_max", default.fetch_messages_max as u64, 1..=10_000);
        let ticks = reader.integer("batch_ticks_max", default.batch_ticks_max as u64, 1..=16_384);
        Self {
            fetch_messages_max: usize::try_from(messages).unwrap_or(default.fetch_messages_max),
            fetch_wait: reader.duration("fetch_wait", default.fetch_wait, millis(10)..=seconds(10)),
            batch_ticks_max: usize::try_from(ticks).unwrap_or(default.batch_ticks_max),
            snapshot_interval: reader.duration(
                "snapshot_interval",
                default.snapshot_interval,
                millis(100)..=seconds(60),
            ),
            keep: reader.parsed("keep", keep_default, KEEP_ALLOWED, parse_keep).flatten(),
            retention_interval: reader.duration(
                "retention_interval",
                default.retention_interval,
                seconds(1)..=seconds(86_400),
            ),
            deliveries_max: u32::try_from(deliveries).unwrap_or(default.deliveries_max),
            retry_delay_max: reader.duration(
                "retry_delay_max",
                default.retry_delay_max,
                Duration::from_millis(100)..=seconds(600),
            ),
            fenced_wait: reader.duration("fenced_wait", default.fenced_wait, seconds(1)..=seconds(600)),
            drain_max: reader.duration("drain_max", default.drain_max, Duration::ZERO..=seconds(60)),
        }
    }
}

fn parse_keep(text: &str) -> Result<Option<Duration>, String> {
    if text == "forever" {
        return Ok(None);
    }
    let keep = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if keep < Duration::from_secs(60) { Err("less than a minute".to_owned()) } else { Ok(Some(keep)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_is_forever_or_a_duration() {
        assert_eq!(parse_keep("forever"), Ok(None));
        assert_eq!(parse_keep("24h"), Ok(Some(Duration::from_secs(86_400))));
        assert!(parse_keep("59s").is_err());
        assert!(parse_keep("soon").is_err());
    }
}
