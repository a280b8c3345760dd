//! Putting roles together in one process: all of them for `up`, one of them for each role command.
//!
//! The order is written here once: listeners are bound before any work, stages start from the database upwards, and they
//! drain from the feed downwards, each with a time of its own, so that what was accepted is stored before the process
//! ends.

use std::{
    convert::Infallible,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bus::{Bus, Work};
use domain::Shard;
use runtime::{
    Backoff, Latch, Readiness, RoleContext, Shutdown, TaskSet,
    http::Door,
    listen::bind,
    lock::DataDir,
    retry::{retry_until_shutdown, retry_while},
    tasks::{OnFailure, TaskFailure, TaskFailures},
    tls::Identity,
};
use store::Store;
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch};
use tracing::{debug, info, warn};

use crate::{
    addresses::Addresses,
    commands::ConnectError,
    exchange::Exchange,
    feed::Feed,
    reload::{self, Origin},
    settings::Settings,
};

/// How long each stage may take to drain, a little longer than its roles allow themselves: then what is left is told by the
/// role that knows it. Together they stay well below what a pod is given (45 s).
const INGEST_DRAIN_MAX: Duration = Duration::from_secs(8);
const ORDER_DRAIN_MAX: Duration = Duration::from_secs(6);
const WRITE_DRAIN_MAX: Duration = Duration::from_secs(7);
const SERVE_DRAIN_MAX: Duration = Duration::from_secs(6);
const OPERATIONS_DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long the broker may take to say what waits in it.
const TELL_LEFT_MAX: Duration = Duration::from_secs(1);
/// How long an attempt to reach the broker or the database waits before the next one, at most.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// How often the connection to the broker is looked at.
const BROKER_WATCH_INTERVAL: Duration = Duration::from_millis(500);

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
    ops: Door,
    gateway: Option<TcpListener>,
    query: Option<TcpListener>,
}

/// Tasks that start and drain together.
struct Stage {
    name: &'static str,
    drain_max: Duration,
    context: RoleContext,
    tasks: TaskSet,
}

impl Stage {
    /// A stage stops by its own signal, in its turn; a task of it that fails for good stops the process.
    fn new(name: &'static str, drain_max: Duration, process: &RoleContext) -> Self {
        let context = RoleContext { shutdown: Shutdown::new(), ..process.clone() };
        Self { name, drain_max, context, tasks: TaskSet::new(process.shutdown.clone()) }
    }

    async fn drain(self) -> anyhow::Result<()> {
        let started = Instant::now();
        self.context.shutdown.request();
        let drained = self.tasks.join(self.drain_max).await;
        debug!(stage = self.name, took = ?started.elapsed(), "drained");
        drained.map_err(|failures| {
            let name = self.name;
            match failures.failed.iter().all(is_about_what_is_left) {
                true => anyhow::Error::new(Unfinished(failures)).context(format!("the {name} did not drain")),
                false => anyhow::Error::new(failures).context(format!("the {name} failed")),
            }
        })
    }
}

/// The process has ended in order, but a step of the shutdown was abandoned, or left something undone.
#[derive(Debug, Error)]
#[error(transparent)]
pub(crate) struct Unfinished(TaskFailures);

/// Whether a role only says what it could not do before the end.
fn is_about_what_is_left(failure: &TaskFailure) -> bool {
    let stopped = failure.source.downcast_ref::<snapshotter::Error>();
    let given_up = failure.source.downcast_ref::<ingestor::Error>();
    matches!(stopped, Some(snapshotter::Error::Stopped { .. }))
        || matches!(given_up, Some(ingestor::Error::GivenUp))
}

/// The stages of this process; one whose roles run elsewhere is empty.
struct Stages {
    ingest: Stage,
    order: Stage,
    write: Stage,
    serve: Stage,
}

impl Stages {
    fn new(process: &RoleContext) -> Self {
        Self {
            ingest: Stage::new("ingestor", INGEST_DRAIN_MAX, process),
            order: Stage::new("normalizers", ORDER_DRAIN_MAX, process),
            write: Stage::new("snapshotters", WRITE_DRAIN_MAX, process),
            serve: Stage::new("query and gateway", SERVE_DRAIN_MAX, process),
        }
    }

