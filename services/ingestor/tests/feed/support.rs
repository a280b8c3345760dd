//! An exchange, an ingestor and a bus in one process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::{Bus, FollowFrom, Work};
use domain::{EventKind, FeedEvent, FeedState, Product, RejectedTick, TickBatch};
use ingestor::{Config, RestUrl};
use runtime::{Readiness, RoleContext, Shutdown};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for a machine under load; nothing waits for it in a test that passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Exchange {
    pub(crate) address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), simulator::Error>>,
}

impl Exchange {
    pub(crate) async fn start(config: simulator::Config) -> Self {
        Self::start_at(config, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn start_at(config: simulator::Config, address: SocketAddr) -> Self {
        let bind = || TcpListener::bind(address);
        let listener = eventually(PATIENCE, bind).await;
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let ctx = RoleContext::new(Readiness::new(), shutdown.clone());
        Self { address, shutdown, task: tokio::spawn(simulator::run(config, listener, ctx)) }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub(crate) async fn stop(self) {
        self.shutdown.request();
        timeout(PATIENCE, self.task).await.expect("it drains").unwrap().unwrap();
    }
}

pub(crate) struct Ingestor {
    pub(crate) ctx: RoleContext,
    pub(crate) bus: Bus,
    task: JoinHandle<Result<(), ingestor::Error>>,
}

impl Ingestor {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_on(config, Bus::embedded(&bus::Config::default())).await
    }

    pub(crate) async fn start_on(config: Config, bus: Bus) -> Self {
        let (_, products) = watch::channel(config.products.clone());
        Self::start_following(config, products, bus).await
    }

    pub(crate) async fn start_following(
        config: Config,
        products: watch::Receiver<Vec<Product>>,
        bus: Bus,
    ) -> Self {
        bus.ensure_streams().await.unwrap();
        let ctx = RoleContext::new(Readiness::new(), Shutdown::new());
        let task = tokio::spawn(ingestor::run_following(config, products, bus.clone(), ctx.clone()));
        Self { ctx, bus, task }
    }

    pub(crate) async fn ready(&self) {
        timeout(PATIENCE, self.ctx.readiness.ready()).await.expect("the feed is live");
    }

    /// Waits until it is not ready for a reason that contains `text`.
    pub(crate) async fn waits_because(&self, text: &str) {
        eventually(PATIENCE, || async {
            let report = self.ctx.readiness.report();
            let told = report.waiting.iter().any(|latch| latch.name == "feed" && latch.reason.contains(text));
            told.then_some(()).ok_or(report)
        })
        .await;
    }

    /// Waits until a note says `text`.
    pub(crate) async fn notes(&self, text: &str) {
        eventually(PATIENCE, || async {
            let report = self.ctx.readiness.report();
            let told = report.notes.iter().any(|note| note.reason.contains(text));
            told.then_some(()).ok_or(report)
        })
        .await;
    }

    /// The products that its status tells to be in another state than the feed.
    pub(crate) async fn exceptions(&self) -> Vec<(String, FeedState)> {
        let statuses = self.bus.statuses().await.unwrap();
        let states = statuses.into_iter().flat_map(|status| status.product_states);
        states.map(|(instrument, state)| (instrument.product.to_string(), state)).collect()
    }

    /// What has been told of a product so far, once there is `count` of it.
    pub(crate) async fn events_of(&self, product: &str, count: usize) -> Vec<EventKind> {
        let mut follower = self.bus.follow_events(FollowFrom::AfterSequence(0));
        let mut kinds = Vec::new();
        while kinds.len() < count {
            let event = timeout(PATIENCE, follower.next()).await.expect("an event").unwrap().content;
            if event.instrument.product.as_str() == product {
                kinds.push(event.kind);
            }
        }
        kinds
    }

    /// Requests the shutdown and waits until it has drained.
    pub(crate) async fn stop(&mut self) {
        self.end().await.unwrap();
    }

    /// The same, for a bus that does not take everything.
    pub(crate) async fn end(&mut self) -> Result<(), ingestor::Error> {
        self.ctx.shutdown.request();
        timeout(PATIENCE, &mut self.task).await.expect("it drains").unwrap()
    }

    /// Everything in `LF_RAW`, oldest first per shard.
    pub(crate) async fn take_batches(&self) -> Vec<TickBatch> {
        let mut batches = Vec::new();
        for shard in self.bus.shards().shards() {
            let mut reader = self.bus.work(Work::Raw, shard);
            loop {
                let deliveries = reader.fetch(1_000, Duration::from_millis(20)).await.unwrap();
                if deliveries.is_empty() {
                    break;
                }
                batches.extend(deliveries.iter().map(|delivery| delivery.content.clone().unwrap()));
                reader.ack(&deliveries).await.unwrap();
            }
        }
        batches
    }

    /// The frames that were refused so far, once there are `count`.
    pub(crate) async fn rejects(&self, count: usize) -> Vec<RejectedTick> {
        let mut follower = self.bus.follow_rejects(FollowFrom::AfterSequence(0));
        let mut rejects = Vec::new();
        while rejects.len() < count {
            let next = timeout(PATIENCE, follower.next()).await.expect("a reject");
            rejects.push(next.unwrap().content);
        }
        rejects
    }

    /// The events so far, once there are `count`.
    pub(crate) async fn events(&self, count: usize) -> Vec<FeedEvent> {
        let mut follower = self.bus.follow_events(FollowFrom::AfterSequence(0));
        let mut events = Vec::new();
        while events.len() < count {
            events.push(timeout(PATIENCE, follower.next()).await.expect("an event").unwrap().content);
        }
        events
    }

    /// How many ticks its status says it has handed over.
    pub(crate) async fn ticks(&self) -> u64 {
        let statuses = self.bus.statuses().await.unwrap();
        statuses.first().map_or(0, |status| status.ticks)
    }
}

pub(crate) fn products(names: &[&str]) -> Vec<Product> {
    names.iter().map(|name| Product::new(name).unwrap()).collect()
}

/// Impatient, so that nothing takes long; what the REST API brings has tests of its own.
pub(crate) fn config(url: &str, names: &[&str]) -> Config {
    Config {
        url: url.to_owned(),
        products: products(names),
        reconnect_delay_min: Duration::from_millis(10),
        reconnect_delay_max: Duration::from_millis(100),
        rest_url: RestUrl::Off,
        ..Config::default()
    }
}

pub(crate) fn replay(path: &Path) -> simulator::Config {
    let replay = simulator::ReplayConfig { path: path.to_owned(), speed: simulator::Speed::Max };
    simulator::Config { source: simulator::Source::Replay(replay), ..simulator::Config::default() }
}

pub(crate) fn market(names: &[&str], rate: simulator::Rate) -> simulator::Config {
    let generate =
        simulator::GenerateConfig { products: products(names), rate, ..simulator::GenerateConfig::default() };
    simulator::Config { source: simulator::Source::Generate(generate), ..simulator::Config::default() }
}

/// The same market with faults, one per line of a script's flags.
pub(crate) fn faulty(names: &[&str], rate: simulator::Rate, faults: &[&str]) -> simulator::Config {
    let mut script = simulator::FaultScript::default();
    for fault in faults {
        script.add_flag(fault).unwrap();
    }
    simulator::Config { faults: script, ..market(names, rate) }
}

pub(crate) fn recording(name: &str) -> PathBuf {
    testkit::workspace_root().join("tests/data").join(name)
}

pub(crate) fn written(folder: &testkit::Scratch, lines: &[&str]) -> PathBuf {
    let path = folder.join("recording.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}
