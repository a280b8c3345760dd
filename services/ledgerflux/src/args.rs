//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod explain;
mod keys;
mod record;
mod upkeep;
mod watch;

pub(crate) use explain::{By, ExplainArgs};
pub(crate) use keys::{CreateArgs, KeysArgs, KeysCommand};
pub(crate) use record::RecordArgs;
pub(crate) use upkeep::{ListArgs, RejectsArgs, RejectsCommand, ReshardArgs, ResubmitArgs, ShowArgs};
pub(crate) use watch::WatchArgs;

/// A flag that overrides a key of the configuration: key, value, name of the flag.
pub(crate) type Override = (String, String, String);

const EXAMPLES: &str = "\
Examples:
  ledgerflux demo                                    a generated market, nothing to install
  ledgerflux up                                      the live feed, stored in .ledgerflux/
  ledgerflux up --products BTC-USD,SOL-USD --keep 7d
  ledgerflux up --feed replay:session.jsonl.gz       a recorded session
  ledgerflux up --nats nats://127.0.0.1:4222 --database postgres://user@127.0.0.1/ledgerflux
  ledgerflux watch BTC-USD,ETH-USD                   live prices in this terminal
  ledgerflux config print                            what is in force, and where each value comes from";

/// Self-hosted, real-time crypto market data: every tick validated, ordered, stored exactly once, and streamed.
#[derive(Debug, Parser)]
#[command(name = "ledgerflux", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every role in one process, on the live feed unless told otherwise.
    #[command(after_help = "Example:\n  ledgerflux up --feed live --products BTC-USD,ETH-USD --keep 24h")]
    Up(UpArgs),
    /// The same as `up --feed simulated`: a generated market. The data is not real, and everything says so.
    #[command(after_help = "Example:\n  ledgerflux demo --listen 127.0.0.1:8080")]
    Demo(UpArgs),
    /// Hold the connection to the exchange and publish raw ticks.
    #[command(after_help = "Example:\n  ledgerflux ingestor --feed live --nats nats://127.0.0.1:4222")]
    Ingestor(IngestorArgs),
    /// Own one shard: validate, order, remove duplicates, quarantine.
    #[command(
        after_help = "Example:\n  ledgerflux normalizer --shard-id 0 --shards 4 --nats nats://127.0.0.1:4222"
    )]
    Normalizer(NormalizerArgs),
    /// Own one shard: store ticks, bars and snapshots, and publish snapshots.
    #[command(
        after_help = "Example:\n  ledgerflux snapshotter --shard-id 0 --nats nats://127.0.0.1:4222 \\\n      --database postgres://user@127.0.0.1/ledgerflux"
    )]
    Snapshotter(SnapshotterArgs),
    /// Answer history and latest-price queries over gRPC.
    #[command(
        after_help = "Example:\n  ledgerflux query --nats nats://127.0.0.1:4222 --database postgres://user@127.0.0.1/ledgerflux"
    )]
    Query(QueryArgs),
    /// Serve clients: WebSocket, gRPC and grpc-web streaming, and the page.
    #[command(
        after_help = "Example:\n  ledgerflux gateway --nats nats://127.0.0.1:4222 --query http://127.0.0.1:50051"
    )]
    Gateway(GatewayArgs),
    /// Be an exchange: replay a recording or generate a market, over the Coinbase feed protocol and REST.
    #[command(
        after_help = "Examples:\n  ledgerflux simulator --generate --rate 500 --listen 127.0.0.1:8765\n  ledgerflux simulator --replay session.jsonl.gz --speed max --truth sent.jsonl\n  ledgerflux simulator --generate --fault disconnect:every=1m,at=1m --fault drop:at=10s,count=20 --truth sent.jsonl"
    )]
    Simulator(SimulatorArgs),
    /// Create or update the tables of the database.
    #[command(after_help = "Example:\n  ledgerflux migrate --database postgres://owner@127.0.0.1/ledgerflux")]
    Migrate(MigrateArgs),
    /// Drop ticks that are older than they need to be kept. Bars and gaps stay.
    #[command(
        after_help = "Example:\n  ledgerflux retention --keep 24h --database postgres://owner@127.0.0.1/ledgerflux"
    )]
    Retention(RetentionArgs),
    /// Show live prices in the terminal, or write one JSON line per message into a pipe.
    #[command(after_help = watch::EXAMPLES)]
    Watch(WatchArgs),
    /// Write the feed to files as it comes, for a replay.
    #[command(after_help = record::EXAMPLES)]
    Record(RecordArgs),
    /// Show where a stored tick came from, hop by hop; or why it is not stored.
    #[command(after_help = explain::EXAMPLES)]
    Explain(ExplainArgs),
    /// List what was refused, show one, or submit a corrected one again.
    #[command(after_help = upkeep::REJECTS_EXAMPLES)]
    Rejects(RejectsArgs),
    /// Change the number of shards of the streams. Stop the ingestors, normalizers and snapshotters first.
    #[command(after_help = upkeep::RESHARD_EXAMPLES)]
    Reshard(ReshardArgs),
    /// Make, list and revoke the API keys of the gateway.
    #[command(after_help = keys::EXAMPLES)]
    Keys(KeysArgs),
    /// Check or print the configuration.
    Config(ConfigArgs),
}