    /// From the feed downwards: what was accepted goes through before the next stage ends.
    async fn drain(self) -> anyhow::Result<()> {
        let mut outcome = self.ingest.drain().await;
        for stage in [self.order, self.write, self.serve] {
            let drained = stage.drain().await;
            outcome = outcome.and(drained);
        }
        outcome
    }
}

/// Runs `roles` until SIGINT or SIGTERM, or until one of them fails for good.
pub(crate) async fn run(
    mut settings: Settings,
    origin: Origin,
    roles: Roles,
    addresses: Addresses,
) -> anyhow::Result<()> {
    let shutdown = Shutdown::from_signals().context("signals cannot be handled")?;
    let process = RoleContext::new(Readiness::new(), shutdown);
    let _data = lock_data(&settings, &roles)?;
    let listeners = bind_all(&mut settings, &roles).await?;
    let exchange = match roles.ingestor {
        true => Some(Exchange::prepare(&settings.feed).await?),
        false => None,
    };
    // Only who runs the ingestor knows what it follows: in another process its flags may say something else.
    settings.query.configured = exchange.as_ref().map(Exchange::instruments);

    // Held from the first request on: readiness is never told before every role has its own latches.
    let started = process.readiness.latch("start");
    started.set_waiting("the roles are being started");
    let mut operations = Stage::new("operations endpoints", OPERATIONS_DRAIN_MAX, &process);
    addresses.tell("ops", listeners.ops.listener.local_addr()?);
    let ops =
        runtime::ops::serve(listeners.ops, process.readiness.clone(), operations.context.shutdown.clone());
    operations.tasks.spawn("ops", OnFailure::StopProcess, async {
        ops.await;
        Ok::<(), Infallible>(())
    });

    let mut stages = Stages::new(&process);
    let composition = Composition {
        settings: &settings,
        origin: &origin,
        roles: &roles,
        process: &process,
        addresses: &addresses,
    };
    let begun =
        composition.start(&mut stages, &mut operations, listeners.gateway, listeners.query, exchange).await;
    if begun.is_ok() {
        started.set_ready();
        process.shutdown.requested().await;
    }
    started.set_waiting("shutting down");
    info!("draining");
    let drained = stages.drain().await;
    if let Ok(Some(bus)) = &begun {
        tell_left(bus, &roles).await;
    }
    let ended = operations.drain().await;
    begun.map(drop).and(drained).and(ended)
}

/// What the roles of this process would have had to do still: a broker of its own keeps it for the next start. Of the bus in
/// memory the roles themselves tell.
async fn tell_left(bus: &Bus, roles: &Roles) {
    if bus.is_embedded() {
        return;
    }
    let of_raw = roles.normalizers.iter().map(|shard| (Work::Raw, *shard));
    let of_ticks = roles.snapshotters.iter().map(|shard| (Work::Ticks, *shard));
    let count = async {
        let (mut raw, mut ticks) = (0, 0);
        for (work, shard) in of_raw.chain(of_ticks) {
            let lag = bus.lag(work, shard).await.ok()?;
            let left = lag.pending_messages + lag.unacknowledged;
            match work {
                Work::Raw => raw += left,
                Work::Ticks | Work::Gaps => ticks += left,
            }
        }
        Some((raw, ticks))
    };
    match tokio::time::timeout(TELL_LEFT_MAX, count).await {
        Ok(Some((0, 0))) => {}
        Ok(Some((raw, ticks))) => {
            info!(
                raw_messages = raw,
                tick_messages = ticks,
                "the broker keeps for the next start what is left"
            );
        }
        _ => warn!("the broker does not say what is left in it; it keeps that for the next start"),
    }
}

fn lock_data(settings: &Settings, roles: &Roles) -> anyhow::Result<Option<DataDir>> {
    if roles.need_store() && settings.store_url.is_none() {
        return Ok(Some(DataDir::lock(&settings.data.dir)?));
    }
    Ok(None)
}

