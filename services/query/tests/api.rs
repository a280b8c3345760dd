//! The API over a real store and a live stream: what is stored comes out to the digit, pages hang together while ticks
//! arrive, and every error says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bus::Bus;
use domain::{
    Decimal, FeedSession, Instrument, Quote, Snapshot, Tick, TickBatch, TickFlags, Trade, UnixNanos,
};
use futures::StreamExt as _;
use proto::v1::{self, market_data_service_client::MarketDataServiceClient};
use runtime::{Readiness, RoleContext, Shutdown};
use store::{Store, TickRow, WriteBatch};
use testkit::{Scratch, eventually};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

const SOON: Duration = Duration::from_secs(20);
/// A whole minute, so that candles have plain edges: 2021-04-17T16:44:00Z.
const START: i64 = 1_618_677_840;

fn tick(number: u64) -> Tick {
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

struct Fixture {
    client: MarketDataServiceClient<Channel>,
    bus: Bus,
    store: Store,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<Result<(), query::Error>>,
    _scratch: Scratch,
}

impl Fixture {
    /// `count` ticks stored, the last of them also live.
    async fn start(count: u64) -> Self {
        let scratch = Scratch::new();
        let url = format!("sqlite://{}?mode=rwc", scratch.join("test.db").display());
        migrations::migrate(&url).await.unwrap();
        let store = Store::connect(&store::Config { url, ..store::Config::default() }).await.unwrap();
        let bus = Bus::embedded(&bus::Config::default());
        bus.ensure_streams().await.unwrap();
        let ticks: Vec<Tick> = (0..count).map(tick).collect();
        let mut fixture = Self::serve(scratch, store, bus).await;
        if count > 0 {
            fixture.store(&ticks).await;
            fixture.publish(ticks.last().unwrap().clone()).await;
        }
        fixture
    }

    async fn serve(scratch: Scratch, store: Store, bus: Bus) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let context = RoleContext::new(Readiness::new(), shutdown.clone());
        let readiness = context.readiness.clone();
        let role = query::run(query::Config::default(), listener, bus.clone(), store.clone(), context);
        let serving = tokio::spawn(role);
        eventually(SOON, || async { readiness.is_ready() }).await;
        let client = MarketDataServiceClient::connect(address).await.unwrap();
        Self { client, bus, store, shutdown, serving, _scratch: scratch }
    }

    async fn store(&self, ticks: &[Tick]) {
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

    async fn stop(self) {
        self.shutdown.request();
        drop(self.client);
        self.serving.await.unwrap().unwrap();
    }
}

fn refused<T>(result: Result<T, Status>, code: Code, reason: &str) -> Status {
    let Err(status) = result else { panic!("it was not refused") };
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("every error carries ErrorInfo");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("ledgerflux", reason));
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_price_is_exact_and_tells_its_age() {
    let mut fixture = Fixture::start(3).await;
    let request = v1::GetLatestPriceRequest { product: "BTC-USD".into(), ..Default::default() };
    let latest = fixture.client.get_latest_price(request).await.unwrap().into_inner().latest_price.unwrap();
    let trade = latest.last_trade.unwrap();
    assert_eq!((trade.price.as_str(), trade.size.as_str()), ("50000.03", "0.12345678"));
    assert_eq!(latest.best_bid.unwrap().price, "50000.000");
    assert_eq!(latest.sequence, Some(1006));
    assert!(latest.age.unwrap().seconds > 0);

    let batch = v1::BatchGetLatestPricesRequest { products: vec!["BTC-USD".into()], ..Default::default() };
    let prices = fixture.client.batch_get_latest_prices(batch).await.unwrap().into_inner().latest_prices;
    assert_eq!(prices.len(), 1);
    let snapshot = v1::GetSnapshotRequest { product: "BTC-USD".into(), ..Default::default() };
    let snapshot = fixture.client.get_snapshot(snapshot).await.unwrap().into_inner().snapshot.unwrap();
    assert_eq!(snapshot.sequence, Some(1006));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hang_together_while_ticks_arrive() {
    for descending in [false, true] {
        let mut fixture = Fixture::start(10).await;
        let order = if descending { v1::SortOrder::Descending } else { v1::SortOrder::Ascending };
        let mut request = v1::ListTicksRequest {
            product: "BTC-USD".into(),
            order: order.into(),
            page_size: 3,
            ..Default::default()
        };
        let mut read = Vec::new();
        loop {
            let page = fixture.client.list_ticks(request.clone()).await.unwrap().into_inner();
            assert!(page.ticks.len() <= 3);
            read.extend(page.ticks.iter().map(|tick| tick.sequence.unwrap()));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            // The first page has been read: one more tick at its end of history must change none of the others.
            if read.len() == 3 && descending {
                fixture.store(&[tick(50)]).await;
            }
        }
        let mut expected: Vec<u64> = (0..10).map(|number| 1000 + number * 3).collect();
        if descending {
            expected.reverse();
        }
        assert_eq!(read, expected);
        fixture.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_half_open() {
    let mut fixture = Fixture::start(10).await;
    let at = |number: u64| Some(proto::timestamp(tick(number).event_time));
    let by_time = v1::ListTicksRequest {
        product: "BTC-USD".into(),
        range: Some(v1::list_ticks_request::Range::TimeRange(v1::TimeRange {
            start_time: at(2),
            end_time: at(5),
        })),
        ..Default::default()
    };
    let by_sequence = v1::ListTicksRequest {
        range: Some(v1::list_ticks_request::Range::SequenceRange(v1::SequenceRange {
            run: None,
            start_sequence: Some(1006),
            end_sequence: Some(1015),
        })),
        ..by_time.clone()
    };
    for request in [by_time, by_sequence] {
        let ticks = fixture.client.list_ticks(request).await.unwrap().into_inner().ticks;
        let sequences: Vec<_> = ticks.iter().map(|tick| tick.sequence.unwrap()).collect();
        assert_eq!(sequences, [1006, 1009, 1012]);
        assert!(ticks.iter().all(|tick| tick.product == "BTC-USD"));
    }
    let stream = v1::StreamTicksRequest { product: "BTC-USD".into(), ..Default::default() };
    let responses: Vec<_> = fixture.client.stream_ticks(stream).await.unwrap().into_inner().collect().await;
    let streamed: usize = responses.iter().map(|response| response.as_ref().unwrap().ticks.len()).sum();
    assert_eq!(streamed, 10);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_add_up() {
    let mut fixture = Fixture::start(10).await;
    let mut request = v1::ListCandlesRequest {
        product: "BTC-USD".into(),
        interval: v1::CandleInterval::OneMinute.into(),
        page_size: 1,
        ..Default::default()
    };
    let first = fixture.client.list_candles(request.clone()).await.unwrap().into_inner();
    let candle = &first.candles[0];
    assert_eq!(
        (candle.trade_count, candle.open.as_deref(), candle.close.as_deref()),
        (6, Some("50000.01"), Some("50000.06"))
    );
    assert_eq!(candle.volume, "0.74074068");
    request.page_token = first.next_page_token;
    let second = fixture.client.list_candles(request.clone()).await.unwrap().into_inner();
    assert_eq!(second.candles[0].trade_count, 4);

    let hour = v1::ListCandlesRequest {
        product: "BTC-USD".into(),
        interval: v1::CandleInterval::OneHour.into(),
        ..Default::default()
    };
    let hour = fixture.client.list_candles(hour).await.unwrap().into_inner().candles;
    assert_eq!((hour.len(), hour[0].trade_count), (1, 10));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_and_the_pipeline_are_told() {
    let mut fixture = Fixture::start(2).await;
    let products =
        fixture.client.list_products(v1::ListProductsRequest::default()).await.unwrap().into_inner();
    assert_eq!(products.products.len(), 1);
    assert!(products.products[0].last_event_time.is_some());
    let status = fixture
        .client
        .get_pipeline_status(v1::GetPipelineStatusRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.products[0].last_sequence, Some(1003));
    eventually(SOON, || async {
        let mut client = fixture.client.clone();
        let status =
            client.get_pipeline_status(v1::GetPipelineStatusRequest::default()).await.unwrap().into_inner();
        status.roles.iter().any(|role| role.role == "query") && status.hops.len() == 8
    })
    .await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_says_what_is_wrong() {
    let mut fixture = Fixture::start(2).await;
    let client = &mut fixture.client;
    let latest = |product: &str| v1::GetLatestPriceRequest { product: product.into(), ..Default::default() };
    refused(client.get_latest_price(latest("NO-SUCH")).await, Code::NotFound, "UNKNOWN_PRODUCT");
    refused(client.get_latest_price(latest("")).await, Code::InvalidArgument, "INVALID_FIELD");

    let list = || v1::ListTicksRequest { product: "BTC-USD".into(), ..Default::default() };
    let status = refused(
        client.list_ticks(v1::ListTicksRequest { page_size: -1, ..list() }).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "page_size");
    let token = v1::ListTicksRequest { page_token: "nonsense".into(), ..list() };
    refused(client.list_ticks(token).await, Code::InvalidArgument, "INVALID_FIELD");
    let unknown = v1::ListTicksRequest { product: "NO-SUCH".into(), ..list() };
    refused(client.list_ticks(unknown).await, Code::NotFound, "UNKNOWN_PRODUCT");
    let empty = v1::ListTicksRequest {
        range: Some(v1::list_ticks_request::Range::SequenceRange(v1::SequenceRange {
            run: Some(0),
            start_sequence: Some(5),
            end_sequence: Some(5),
        })),
        ..list()
    };
    refused(client.list_ticks(empty).await, Code::InvalidArgument, "INVALID_FIELD");
    let candles = v1::ListCandlesRequest { product: "BTC-USD".into(), ..Default::default() };
    refused(client.list_candles(candles).await, Code::InvalidArgument, "INVALID_FIELD");
    let many =
        v1::BatchGetLatestPricesRequest { products: vec!["BTC-USD".into(); 101], ..Default::default() };
    refused(client.batch_get_latest_prices(many).await, Code::InvalidArgument, "INVALID_FIELD");

    refused(client.list_gaps(v1::ListGapsRequest::default()).await, Code::Unimplemented, "NOT_IMPLEMENTED");
    let past = v1::GetSnapshotRequest {
        product: "BTC-USD".into(),
        as_of_time: Some(proto::timestamp(UnixNanos::new(1))),
        ..Default::default()
    };
    refused(client.get_snapshot(past).await, Code::Unimplemented, "NOT_IMPLEMENTED");
    fixture.stop().await;
}