/// What every command takes.
#[derive(Args, Debug, Default)]
pub(crate) struct CommonArgs {
    /// The configuration file, TOML or JSON.
    #[arg(long, value_name = "FILE", env = "LEDGERFLUX_CONFIG", help_heading = "Common")]
    pub(crate) config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,bus=debug`.
    #[arg(long, value_name = "FILTER", help_heading = "Common")]
    log: Option<String>,
    /// Where files are kept [default: .ledgerflux].
    #[arg(long, value_name = "DIR", help_heading = "Common")]
    data_dir: Option<String>,
}

#[derive(Args, Debug, Default)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Where /metrics, /health and /ready are served, by default on 127.0.0.1 from port 9100 up; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    ops_listen: Option<String>,
    /// Print the addresses in use to standard output, one `name=address` a line, once they serve.
    #[arg(long)]
    pub(crate) print_addresses: bool,
}

#[derive(Args, Debug, Default)]
pub(crate) struct FeedArgs {
    /// The exchange: `live`, `simulated`, `replay:FILE`, or a `ws://` or `wss://` address.
    #[arg(long, value_name = "FEED")]
    pub(crate) feed: Option<String>,
    /// The products in upper case, separated by commas; a replay takes those of its recording.
    #[arg(long, value_name = "A,B")]
    pub(crate) products: Option<String>,
    /// How fast a recording is replayed: a factor of recorded time, or `max` [default: 1].
    #[arg(long, value_name = "X|max")]
    speed: Option<String>,
}

#[derive(Args, Debug, Default)]
pub(crate) struct BusArgs {
    /// The NATS server; without it, the bus is in this process.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// How many shards there are [default: 4].
    #[arg(long, value_name = "N")]
    shards: Option<String>,
}

#[derive(Args, Debug, Default)]
pub(crate) struct StoreArgs {
    /// The database: `postgres://…` or `sqlite://FILE?mode=rwc` [default: SQLite in the data directory].
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

#[derive(Args, Debug, Default)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// How long ticks are kept, by event time: a duration or `forever` [default: 24h, `forever` for a replay].
    #[arg(long, value_name = "DURATION")]
    pub(crate) keep: Option<String>,
    /// Where the gateway listens: page, WebSocket, gRPC, grpc-web [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Let in only who has one of the API keys in this file (`ledgerflux keys`).
    #[arg(long, value_name = "FILE")]
    keys: Option<String>,
    /// Where the query API listens [default: 127.0.0.1:50051].
    #[arg(long, value_name = "ADDR:PORT")]
    grpc_listen: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct IngestorArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    #[command(flatten)]
    bus: BusArgs,
}