async fn bind_all(settings: &mut Settings, roles: &Roles) -> anyhow::Result<Listeners> {
    let ops = settings.ops_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], roles.ops_port)));
    let identity = settings.ops_tls.as_ref().map(Identity::open).transpose()?;
    let ops = Door { listener: bind(ops, "ops.listen").await?, identity };
    let query = match roles.query {
        true => Some(bind(settings.query.listen, "query.listen").await?),
        false => None,
    };
    let gateway = match roles.gateway {
        true => Some(bind(settings.gateway.listen, "gateway.listen").await?),
        false => None,
    };
    if let (Some(query), true) = (&query, roles.gateway) {
        settings.gateway.query = vec![format!("http://{}", query.local_addr()?).parse()?];
    }
    settings.gateway.feed_label = settings.feed.source.label();
    Ok(Listeners { ops, gateway, query })
}

/// What is put together, and from what.
struct Composition<'a> {
    settings: &'a Settings,
    origin: &'a Origin,
    roles: &'a Roles,
    process: &'a RoleContext,
    addresses: &'a Addresses,
}

impl Composition<'_> {
    /// Starts the roles, from the database upwards, and returns the bus that they are on. Returns early when shutdown is requested while something is still
    /// away.
    async fn start(
        &self,
        stages: &mut Stages,
        operations: &mut Stage,
        gateway: Option<TcpListener>,
        query: Option<TcpListener>,
        exchange: Option<Exchange>,
    ) -> anyhow::Result<Option<Bus>> {
        let Some(bus) = self.connect_bus(operations).await? else { return Ok(None) };
        let store = match self.roles.need_store() {
            true => match self.connect_store().await? {
                Some(store) => Some(store),
                None => return Ok(None),
            },
            false => None,
        };
        if let Some(store) = &store {
            self.start_snapshotters(&mut stages.write, &bus, store);
        }
        if self.roles.all && !self.snapshotters_spoke(&bus).await {
            return Ok(Some(bus));
        }
        self.start_serving(&mut stages.serve, &bus, store.as_ref(), gateway, query)?;
        for shard in &self.roles.normalizers {
            let context = stages.order.context.clone();
            let role = normalizer::run(self.settings.normalizer.clone(), *shard, bus.clone(), context);
            stages.order.tasks.spawn(&format!("normalizer-{shard}"), OnFailure::StopProcess, role);
        }
        if let Some(exchange) = exchange {
            self.addresses.note(&exchange.note);
            // The products are those of the recording then, whatever the configuration says.
            let feed = &self.settings.feed;
            let is_whole_recording = matches!(feed.source, Feed::Replay(_)) && !feed.products_named;
            let ingest = &mut stages.ingest;
            let config =
                exchange.start(&self.settings.feed, self.roles.all, &mut ingest.tasks, &ingest.context);
            let (list, products) = watch::channel(config.products.clone());
            let role = ingestor::run_following(config, products, bus.clone(), ingest.context.clone());
            ingest.tasks.spawn("ingestor", OnFailure::StopProcess, role);
            if !is_whole_recording {
                let reload = reload::follow(self.origin.clone(), list, ingest.context.shutdown.clone());
                ingest.tasks.spawn("products", OnFailure::Log, async {
                    reload.await;
                    Ok::<(), Infallible>(())
                });
            }
        }
        Ok(Some(bus))
    }

    fn start_snapshotters(&self, stage: &mut Stage, bus: &Bus, store: &Store) {
        for shard in &self.roles.snapshotters {
            let config = self.settings.snapshotter.clone();
            let role = snapshotter::run(config, *shard, bus.clone(), store.clone(), stage.context.clone());
            stage.tasks.spawn(&format!("snapshotter-{shard}"), OnFailure::StopProcess, role);
        }
        if !self.roles.snapshotters.is_empty() {
            let config = self.settings.snapshotter.clone();
            let retention = snapshotter::retention(config, bus.clone(), store.clone(), stage.context.clone());
            stage.tasks.spawn("retention", OnFailure::Log, async {
                retention.await;
                Ok::<(), Infallible>(())
            });
        }
    }

    /// The bus in memory starts empty: whoever serves waits until what is stored has been published on it. Returns `false`
    /// when shutdown is requested.
    async fn snapshotters_spoke(&self, bus: &Bus) -> bool {
        loop {
            let statuses = bus.statuses().await.unwrap_or_default();
            let spoke = |shard: &Shard| {
                statuses
                    .iter()
                    .any(|status| status.role == "snapshotter" && status.worker_shard() == Some(shard.get()))
            };
            if self.roles.snapshotters.iter().all(spoke) {
                return true;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
                () = self.process.shutdown.requested() => return false,
            }
        }
    }

    fn start_serving(
        &self,
        stage: &mut Stage,
        bus: &Bus,
        store: Option<&Store>,
        gateway: Option<TcpListener>,
        query: Option<TcpListener>,
    ) -> anyhow::Result<()> {
        if let (Some(store), Some(listener)) = (store, query) {
            self.addresses.tell("grpc", listener.local_addr()?);
            let config = self.settings.query.clone();
            let role = query::run(config, listener, bus.clone(), store.clone(), stage.context.clone());
            stage.tasks.spawn("query", OnFailure::StopProcess, role);
        }
        if let Some(listener) = gateway {
            self.addresses.tell("gateway", listener.local_addr()?);
            let config = self.settings.gateway.clone();
            let role = gateway::run(config, listener, bus.clone(), stage.context.clone());
            stage.tasks.spawn("gateway", OnFailure::StopProcess, role);
        }
        Ok(())
    }

    async fn connect_bus(&self, operations: &mut Stage) -> anyhow::Result<Option<Bus>> {
        let (settings, roles, process) = (self.settings, self.roles, self.process);
        let latch = process.readiness.latch("broker");
        let backoff = || Backoff::new(Duration::from_millis(200), RETRY_DELAY_MAX);
        let bus = match &settings.bus.nats {
            None if roles.all => Some(Bus::embedded(&settings.bus)),
            None => {
                anyhow::bail!(
                    "this role needs a broker: --nats URL or bus.nats (only `up` has one of its own)"
                )
            }
            Some(_) => {
                let connect = || Box::pin(Bus::connect(&settings.bus));
                retry_until_shutdown("connect to the broker", backoff(), &latch, &process.shutdown, connect)
                    .await
            }
        };
        let Some(bus) = bus else { return Ok(None) };
        // Who writes to the streams owns their limits; who only reads leaves them as they are.
        let writes = roles.ingestor || !roles.normalizers.is_empty() || !roles.snapshotters.is_empty();
        let ensure = || {
            Box::pin(async { if writes { bus.ensure_streams().await } else { bus.check_streams().await } })
        };
        let retryable = |error: &bus::ManageError| error.is_retryable();
        let ensured =
            retry_while("set up the streams", backoff(), &latch, &process.shutdown, retryable, ensure)
                .await?;
        if ensured.is_none() {
            return Ok(None);
        }
        latch.set_ready();
        let watch = watch_broker(bus.clone(), latch, operations.context.shutdown.clone());
        operations.tasks.spawn("broker-watch", OnFailure::Log, async {
            watch.await;
            Ok::<(), Infallible>(())
        });
        Ok(Some(bus))
    }

    async fn connect_store(&self) -> anyhow::Result<Option<Store>> {
        let (settings, roles, process) = (self.settings, self.roles, self.process);
        let latch = process.readiness.latch("database");
        let backoff = || Backoff::new(Duration::from_millis(200), RETRY_DELAY_MAX);
        let url = settings.database();
        let config = store::Config { url: url.clone(), ..settings.store.clone() };
        let wait = || {
            Box::pin(async {
                if roles.all {
                    migrations::migrate(&url, false).await.map_err(ConnectError::Migrate)?;
                }
                Store::connect(&config).await.map_err(ConnectError::Connect)
            })
        };
        let retryable = ConnectError::is_retryable;
        let store =
            retry_while("connect to the database", backoff(), &latch, &process.shutdown, retryable, wait)
                .await?;
        latch.set_ready();
        Ok(store)
    }
}

/// Keeps the readiness of the process honest about the broker, and the log too.
async fn watch_broker(bus: Bus, latch: Latch, shutdown: Shutdown) {
    let mut connected = true;
    while shutdown.run_until(tokio::time::sleep(BROKER_WATCH_INTERVAL)).await.is_some() {
        if bus.is_connected() == connected {
            continue;
        }
        connected = !connected;
        if connected {
            latch.set_ready();
            info!("the broker is back");
        } else {
            latch.set_waiting("the connection to the broker is lost; it is being connected again");
            warn!("the connection to the broker is lost; it is being connected again");
        }
    }
}
