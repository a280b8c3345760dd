//! The whole configuration: every section, read and checked by its owner, whatever role is started.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use domain::{Product, Shard, ShardCount};
use runtime::config::{ConfigProblems, Flag, Reader, Sources};

use crate::{
    args::Override,
    feed::{ALLOWED, Feed},
};

/// The most products of one feed.
const PRODUCTS_MAX: usize = 2_000;

/// The section `feed`.
#[derive(Clone, Debug)]
pub(crate) struct FeedSettings {
    pub(crate) source: Feed,
    pub(crate) products: Vec<Product>,
    /// Whether the products were named, rather than taken from the defaults.
    pub(crate) products_named: bool,
    pub(crate) replay_speed: simulator::Speed,
    pub(crate) ingestor: ingestor::Config,
}

/// Which shard a worker owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShardId {
    /// The ordinal at the end of the host name.
    Auto,
    /// This one.
    Number(u64),
}

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) feed: FeedSettings,
    pub(crate) bus: bus::Config,
    pub(crate) store_url: Option<String>,
    pub(crate) store: store::Config,
    pub(crate) normalizer: normalizer::Config,
    pub(crate) normalizer_shard: ShardId,
    pub(crate) snapshotter: snapshotter::Config,
    pub(crate) snapshotter_shard: ShardId,
    pub(crate) query: query::Config,
    pub(crate) gateway: gateway::Config,
    pub(crate) ops_listen: Option<SocketAddr>,
    pub(crate) ops_tls: Option<runtime::tls::Files>,
    pub(crate) telemetry: runtime::telemetry::Config,
    pub(crate) data: runtime::lock::Config,
}

/// What a command changes of the built-in defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// `feed.source`.
    pub(crate) feed: &'static str,
    /// Whether ticks are dropped after a day unless told otherwise; never for a replay.
    pub(crate) keep_a_day: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { feed: "live", keep_a_day: false }
    }
}

/// Reads and checks everything; all problems are told at once.
pub(crate) fn load(
    file: Option<PathBuf>,
    overrides: Vec<Override>,
    defaults: Defaults,
) -> Result<(Settings, Sources), ConfigProblems> {
    let flags = overrides.into_iter().map(|(key, value, name)| Flag::new(key, value, name)).collect();
    let mut sources = Sources::load(file, runtime::config::environment(), flags)?;
    let feed = sources.read("feed", |reader| read_feed(reader, defaults.feed));
    let bus = sources.read("bus", read_bus);
    let (store_url, store) = sources.read("store", read_store);
    let keep = match feed.source {
        Feed::Replay(_) => "forever",
        _ if defaults.keep_a_day => "24h",
        _ => "forever",
    };
    let (normalizer, normalizer_shard) =
        sources.read("normalizer", |reader| (normalizer::Config::read(reader), read_shard_id(reader)));
    let (snapshotter, snapshotter_shard) = sources
        .read("snapshotter", |reader| (snapshotter::Config::read(reader, keep), read_shard_id(reader)));
    let (ops_listen, ops_tls) =
        sources.read("ops", |reader| (reader.optional_address("listen"), runtime::tls::Files::read(reader)));
    let settings = Settings {
        query: sources.read("query", query::Config::read),
        gateway: sources.read("gateway", gateway::Config::read),
        ops_listen,
        ops_tls,
        telemetry: sources.read("telemetry", runtime::telemetry::Config::read),
        data: sources.read("data", runtime::lock::Config::read),
        feed,
        bus,
        store_url,
        store,
        normalizer,
        normalizer_shard,
        snapshotter,
        snapshotter_shard,
    };
    sources.finish()?;
    Ok((settings, sources))
}

fn read_feed(reader: &mut Reader<'_>, default: &str) -> FeedSettings {
    let source = reader.parsed("source", default, ALLOWED, str::parse::<Feed>).unwrap_or(Feed::Live);
    let products_named = reader.is_set("products");
    let names = reader.list("products", &["BTC-USD", "ETH-USD", "ADA-USD"]);
    let mut products = Vec::new();
    for name in &names {
        // The exchange's own names are in upper case; a client may write them as it likes, and so may an operator.
        match Product::new(&name.trim().to_uppercase()) {
            Ok(product) if !products.contains(&product) => products.push(product),
            Ok(_) => {}
            Err(error) => reader.conflict("products", error.to_string()),
        }
    }
    if products.is_empty() || products.len() > PRODUCTS_MAX {
        reader.conflict("products", format!("1 to {PRODUCTS_MAX} products are allowed"));
    }
    let speed = "`max`, or a factor of recorded time above 0 such as 1, 0.5 or 20";
    let ingestor = ingestor::Config::read(reader);
    FeedSettings {
        source,
        products,
        products_named,
        replay_speed: reader.parsed("replay_speed", "1", speed, str::parse).unwrap_or_default(),
        ingestor,
    }
}