#[derive(Args, Debug)]
pub(crate) struct NormalizerArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    bus: BusArgs,
    /// The shard: a number, or `auto` for the ordinal at the end of the host name.
    #[arg(long, value_name = "N|auto")]
    shard_id: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct SnapshotterArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// The shard: a number, or `auto` for the ordinal at the end of the host name.
    #[arg(long, value_name = "N|auto")]
    shard_id: Option<String>,
    /// How long ticks are kept, by event time: a duration or `forever` [default: forever].
    #[arg(long, value_name = "DURATION")]
    keep: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Where the query API listens [default: 127.0.0.1:50051].
    #[arg(long, visible_alias = "listen", value_name = "ADDR:PORT")]
    grpc_listen: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    bus: BusArgs,
    /// Where the gateway listens: page, WebSocket, gRPC, grpc-web [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Let in only who has one of the API keys in this file (`ledgerflux keys`).
    #[arg(long, value_name = "FILE")]
    keys: Option<String>,
    /// The query services that history calls are forwarded to, separated by commas; the host of one may have several
    /// addresses [default: http://127.0.0.1:50051].
    #[arg(long, value_name = "URL")]
    query: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct SimulatorArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Replay a recording: a file of one message a line, `.jsonl` or `.jsonl.gz`.
    #[arg(long, value_name = "FILE", required_unless_present = "generate", conflicts_with = "generate")]
    pub(crate) replay: Option<PathBuf>,
    /// Generate a market.
    #[arg(long)]
    pub(crate) generate: bool,
    /// How fast to replay: a factor of recorded time, or `max` for as fast as the client reads.
    #[arg(long, value_name = "X|max", default_value = "1")]
    pub(crate) speed: String,
    /// Generated ticks a second, over all products.
    #[arg(long, value_name = "N|max", default_value = "20")]
    pub(crate) rate: String,
    /// The products of a generated market, separated by commas.
    #[arg(long, value_name = "A,B", default_value = "BTC-USD,ETH-USD,ADA-USD", value_delimiter = ',')]
    pub(crate) products: Vec<String>,
    /// The same seed generates the same market, and the same choices where faults leave something to chance.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8765")]
    pub(crate) listen: std::net::SocketAddr,
    /// How many REST requests a second an address may make, with a burst of one and a half times as many, or `off`.
    #[arg(long, value_name = "N|off", default_value = "10")]
    pub(crate) rest_rate: String,
    /// How many of the newest trades of each product REST can be asked for.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rest_trades: u32,
    /// A script of faults: a TOML file with `[[fault]]` tables, see docs/simulator.md.
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
    /// One more fault: `KIND:key=value,…`, such as `drop:at=10s,count=20`. May be given several times.
    #[arg(long, value_name = "FAULT")]
    pub(crate) fault: Vec<String>,
    /// Write the ground truth to this file: one JSON line for each trade that was made, and for each fault.
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Also set up the roles `ledgerflux_owner`, `_writer` and `_reader`, and take away the rights of all others (PostgreSQL).
    #[arg(long)]
    pub(crate) roles: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RetentionArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// How long ticks are kept, by event time.
    #[arg(long, value_name = "DURATION")]
    keep: String,
}

#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Report every problem of the configuration at once; exit with 2 if there is one.
    Check(CommonArgs),
    /// Print the values in force, each with its source.
    Print(CommonArgs),
}

/// Collects the flags that were given.
#[derive(Default)]
struct Collected(Vec<Override>);

impl Collected {
    fn add(mut self, key: &str, flag: &str, value: Option<&String>) -> Self {
        if let Some(value) = value {
            self.0.push((key.to_owned(), value.clone(), flag.to_owned()));
        }
        self
    }

    fn common(self, args: &CommonArgs) -> Self {
        self.add("telemetry.log", "--log", args.log.as_ref()).add(
            "data.dir",
            "--data-dir",
            args.data_dir.as_ref(),
        )
    }

    /// For commands whose answer is what counts: only warnings are logged, unless told otherwise.
    fn quiet(self, args: &CommonArgs) -> Self {
        let told = args.log.is_some() || std::env::var_os("LEDGERFLUX_TELEMETRY__LOG").is_some();
        self.add("telemetry.log", "the default of this command", (!told).then(|| "warn".to_owned()).as_ref())
    }

    fn serve(self, args: &ServeArgs) -> Self {
        self.common(&args.common).add("ops.listen", "--ops-listen", args.ops_listen.as_ref())
    }

    fn feed(self, args: &FeedArgs) -> Self {
        self.add("feed.source", "--feed", args.feed.as_ref())
            .add("feed.products", "--products", args.products.as_ref())
            .add("feed.replay_speed", "--speed", args.speed.as_ref())
    }

    fn bus(self, args: &BusArgs) -> Self {
        self.add("bus.nats", "--nats", args.nats.as_ref()).add("bus.shards", "--shards", args.shards.as_ref())
    }

    fn store(self, args: &StoreArgs) -> Self {
        self.add("store.url", "--database", args.database.as_ref())
    }
}

