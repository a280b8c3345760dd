//! A bus, a store, a query service and a gateway, and a test that plays the part of normalizer and snapshotter.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bus::Bus;
use domain::{
    Decimal, FeedSession, Instrument, Quote, Snapshot, Tick, TickBatch, TickFlags, Trade, UnixNanos,
};
use gateway::Config;
use proto::v1::{
    market_data_service_client::MarketDataServiceClient, streaming_service_client::StreamingServiceClient,
};
use runtime::{
    Readiness, RoleContext, Shutdown,
    config::{Flag, Sources},
};
use store::{Store, TickRow, WriteBatch};
use testkit::{Postgres, Scratch};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tonic::transport::Channel;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A whole minute, and a multiple of five: 2021-04-17T16:45:00Z.
pub(crate) const START: i64 = 1_618_677_900;
/// How many seconds lie between two ticks.
pub(crate) const STEP: i64 = 7;

pub(crate) fn instrument() -> Instrument {
    Instrument::new("coinbase", "BTC-USD").unwrap()
}

pub(crate) fn second(number: u64) -> i64 {
    START + i64::try_from(number).unwrap() * STEP
}

/// The tick with this number: its sequence is three times that.
pub(crate) fn tick(number: u64) -> Tick {
    let quote = |price: u64| Some(Quote { price: Decimal::from(price), size: Some(Decimal::ONE) });
    Tick {
        instrument: instrument(),
        run: 0,
        sequence: Some(number * 3),
        event_time: UnixNanos::from_seconds(second(number)).unwrap(),
        receive_time: UnixNanos::now(),
        last_trade: Some(Trade {
            price: Decimal::from(1_000 + number * 37 % 101),
            size: Decimal::new(i64::try_from(number % 13).unwrap() + 1, 3),
            side: None,
            trade_id: Some(number),
        }),
        best_bid: quote(900),
        best_ask: quote(2_000),
        day: None,
        flags: TickFlags::default(),
    }
}

pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    query: SocketAddr,
    _database: Database,
    shutdown: Shutdown,
    _serving: JoinHandle<Result<(), query::Error>>,
}

/// What the ticks are stored in, for as long as the world lasts.
pub(crate) enum Database {
    Sqlite(Scratch),
    Postgres { url: String, _server: Arc<Postgres> },
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    running: JoinHandle<Result<(), gateway::Error>>,
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(Scratch::new())
    }

    pub(crate) async fn postgres() -> Self {
        let server = Postgres::shared().await;
        let url = server.create_database().await;
        Self::Postgres { url, _server: server }
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(scratch) => format!("sqlite://{}?mode=rwc", scratch.join("test.db").display()),
            Self::Postgres { url, .. } => url.clone(),
        }
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_on(Database::sqlite()).await
    }

    pub(crate) async fn start_on(database: Database) -> Self {
        let url = database.url();
        migrations::migrate(&url, false).await.unwrap();
        let store = Store::connect(&store::Config { url, ..store::Config::default() }).await.unwrap();
        let bus = Bus::embedded(&bus::Config::default());
        bus.ensure_streams().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let query = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let context = RoleContext::new(readiness.clone(), shutdown.clone());
        let config = query::Config::default();
        let serving = tokio::spawn(query::run(config, listener, bus.clone(), store.clone(), context));
        timeout(PATIENCE, readiness.ready()).await.expect("query becomes ready");
        Self { bus, store, query, _database: database, shutdown, _serving: serving }
    }

    /// A gateway that keeps few ticks in memory and is ready.
    pub(crate) async fn gateway(&self) -> Gateway {
        self.gateway_with(32).await
    }

    /// One that keeps so many ticks of a product in memory.
    pub(crate) async fn gateway_with(&self, ring_ticks_max: usize) -> Gateway {
        self.gateway_of(ring_ticks_max, Vec::new()).await
    }

    /// One with these settings besides.
    pub(crate) async fn gateway_of(&self, ring_ticks_max: usize, flags: Vec<Flag>) -> Gateway {
        let mut sources = Sources::load(None, [], flags).unwrap();
        let mut config = sources.read("gateway", Config::read);
        sources.finish().unwrap();
        config.query = vec![format!("http://{}", self.query).parse().unwrap()];
        config.live.ring_ticks_max = ring_ticks_max.try_into().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let context = RoleContext::new(readiness.clone(), shutdown.clone());
        let running = tokio::spawn(gateway::run(config, listener, self.bus.clone(), context));
        timeout(PATIENCE, readiness.ready()).await.expect("the gateway becomes ready");
        Gateway { address, shutdown, running }
    }

    /// What the snapshotter does with a batch: it is stored, and then the snapshot says so.
    pub(crate) async fn keep(&self, numbers: impl IntoIterator<Item = u64>) {
        self.keep_ticks(&numbers.into_iter().map(tick).collect::<Vec<_>>()).await;
    }

    pub(crate) async fn keep_ticks(&self, ticks: &[Tick]) {
        let rows: Vec<_> = ticks.iter().map(|tick| TickRow { tick, tick_seq: Some(1) }).collect();
        let snapshot = Snapshot::first(ticks.last().unwrap()).unwrap();
        let snapshots = [snapshot.clone()];
        let batch = WriteBatch { ticks: &rows, snapshots: &snapshots, written_at: UnixNanos::now() };
        self.store.write(&batch).await.unwrap();
        self.bus.publish_snapshot_of(Some("one"), &snapshot).await.unwrap();
    }

    /// What the normalizer does.
    pub(crate) async fn publish(&self, numbers: impl IntoIterator<Item = u64>) {
        self.publish_ticks(numbers.into_iter().map(tick).collect()).await;
    }

    pub(crate) async fn publish_ticks(&self, ticks: Vec<Tick>) {
        let batch = TickBatch {
            instrument: instrument(),
            ticks,
            session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
            raw_sequence: None,
            normalised_at: None,
            heartbeat: None,
        };
        let mut publisher = self.bus.tick_publisher(self.bus.shards().shard_of(&batch.instrument));
        publisher.recover().await.unwrap();
        publisher.publish(&batch).await.unwrap();
    }

    pub(crate) async fn market(&self) -> MarketDataServiceClient<Channel> {
        MarketDataServiceClient::connect(format!("http://{}", self.query)).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

impl Gateway {
    pub(crate) async fn client(&self) -> StreamingServiceClient<Channel> {
        StreamingServiceClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.request();
        timeout(PATIENCE, self.running).await.expect("the gateway drains").unwrap().unwrap();
    }
}