fn read_bus(reader: &mut Reader<'_>) -> bus::Config {
    let default = bus::Config::default();
    let day = Duration::from_secs(86_400);
    let second = Duration::from_secs(1);
    let sizes = 1_048_576..=1 << 50;
    let nats = reader.optional_parsed("nats", "nats://HOST[:PORT] or tls://HOST[:PORT]", bus::ServerUrl::new);
    let prefix = reader.parsed("prefix", "lf", "1 to 32 characters of a-z, 0-9, _ and -", bus::Prefix::new);
    let shards = reader.integer("shards", u64::from(default.shards.get()), 1..=u64::from(domain::SHARDS_MAX));
    let buffer =
        reader.integer("raw_buffer_max_ticks", default.raw_buffer_max_ticks as u64, 512..=16_777_216);
    bus::Config {
        nats,
        prefix: prefix.unwrap_or_default(),
        shards: ShardCount::new(shards).unwrap_or_default(),
        replicas: usize::try_from(reader.integer("replicas", default.replicas as u64, 1..=5)).unwrap_or(1),
        raw_size_max_bytes: reader.optional_integer("raw_size_max_bytes", sizes.clone()),
        ticks_size_max_bytes: reader.optional_integer("ticks_size_max_bytes", sizes.clone()),
        ticks_age_max: reader.duration("ticks_age_max", default.ticks_age_max, second..=day * 365),
        rejects_size_max_bytes: reader.optional_integer("rejects_size_max_bytes", sizes.clone()),
        rejects_age_max: reader.duration("rejects_age_max", default.rejects_age_max, second..=day * 365),
        events_size_max_bytes: reader.optional_integer("events_size_max_bytes", sizes),
        events_age_max: reader.duration("events_age_max", default.events_age_max, second..=day * 365),
        stalled_after: reader.duration("stalled_after", default.stalled_after, second..=second * 3600),
        duplicate_window: reader.duration(
            "duplicate_window",
            default.duplicate_window,
            Duration::from_millis(100)..=day,
        ),
        raw_buffer_max_ticks: usize::try_from(buffer).unwrap_or(default.raw_buffer_max_ticks),
        ..default
    }
}

fn read_store(reader: &mut Reader<'_>) -> (Option<String>, store::Config) {
    let default = store::Config::default();
    let url = reader.secret("url").map(|url| url.reveal().to_owned());
    let known = |url: &String| {
        ["postgres://", "postgresql://", "sqlite:"].iter().any(|scheme| url.starts_with(scheme))
    };
    if url.as_ref().is_some_and(|url| !known(url)) {
        reader.conflict("url", "allowed are postgres://… and sqlite://FILE?mode=rwc");
    }
    let second = Duration::from_secs(1);
    let connections = reader.integer("pool_size_max", u64::from(default.pool_size_max), 1..=1_000);
    let store = store::Config {
        pool_size_max: u32::try_from(connections).unwrap_or(default.pool_size_max),
        acquire_timeout: reader.duration("acquire_timeout", default.acquire_timeout, second..=second * 60),
        statement_timeout: reader.duration(
            "statement_timeout",
            default.statement_timeout,
            second..=second * 3600,
        ),
        partition_width: reader.optional_duration("partition_width", second * 60..=second * 86_400 * 366),
        ..default
    };
    let is_whole = |width: Duration| width.subsec_nanos() == 0 && width.as_secs().is_multiple_of(60);
    if store.partition_width.is_some_and(|width| !is_whole(width)) {
        reader.conflict("partition_width", "whole minutes are allowed");
    }
    (url, store)
}

fn read_shard_id(reader: &mut Reader<'_>) -> ShardId {
    let allowed = "`auto`, or the number of a shard";
    let parse = |text: &str| match text {
        "auto" => Ok(ShardId::Auto),
        number => number.parse().map(ShardId::Number),
    };
    reader.parsed("shard_id", "0", allowed, parse).unwrap_or(ShardId::Number(0))
}

impl ShardId {
    /// The shard itself, when there are so many.
    pub(crate) fn resolve(&self, shards: ShardCount) -> anyhow::Result<Shard> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Auto => {
                let host = runtime::host::name();
                runtime::host::ordinal(&host).ok_or_else(|| {
                    anyhow::anyhow!("the host name {host:?} does not end in an ordinal (--shard-id auto)")
                })?
            }
        };
        shards.shard(number).ok_or_else(|| {
            anyhow::anyhow!("there is no shard {number}: there are {shards} (--shard-id, --shards)")
        })
    }
}

impl Settings {
    /// The database: the one that is configured, or SQLite in the data directory.
    pub(crate) fn database(&self) -> String {
        self.store_url
            .clone()
            .unwrap_or_else(|| format!("sqlite://{}?mode=rwc", self.data.dir.join("ledgerflux.db").display()))
    }
}