impl Command {
    /// The name of the command, which is that of the service in telemetry.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Demo(_) => "demo",
            Self::Ingestor(_) => "ingestor",
            Self::Normalizer(_) => "normalizer",
            Self::Snapshotter(_) => "snapshotter",
            Self::Query(_) => "query",
            Self::Gateway(_) => "gateway",
            Self::Simulator(_) => "simulator",
            Self::Migrate(_) => "migrate",
            Self::Retention(_) => "retention",
            Self::Record(_) => "record",
            Self::Explain(_) => "explain",
            Self::Rejects(_) => "rejects",
            Self::Reshard(_) => "reshard",
            Self::Keys(_) => "keys",
            Self::Watch(_) => "watch",
            Self::Config(_) => "config",
        }
    }

    /// What every command takes.
    pub(crate) fn common(&self) -> &CommonArgs {
        match self {
            Self::Up(args) | Self::Demo(args) => &args.serve.common,
            Self::Ingestor(args) => &args.serve.common,
            Self::Normalizer(args) => &args.serve.common,
            Self::Snapshotter(args) => &args.serve.common,
            Self::Query(args) => &args.serve.common,
            Self::Gateway(args) => &args.serve.common,
            Self::Simulator(args) => &args.serve.common,
            Self::Migrate(args) => &args.common,
            Self::Retention(args) => &args.common,
            Self::Record(args) => &args.common,
            Self::Explain(args) => &args.common,
            Self::Rejects(args) => args.common(),
            Self::Reshard(args) => &args.common,
            Self::Keys(args) => args.common(),
            Self::Watch(args) => &args.common,
            Self::Config(args) => match &args.command {
                ConfigCommand::Check(common) | ConfigCommand::Print(common) => common,
            },
        }
    }

    /// The flags that override keys of the configuration.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        let flags = Collected::default();
        match self {
            Self::Up(args) | Self::Demo(args) => flags
                .serve(&args.serve)
                .feed(&args.feed)
                .bus(&args.bus)
                .store(&args.store)
                .add("snapshotter.keep", "--keep", args.keep.as_ref())
                .add("gateway.listen", "--listen", args.listen.as_ref())
                .add("gateway.keys", "--keys", args.keys.as_ref())
                .add("query.listen", "--grpc-listen", args.grpc_listen.as_ref()),
            Self::Ingestor(args) => flags.serve(&args.serve).feed(&args.feed).bus(&args.bus),
            Self::Normalizer(args) => flags.serve(&args.serve).bus(&args.bus).add(
                "normalizer.shard_id",
                "--shard-id",
                args.shard_id.as_ref(),
            ),
            Self::Snapshotter(args) => flags
                .serve(&args.serve)
                .bus(&args.bus)
                .store(&args.store)
                .add("snapshotter.shard_id", "--shard-id", args.shard_id.as_ref())
                .add("snapshotter.keep", "--keep", args.keep.as_ref()),
            Self::Query(args) => flags.serve(&args.serve).bus(&args.bus).store(&args.store).add(
                "query.listen",
                "--grpc-listen",
                args.grpc_listen.as_ref(),
            ),
            Self::Gateway(args) => flags
                .serve(&args.serve)
                .bus(&args.bus)
                .add("gateway.listen", "--listen", args.listen.as_ref())
                .add("gateway.keys", "--keys", args.keys.as_ref())
                .add("gateway.query", "--query", args.query.as_ref()),
            Self::Simulator(args) => flags.serve(&args.serve),
            Self::Migrate(args) => flags.common(&args.common).store(&args.store),
            Self::Retention(args) => flags.common(&args.common).store(&args.store).add(
                "snapshotter.keep",
                "--keep",
                Some(&args.keep),
            ),
            Self::Record(args) => {
                let channels = args.channels.as_ref();
                flags.common(&args.common).feed(&args.feed).add("feed.channels", "--channels", channels)
            }
            Self::Explain(args) => {
                flags.common(&args.common).quiet(&args.common).bus(&args.bus).store(&args.store)
            }
            Self::Rejects(args) => {
                flags.common(self.common()).quiet(self.common()).add("bus.nats", "--nats", args.nats())
            }
            Self::Reshard(args) => flags
                .common(&args.common)
                .quiet(&args.common)
                .add("bus.nats", "--nats", args.nats.as_ref())
                .add("bus.shards", "N", Some(&args.shards)),
            Self::Keys(args) => {
                flags.common(self.common()).quiet(self.common()).add("gateway.keys", "--keys", args.keys())
            }
            Self::Watch(args) => flags.common(&args.common).quiet(&args.common),
            Self::Config(_) => flags.common(self.common()),
        }
        .0
    }
}
