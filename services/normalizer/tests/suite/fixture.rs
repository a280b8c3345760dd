//! A bus, what is sent on it, and what comes out.

use std::time::Duration;

use bus::{Bus, FollowFrom, RawPublisher, StreamKind};
use domain::{
    Decimal, EventKind, FeedSession, Gap, Instrument, RoleStatus, Shard, Tick, TickFlags, Trade, UnixNanos,
};
use runtime::{Readiness, RoleContext, Shutdown};
use testkit::NatsServer;
use tokio::task::JoinHandle;

pub(crate) const SOON: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Substrate {
    Embedded,
    JetStream,
}

/// A broker with all streams on which the snapshotter has spoken.
pub(crate) struct Fixture {
    pub(crate) bus: Bus,
    config: bus::Config,
    _server: Option<NatsServer>,
}

impl Substrate {
    pub(crate) async fn start(self) -> Fixture {
        let (bus, config, server) = match self {
            Self::Embedded => {
                let config = bus::Config::default();
                (Bus::embedded(&config), config, None)
            }
            Self::JetStream => {
                let server = NatsServer::start().await;
                let nats = Some(bus::ServerUrl::new(&server.url()).unwrap());
                let config = bus::Config { nats, ..bus::Config::default() };
                (Bus::connect(&config).await.unwrap(), config, Some(server))
            }
        };
        bus.ensure_streams().await.unwrap();
        announce_snapshotter(&bus).await;
        Fixture { bus, config, _server: server }
    }
}

impl Fixture {
    /// Another participant, as another process would be.
    pub(crate) async fn participant(&self) -> Bus {
        match self.bus.is_embedded() {
            true => self.bus.join(&self.config),
            false => Bus::connect(&self.config).await.unwrap(),
        }
    }
}

pub(crate) fn instrument() -> Instrument {
    Instrument::new("coinbase", "BTC-USD").unwrap()
}

/// A tick whose trade has its sequence as its number.
pub(crate) fn tick(sequence: u64) -> Tick {
    let time = UnixNanos::from_seconds(1_600_000_000).unwrap();
    let trade = Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id: Some(sequence) };
    Tick {
        instrument: instrument(),
        run: 0,
        sequence: Some(sequence),
        event_time: time,
        receive_time: time,
        last_trade: Some(trade),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

pub(crate) fn shard(bus: &Bus) -> Shard {
    bus.shards().shard_of(&instrument())
}

pub(crate) async fn announce_snapshotter(bus: &Bus) {
    let status = RoleStatus {
        role: "snapshotter".into(),
        instance: RoleStatus::worker_instance("test", shard(bus)),
        time: UnixNanos::now(),
        ready: true,
        feed_state: None,
        heartbeat_age: None,
        product_states: Vec::new(),
        progress: Vec::new(),
        backlog_messages: None,
        ticks: 0,
        rejected: 0,
        duplicates: 0,
    };
    bus.publish_status(&status).await.unwrap();
}

pub(crate) struct Running {
    pub(crate) task: JoinHandle<Result<(), normalizer::Error>>,
    pub(crate) readiness: Readiness,
    shutdown: Shutdown,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) fn config() -> normalizer::Config {
    normalizer::Config { fenced_wait: Duration::from_secs(1), ..normalizer::Config::default() }
}

pub(crate) fn start(bus: &Bus) -> Running {
    start_with(bus, config())
}

pub(crate) fn start_with(bus: &Bus, config: normalizer::Config) -> Running {
    let shutdown = Shutdown::new();
    let readiness = Readiness::new();
    let context = RoleContext::new(readiness.clone(), shutdown.clone());
    let task = tokio::spawn(normalizer::run(config, shard(bus), bus.clone(), context));
    Running { task, readiness, shutdown }
}

pub(crate) fn publisher(bus: &Bus, session: &str) -> RawPublisher {
    bus.raw_publisher(FeedSession { id: session.into(), started: UnixNanos::now() })
}

pub(crate) async fn send(bus: &Bus, session: &str, sequences: impl IntoIterator<Item = u64>) {
    let publisher = publisher(bus, session);
    for sequence in sequences {
        publisher.send(tick(sequence)).await.unwrap();
    }
    publisher.close().await;
}

/// The positions on `LF_TICKS`, in stream order, until `last` has come.
pub(crate) async fn published(bus: &Bus, last: u64) -> Vec<u64> {
    let mut follower = bus.follow_ticks(FollowFrom::AfterSequence(0));
    let mut sequences = Vec::new();
    while sequences.last() != Some(&last) {
        let followed = tokio::time::timeout(SOON, follower.next()).await.expect("ticks come").unwrap();
        sequences.extend(followed.content.ticks.iter().filter_map(|tick| tick.sequence));
    }
    sequences
}

/// The gaps on `LF_EVENTS`, in stream order.
pub(crate) async fn gaps(bus: &Bus) -> Vec<Gap> {
    let count = bus.stream_state(StreamKind::Events).await.unwrap().messages;
    let mut follower = bus.follow_events(FollowFrom::AfterSequence(0));
    let mut gaps = Vec::new();
    for _ in 0..count {
        let followed = tokio::time::timeout(SOON, follower.next()).await.expect("events come").unwrap();
        match followed.content.kind {
            EventKind::Gap(gap) => gaps.push(gap),
            other => panic!("{other:?}"),
        }
    }
    gaps
}

/// Each missing trade as often as it lies in a gap, ascending.
pub(crate) fn missing(gaps: &[Gap]) -> Vec<u64> {
    let mut missing: Vec<u64> = gaps.iter().flat_map(|gap| gap.first_trade_id..=gap.last_trade_id).collect();
    missing.sort_unstable();
    missing
}

pub(crate) async fn rejects(bus: &Bus) -> u64 {
    bus.stream_state(StreamKind::Rejects).await.unwrap().messages
}
