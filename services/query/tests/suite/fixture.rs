//! A query service over a store of its own and a bus in memory.

use std::{sync::Arc, time::Duration};

use bus::Bus;
use domain::{
    Decimal, FeedSession, Instrument, Quote, Snapshot, Tick, TickBatch, TickFlags, Trade, UnixNanos,
};
use proto::v1::{self, market_data_service_client::MarketDataServiceClient};
use runtime::{Readiness, RoleContext, Shutdown};
use store::{Store, TickRow, WriteBatch};
use testkit::{Postgres, Scratch, eventually};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

pub(crate) const SOON: Duration = Duration::from_secs(20);
/// A whole minute, so that candles have plain edges: 2021-04-17T16:44:00Z.
const START: i64 = 1_618_677_840;

pub(crate) fn tick(number: u64) -> Tick {
    let time = UnixNanos::from_seconds(START + i64::try_from(number).unwrap() * 10).unwrap();
    Tick {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        run: 0,
        sequence: Some(1000 + number * 3),
        event_time: time,
        receive_time: time,
        last_trade: Some(Trade {
            price: Decimal::new(5_000_001 + i64::try_from(number).unwrap(), 2),
            size: Decimal::new(12_345_678, 8),
            side: Some(domain::Side::Buy),
            trade_id: Some(7 + number),
        }),
        best_bid: Some(Quote { price: Decimal::new(50_000_000, 3), size: None }),
        best_ask: Some(Quote { price: Decimal::new(90_000_000, 3), size: Some(Decimal::new(1, 8)) }),
        day: None,
        flags: TickFlags::default(),
    }
}

pub(crate) struct Fixture {
    pub(crate) client: MarketDataServiceClient<Channel>,
    pub(crate) address: String,
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<Result<(), query::Error>>,
    kept: Kept,
}

/// What the database lives in.
pub(crate) enum Kept {
    File(#[expect(dead_code, reason = "removed with it")] Scratch),
    Server(Arc<Postgres>),
}

impl Fixture {
    /// `count` ticks stored in SQLite, the last of them also live.
    pub(crate) async fn start(count: u64) -> Self {
        Self::start_with(query::Config::default(), count).await
    }

    pub(crate) async fn start_with(config: query::Config, count: u64) -> Self {
        let scratch = Scratch::new();
        let url = format!("sqlite://{}?mode=rwc", scratch.join("test.db").display());
        Self::serve(config, Kept::File(scratch), &url, count).await
    }

    /// The same in PostgreSQL; the URL is for a look from outside.
    pub(crate) async fn start_on_postgres(config: query::Config, count: u64) -> (Self, String) {
        let server = Postgres::shared().await;
        let url = server.create_database().await;
        (Self::serve(config, Kept::Server(server), &url, count).await, url)
    }

    async fn serve(config: query::Config, kept: Kept, url: &str, count: u64) -> Self {
        migrations::migrate(url, false).await.unwrap();
        let store =
            Store::connect(&store::Config { url: url.into(), ..store::Config::default() }).await.unwrap();
        let bus = Bus::embedded(&bus::Config::default());
        bus.ensure_streams().await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let context = RoleContext::new(Readiness::new(), shutdown.clone());
        let readiness = context.readiness.clone();
        let serving = tokio::spawn(query::run(config, listener, bus.clone(), store.clone(), context));
        eventually(SOON, || async { readiness.is_ready() }).await;
        let client = MarketDataServiceClient::connect(address.clone()).await.unwrap();
        let mut fixture = Self { client, address, store, bus, shutdown, serving, kept };
        let ticks: Vec<Tick> = (0..count).map(tick).collect();
        if let Some(last) = ticks.last() {
            fixture.store(&ticks).await;
            fixture.publish(last.clone()).await;
        }
        fixture
    }

    /// SQL from outside on PostgreSQL; what it selects, unadorned.
    pub(crate) async fn psql(&self, url: &str, sql: &str) -> String {
        match &self.kept {
            Kept::Server(server) => server.psql(url, sql).await,
            Kept::File(_) => panic!("this is SQLite"),
        }
    }

    pub(crate) async fn store(&self, ticks: &[Tick]) {
        let rows: Vec<_> = ticks.iter().map(|tick| TickRow { tick, tick_seq: Some(1) }).collect();
        let snapshot = Snapshot::first(ticks.last().unwrap()).unwrap();
        let batch = WriteBatch { ticks: &rows, snapshots: &[snapshot], written_at: UnixNanos::now() };
        self.store.write(&batch).await.unwrap();
    }

    async fn publish(&mut self, tick: Tick) {
        let session = FeedSession { id: "test-1".into(), started: UnixNanos::new(1) };
        let batch = TickBatch {
            instrument: tick.instrument.clone(),
            ticks: vec![tick.clone()],
            session,
            raw_sequence: Some(1),
            normalised_at: Some(UnixNanos::now()),
            heartbeat: None,
        };
        let shard = self.bus.shards().shard_of(&tick.instrument);
        let mut publisher = self.bus.tick_publisher(shard);
        publisher.recover().await.unwrap();
        publisher.publish(&batch).await.unwrap();
        let client = self.client.clone();
        eventually(SOON, || async {
            let mut client = client.clone();
            let request = v1::GetLatestPriceRequest { product: "BTC-USD".into(), ..Default::default() };
            let latest = client.get_latest_price(request).await.ok()?.into_inner().latest_price?;
            (latest.sequence == tick.sequence).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.request();
        drop(self.client);
        self.serving.await.unwrap().unwrap();
    }
}

pub(crate) fn refused<T>(result: Result<T, Status>, code: Code, reason: &str) -> Status {
    let Err(status) = result else { panic!("it was not refused") };
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("every error carries ErrorInfo");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("ledgerflux", reason));
    status
}
