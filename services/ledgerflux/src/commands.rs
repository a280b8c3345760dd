//! Commands that do one thing and end, and the simulator, which is no role.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use domain::{Product, UnixNanos};
use runtime::{Readiness, RoleContext, Shutdown, TaskSet, tasks::OnFailure};
use simulator::{FaultScript, GenerateConfig, Rate, ReplayConfig, RestConfig, RestRate, Source, Speed};
use store::{Store, StoreError};
use thiserror::Error;

use crate::{addresses::Addresses, args::SimulatorArgs, settings::Settings};

/// Where the simulator's operations endpoints are served unless configured.
const SIMULATOR_OPS_PORT: u16 = 9104;
/// How long the simulator may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(6);

/// Why the database cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Its tables could not be brought up to date.
    #[error("the tables cannot be created or updated")]
    Migrate(#[source] migrations::MigrateError),
    /// It could not be reached, or is not what it should be.
    #[error(transparent)]
    Connect(StoreError),
}

impl ConnectError {
    /// Whether trying again can help.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Migrate(error) => !matches!(error, migrations::MigrateError::Apply(_)),
            // Another process is about to migrate, or somebody is told to by the log.
            // Somebody is about to migrate.
            Self::Connect(StoreError::NotMigrated { .. } | StoreError::NoRights(_)) => true,
            Self::Connect(error) => error.is_retryable(),
        }
    }
}

/// `ledgerflux migrate`
pub(crate) async fn migrate(settings: &Settings, roles: bool) -> anyhow::Result<()> {
    let _data = lock_own_data(settings)?;
    let applied = migrations::migrate(&settings.database(), roles).await?;
    match applied.len() {
        0 => println!("the tables are up to date"),
        _ => println!("applied {}; the tables are up to date", applied.join(", ")),
    }
    if roles {
        println!("the roles ledgerflux_owner, ledgerflux_writer and ledgerflux_reader are set up");
    }
    Ok(())
}

/// `ledgerflux retention`
pub(crate) async fn retention(settings: &Settings) -> anyhow::Result<()> {
    let _data = lock_own_data(settings)?;
    let keep = settings.snapshotter.keep.context("--keep forever drops nothing: name a duration")?;
    let store = Store::connect(&store::Config { url: settings.database(), ..settings.store.clone() }).await?;
    let report = store.retain(keep, UnixNanos::now()).await?;
    store.close().await;
    let horizon = report.horizon.map_or_else(|| "none".to_owned(), |horizon| horizon.to_string());
    println!(
        "horizon {horizon}: {} partitions and {} rows dropped, {} open gaps given up",
        report.partitions_dropped,
        report.rows_deleted,
        report.gaps_given_up.len()
    );
    Ok(())
}

/// `ledgerflux reshard N`
pub(crate) async fn reshard(settings: &Settings) -> anyhow::Result<()> {
    anyhow::ensure!(
        settings.bus.nats.is_some(),
        "there is nothing to reshard without --nats: the bus of `up` is in memory, and `up --shards N` makes it for N"
    );
    let bus = bus::Bus::connect(&settings.bus).await?;
    let done = bus.reshard().await?;
    let (after, raw, ticks) = (done.after, done.raw_messages, done.tick_messages);
    match done.before {
        Some(before) if before == after && raw + ticks == 0 => println!("there are {after} shards already"),
        before => {
            let before = before.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
            println!(
                "from {before} to {after} shards; moved {raw} raw messages and {ticks} messages of ticks"
            );
            println!("start every role with --shards {after} (bus.shards)");
        }
    }
    Ok(())
}

fn lock_own_data(settings: &Settings) -> anyhow::Result<Option<runtime::lock::DataDir>> {
    match settings.store_url {
        Some(_) => Ok(None),
        None => Ok(Some(runtime::lock::DataDir::lock(&settings.data.dir)?)),
    }
}

/// `ledgerflux simulator`
pub(crate) async fn simulate(settings: &Settings, args: SimulatorArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::from_signals().context("signals cannot be handled")?;
    let context = RoleContext::new(Readiness::new(), shutdown.clone());
    let addresses = Addresses::new(args.serve.print_addresses);
    let ops = settings.ops_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], SIMULATOR_OPS_PORT)));
    let ops = runtime::listen::bind(ops, "ops.listen").await?;
    let listener = runtime::listen::bind(args.listen, "--listen").await?;
    let (ops_address, address) = (ops.local_addr()?, listener.local_addr()?);
    let config = simulator_config(args)?;

    let mut tasks = TaskSet::new(shutdown.clone());
    let operations = runtime::ops::serve(ops, context.readiness.clone(), shutdown.clone());
    tasks.spawn("ops", OnFailure::StopProcess, async {
        operations.await;
        Ok::<(), std::convert::Infallible>(())
    });
    tasks.spawn("simulator", OnFailure::StopProcess, simulator::run(config, listener, context));
    addresses.tell("ops", ops_address);
    addresses.tell("feed", address);
    shutdown.requested().await;
    tasks.join(DRAIN_MAX).await?;
    Ok(())
}

fn simulator_config(args: SimulatorArgs) -> anyhow::Result<simulator::Config> {
    let rest = RestConfig {
        trades_max: usize::try_from(args.rest_trades)?,
        rate: RestRate::parse_limit(&args.rest_rate)?,
    };
    let faults = faults(args.faults.as_deref(), &args.fault)?.with_seed(args.seed);
    let source = match args.replay {
        Some(path) => Source::Replay(ReplayConfig { path, speed: args.speed.parse::<Speed>()? }),
        None => {
            let products = args
                .products
                .iter()
                .map(|name| Product::new(&name.trim().to_uppercase()))
                .collect::<Result<_, _>>()?;
            let rate = args.rate.parse::<Rate>()?;
            Source::Generate(GenerateConfig { products, rate, seed: args.seed, ..GenerateConfig::default() })
        }
    };
    Ok(simulator::Config { source, truth: args.truth, rest, faults, ..simulator::Config::default() })
}

/// The faults of the file, and after them those of the flags.
fn faults(file: Option<&Path>, flags: &[String]) -> anyhow::Result<FaultScript> {
    let mut script = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("--faults {} cannot be read", path.display()))?;
            FaultScript::parse(&text).with_context(|| format!("--faults {}", path.display()))?
        }
        None => FaultScript::default(),
    };
    for flag in flags {
        script.add_flag(flag).with_context(|| format!("--fault {flag}"))?;
    }
    Ok(script)
}
