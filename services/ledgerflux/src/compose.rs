//! Putting roles together in one process: all of them for `up`, one of them for each role command.
//!
//! The order is written here once: listeners are bound before any work, stages start from the database upwards, and they
//! drain from the feed downwards, each with a time of its own, so that what was accepted is stored before the process
//! ends.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bus::Bus;
use domain::Shard;
use runtime::{
    Backoff, Readiness, RoleContext, Shutdown, TaskSet,
    listen::bind,
    lock::DataDir,
    retry::{retry_until_shutdown, retry_while},
    tasks::OnFailure,
};
use store::Store;
use tokio::net::TcpListener;
use tracing::info;

use crate::{addresses::Addresses, commands::ConnectError, exchange::Exchange, settings::Settings};

/// How long one stage may take to drain.
const STAGE_DRAIN_MAX: Duration = Duration::from_secs(6);
/// How long an attempt to reach the broker or the database waits before the next one, at most.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// Which roles run in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roles {
    /// Whether everything runs here; only then may the bus be in this process.
    pub(crate) all: bool,
    pub(crate) ingestor: bool,
    pub(crate) normalizers: Vec<Shard>,
    pub(crate) snapshotters: Vec<Shard>,
    pub(crate) query: bool,
    pub(crate) gateway: bool,
    /// Where operations endpoints are served unless configured.
    pub(crate) ops_port: u16,
}

impl Roles {
    fn need_store(&self) -> bool {
        self.query || !self.snapshotters.is_empty()
    }
}

/// The listeners of this process, bound before any work.
struct Listeners {
    ops: TcpListener,
    gateway: Option<TcpListener>,
    query: Option<TcpListener>,
}

/// Tasks that start and drain together.
struct Stage {
    name: &'static str,
    context: RoleContext,
    tasks: TaskSet,
}

impl Stage {
    /// A stage stops by its own signal, in its turn; a task of it that fails for good stops the process.
    fn new(name: &'static str, process: &RoleContext) -> Self {
        let context = RoleContext { shutdown: Shutdown::new(), ..process.clone() };
        Self { name, context, tasks: TaskSet::new(process.shutdown.clone()) }
    }

    async fn drain(self) -> anyhow::Result<()> {
        self.context.shutdown.request();
        self.tasks.join(STAGE_DRAIN_MAX).await.with_context(|| format!("the {} did not drain", self.name))
    }
}

/// Runs `roles` until SIGINT or SIGTERM, or until one of them fails for good.
pub(crate) async fn run(mut settings: Settings, roles: Roles, addresses: Addresses) -> anyhow::Result<()> {
    let shutdown = Shutdown::from_signals().context("signals cannot be handled")?;
    let process = RoleContext::new(Readiness::new(), shutdown);
    let _data = lock_data(&settings, &roles)?;
    let listeners = bind_all(&mut settings, &roles).await?;

    let mut operations = Stage::new("operations endpoints", &process);
    addresses.tell("ops", listeners.ops.local_addr()?);
    let ops =
        runtime::ops::serve(listeners.ops, process.readiness.clone(), operations.context.shutdown.clone());
    operations.tasks.spawn("ops", OnFailure::StopProcess, async {
        ops.await;
        Ok::<(), std::convert::Infallible>(())
    });

    let stages = start(&settings, &roles, &process, listeners.gateway, listeners.query, &addresses).await;
    let outcome = match stages {
        Ok(stages) => {
            process.shutdown.requested().await;
            info!("draining");
            drain(stages).await
        }
        Err(error) => Err(error),
    };
    let operations = operations.drain().await;
    outcome.and(operations)
}

async fn drain(stages: Vec<Stage>) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    for stage in stages.into_iter().rev() {
        let drained = stage.drain().await;
        outcome = outcome.and(drained);
    }
    outcome
}

fn lock_data(settings: &Settings, roles: &Roles) -> anyhow::Result<Option<DataDir>> {
    if roles.need_store() && settings.store_url.is_none() {
        return Ok(Some(DataDir::lock(&settings.data.dir)?));
    }
    Ok(None)
}

async fn bind_all(settings: &mut Settings, roles: &Roles) -> anyhow::Result<Listeners> {
    let ops = settings.ops_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], roles.ops_port)));
    let ops = bind(ops, "ops.listen").await?;
    let query = match roles.query {
        true => Some(bind(settings.query.listen, "query.listen").await?),
        false => None,
    };
    let gateway = match roles.gateway {
        true => Some(bind(settings.gateway.listen, "gateway.listen").await?),
        false => None,
    };
    if let (Some(query), true) = (&query, roles.gateway) {
        settings.gateway.query = format!("http://{}", query.local_addr()?).parse()?;
    }
    settings.gateway.feed_label = settings.feed.source.label();
    Ok(Listeners { ops, gateway, query })
}

