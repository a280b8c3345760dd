//! `ledgerflux`: one binary with every role of the system.
//!
//! It reads the command line and the configuration, starts telemetry, composes the roles that the command names, and
//! drains them in order. Everything that a role does is in the role's own crate.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod addresses;
mod args;
mod commands;
mod compose;
mod exchange;
mod explain;
mod feed;
mod keys;
mod record;
mod rejects;
mod reload;
mod settings;
mod watch;

use std::{process::ExitCode, time::Duration};

use addresses::Addresses;
use args::{Cli, Command, ConfigCommand};
use clap::Parser as _;
use compose::{Roles, Unfinished};
use runtime::{ErrorChain, config::ConfigProblems};
use settings::{Defaults, Settings};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long the last spans may take to leave.
const TELEMETRY_FLUSH_MAX: Duration = Duration::from_secs(2);
/// How long what the runtime's own threads still do may take.
const RUNTIME_END_MAX: Duration = Duration::from_secs(1);
/// The exit code of a process that ended in order but left something undone; the log says what.
const EXIT_UNFINISHED: u8 = 3;
/// The exit code for a configuration or a command line that cannot be used.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    runtime::tls::install_provider();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::from(error)),
    };
    let outcome = runtime.block_on(run(cli.command));
    // Dropping it would wait for them without a limit.
    runtime.shutdown_timeout(RUNTIME_END_MAX);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Says why on one line, or all problems of a configuration on one line each.
#[allow(
    clippy::print_stderr,
    reason = "the log may not have been started, and this is for the person who typed it"
)]
fn failed(error: &anyhow::Error) -> ExitCode {
    if let Some(problems) = error.downcast_ref::<ConfigProblems>() {
        eprintln!("{problems}");
        return ExitCode::from(EXIT_USAGE);
    }
    eprintln!("ledgerflux: {}", ErrorChain(error.as_ref()));
    match error.downcast_ref::<Unfinished>() {
        Some(_) => ExitCode::from(EXIT_UNFINISHED),
        None => ExitCode::FAILURE,
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    let defaults = match &command {
        Command::Up(_) => Defaults { feed: "live", keep_a_day: true },
        Command::Demo(_) => Defaults { feed: "simulated", keep_a_day: true },
        _ => Defaults::default(),
    };
    let file = command.common().config.clone();
    let origin = reload::Origin { file, overrides: command.overrides(), defaults };
    let (settings, sources) = settings::load(origin.file.clone(), origin.overrides.clone(), defaults)?;
    if let Command::Config(args) = &command {
        match args.command {
            ConfigCommand::Check(_) => println!("the configuration is valid"),
            ConfigCommand::Print(_) => print!("{}", sources.print()),
        }
        return Ok(());
    }

    let instance = runtime::host::instance();
    let telemetry = runtime::telemetry::init(&settings.telemetry, command.name(), &instance)?;
    describe_metrics();
    let outcome = Box::pin(dispatch(command, settings, origin)).await;
    telemetry.shutdown(TELEMETRY_FLUSH_MAX).await;
    outcome
}

async fn dispatch(command: Command, settings: Settings, origin: reload::Origin) -> anyhow::Result<()> {
    let shards = settings.bus.shards;
    let (roles, addresses) = match command {
        Command::Up(args) | Command::Demo(args) => {
            let roles = Roles {
                all: true,
                ingestor: true,
                normalizers: shards.shards().collect(),
                snapshotters: shards.shards().collect(),
                query: true,
                gateway: true,
                ops_port: 9100,
            };
            (roles, Addresses::new(args.serve.print_addresses))
        }
        Command::Ingestor(args) => {
            let roles = Roles { ingestor: true, ops_port: 9101, ..Roles::default() };
            (roles, Addresses::new(args.serve.print_addresses))
        }
        Command::Query(args) => {
            let roles = Roles { query: true, ops_port: 9102, ..Roles::default() };
            (roles, Addresses::new(args.serve.print_addresses))
        }
        Command::Gateway(args) => {
            let roles = Roles { gateway: true, ops_port: 9103, ..Roles::default() };
            (roles, Addresses::new(args.serve.print_addresses))
        }
        Command::Normalizer(args) => {
            let shard = settings.normalizer_shard.resolve(shards)?;
            let roles = Roles {
                normalizers: vec![shard],
                ops_port: 9110_u16.saturating_add(shard.get()),
                ..Roles::default()
            };
            (roles, Addresses::new(args.serve.print_addresses))
        }
        Command::Snapshotter(args) => {
            let shard = settings.snapshotter_shard.resolve(shards)?;
            let roles = Roles {
                snapshotters: vec![shard],
                ops_port: 9120_u16.saturating_add(shard.get()),
                ..Roles::default()
            };
            (roles, Addresses::new(args.serve.print_addresses))
        }
        Command::Simulator(args) => return commands::simulate(&settings, args).await,
        Command::Migrate(args) => return commands::migrate(&settings, args.roles).await,
        Command::Retention(_) => return commands::retention(&settings).await,
        Command::Record(args) => return record::run(&settings, args).await,
        Command::Explain(args) => return explain::run(&settings, args).await,
        Command::Rejects(args) => return rejects::run(&settings, args.command).await,
        Command::Reshard(_) => return commands::reshard(&settings).await,
        Command::Keys(args) => return keys::run(&settings, args),
        Command::Watch(args) => return watch::run(args).await,
        Command::Config(_) => return Ok(()),
    };
    compose::run(settings, origin, roles, addresses).await
}

fn describe_metrics() {
    bus::metrics::describe();
    store::metrics::describe();
    live::metrics::describe();
    ingestor::metrics::describe();
    normalizer::metrics::describe();
    snapshotter::metrics::describe();
    query::metrics::describe();
    gateway::metrics::describe();
    simulator::metrics::describe();
}