/// Starts the stages, in order; what was started is returned for the drain. Returns early, with what there is, when
/// shutdown is requested while something is still away.
async fn start(
    settings: &Settings,
    roles: &Roles,
    process: &RoleContext,
    gateway_listener: Option<TcpListener>,
    query_listener: Option<TcpListener>,
    addresses: &Addresses,
) -> anyhow::Result<Vec<Stage>> {
    let Some(bus) = connect_bus(settings, roles, process).await? else {
        return Ok(Vec::new());
    };
    let store = match roles.need_store() {
        true => match connect_store(settings, roles, process).await? {
            Some(store) => Some(store),
            None => return Ok(Vec::new()),
        },
        false => None,
    };

    let mut serve = Stage::new("query and gateway", process);
    if let (Some(store), Some(listener)) = (&store, query_listener) {
        addresses.tell("grpc", listener.local_addr()?);
        let role =
            query::run(settings.query.clone(), listener, bus.clone(), store.clone(), serve.context.clone());
        serve.tasks.spawn("query", OnFailure::StopProcess, role);
    }
    if let Some(listener) = gateway_listener {
        addresses.tell("gateway", listener.local_addr()?);
        let role = gateway::run(settings.gateway.clone(), listener, bus.clone(), serve.context.clone());
        serve.tasks.spawn("gateway", OnFailure::StopProcess, role);
    }

    let mut write = Stage::new("snapshotters", process);
    if let Some(store) = &store {
        for shard in &roles.snapshotters {
            let config = settings.snapshotter.clone();
            let role = snapshotter::run(config, *shard, bus.clone(), store.clone(), write.context.clone());
            write.tasks.spawn(&format!("snapshotter-{shard}"), OnFailure::StopProcess, role);
        }
        if !roles.snapshotters.is_empty() {
            let retention =
                snapshotter::retention(settings.snapshotter.clone(), store.clone(), write.context.clone());
            write.tasks.spawn("retention", OnFailure::Log, async {
                retention.await;
                Ok::<(), std::convert::Infallible>(())
            });
        }
    }

    let mut order = Stage::new("normalizers", process);
    for shard in &roles.normalizers {
        let role = normalizer::run(settings.normalizer.clone(), *shard, bus.clone(), order.context.clone());
        order.tasks.spawn(&format!("normalizer-{shard}"), OnFailure::StopProcess, role);
    }

    let mut ingest = Stage::new("ingestor", process);
    if roles.ingestor {
        let exchange = Exchange::prepare(&settings.feed).await?;
        addresses.note(&exchange.note);
        let config = exchange.start(&settings.feed, roles.all, &mut ingest.tasks, &ingest.context);
        let role = ingestor::run(config, bus.clone(), ingest.context.clone());
        ingest.tasks.spawn("ingestor", OnFailure::StopProcess, role);
    }
    Ok(vec![serve, write, order, ingest])
}

async fn connect_bus(
    settings: &Settings,
    roles: &Roles,
    process: &RoleContext,
) -> anyhow::Result<Option<Bus>> {
    let latch = process.readiness.latch("broker");
    let backoff = || Backoff::new(Duration::from_millis(200), RETRY_DELAY_MAX);
    let bus = match &settings.bus.nats {
        None if roles.all => Some(Bus::embedded(&settings.bus)),
        None => {
            anyhow::bail!("this role needs a broker: --nats URL or bus.nats (only `up` has one of its own)")
        }
        Some(_) => {
            let connect = || Box::pin(Bus::connect(&settings.bus));
            retry_until_shutdown("connect to the broker", backoff(), &latch, &process.shutdown, connect).await
        }
    };
    let Some(bus) = bus else { return Ok(None) };
    let ensure = || Box::pin(bus.ensure_streams());
    let retryable = |error: &bus::ManageError| error.is_retryable();
    let ensured =
        retry_while("set up the streams", backoff(), &latch, &process.shutdown, retryable, ensure).await?;
    latch.set_ready();
    Ok(ensured.map(|()| bus))
}

async fn connect_store(
    settings: &Settings,
    roles: &Roles,
    process: &RoleContext,
) -> anyhow::Result<Option<Store>> {
    let latch = process.readiness.latch("database");
    let backoff = || Backoff::new(Duration::from_millis(200), RETRY_DELAY_MAX);
    let url = settings.database();
    let config = store::Config { url: url.clone(), ..settings.store.clone() };
    let wait = || {
        Box::pin(async {
            if roles.all {
                migrations::migrate(&url).await.map_err(ConnectError::Migrate)?;
            }
            Store::connect(&config).await.map_err(ConnectError::Connect)
        })
    };
    let retryable = ConnectError::is_retryable;
    let store =
        retry_while("connect to the database", backoff(), &latch, &process.shutdown, retryable, wait).await?;
    latch.set_ready();
    Ok(store)
}
