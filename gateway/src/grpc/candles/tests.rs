use std::time::Instant;

use bus::Bus;
use domain::{Decimal, FeedSession, Snapshot, Tick, TickBatch, TickFlags, Trade};
use futures::poll;
use live::LiveFeed;
use proto::v1::{Candle, CandleState, StreamCandlesResponse, stream_candles_response::Message as Told};
use runtime::{
    Readiness, RoleContext,
    config::{Flag, Sources},
};
use store::{Store, TickRow, WriteBatch};
use testkit::Scratch;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::{
    clients::{Places, Transport},
    grpc::{Forward, Pool},
    history::QueryHistory,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// A whole minute: 2021-04-17T16:45:00Z.
const START: i64 = 1_618_677_900;
/// How many ticks are stored of each product, seven seconds after each other: four minutes and a half.
const TICKS: u64 = 38;
const PRODUCTS: [&str; 2] = ["BTC-USD", "ETH-USD"];

fn instrument(product: &str) -> Instrument {
    Instrument::new("coinbase", product).unwrap()
}

fn tick(product: &str, number: u64) -> Tick {
    let price = Decimal::from(1_000 + number * 37 % 101);
    Tick {
        instrument: instrument(product),
        run: 0,
        sequence: Some(number),
        event_time: UnixNanos::from_seconds(START + i64::try_from(number).unwrap() * 7).unwrap(),
        receive_time: UnixNanos::now(),
        last_trade: Some(Trade { price, size: Decimal::ONE, side: None, trade_id: Some(number) }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

/// A store and a query service over it, and a live feed that is filled by hand.
struct World {
    candles: Candles,
    _database: Scratch,
    _serving: [AbortOnDropHandle<()>; 2],
}

impl World {
    /// At most so many calls to query at one time.
    async fn start(forwarded_max: &str) -> Self {
        let database = Scratch::new();
        let url = format!("sqlite://{}?mode=rwc", database.join("test.db").display());
        migrations::migrate(&url, false).await.unwrap();
        let store = Store::connect(&store::Config { url, ..store::Config::default() }).await.unwrap();
        for product in PRODUCTS {
            let ticks: Vec<_> = (0..=TICKS).map(|number| tick(product, number)).collect();
            let rows: Vec<_> = ticks.iter().map(|tick| TickRow { tick, tick_seq: Some(1) }).collect();
            let snapshots = [Snapshot::first(&ticks[ticks.len() - 1]).unwrap()];
            let batch = WriteBatch { ticks: &rows, snapshots: &snapshots, written_at: UnixNanos::now() };
            store.write(&batch).await.unwrap();
        }
        let bus = Bus::embedded(&bus::Config::default());
        bus.ensure_streams().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let context = || RoleContext::new(Readiness::new(), Shutdown::new());
        let flags = vec![Flag::new("gateway.forwarded_max", forwarded_max, "test")];
        let mut sources = Sources::load(None, [], flags).unwrap();
        let mut config = sources.read("gateway", Config::read);
        sources.finish().unwrap();
        config.query = vec![format!("http://{address}").parse().unwrap()];
        let pool = Pool::new(&config).unwrap();
        let config = Arc::new(config);
        let history = QueryHistory::new(Forward::new(&config, pool.clone(), &context()).for_ourselves());
        let served = query::run(query::Config::default(), listener, bus, store, context());
        let serving = [
            AbortOnDropHandle::new(tokio::spawn(async move { served.await.unwrap() })),
            AbortOnDropHandle::new(tokio::spawn(async move { pool.follow(Shutdown::new()).await })),
        ];
        let feed = LiveFeed::by_hand(config.live.clone()).with_history(Arc::new(history.clone()), 2);
        Self { candles: Candles::new(feed, history), _database: database, _serving: serving }
    }

    /// The last ticks of each product are in memory, and nothing is missing.
    fn catch_up(&self) {
        for product in PRODUCTS {
            self.candles.feed().publish(
                1,
                TickBatch {
                    instrument: instrument(product),
                    ticks: (TICKS - 2..=TICKS).map(|number| tick(product, number)).collect(),
                    session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
                    raw_sequence: None,
                    normalised_at: None,
                    heartbeat: None,
                },
            );
        }
        self.candles.feed().set_caught_up();
    }

    fn stream(&self, products: &[&str], interval: Interval, start: Option<i64>) -> Frames {
        let products = Products::These(products.iter().map(|product| instrument(product)).collect());
        let start = start.map(|start| UnixNanos::from_seconds(start).unwrap());
        let plan = CandlePlan { products, interval, start, closed_only: false };
        let client = Places::new(8).enter(Transport::Grpc).unwrap();
        frames(&self.candles, plan, client, Shutdown::new()).unwrap()
    }

    /// What query has of the product, once it answers.
    async fn listed(&self, product: &str, interval: Interval) -> Vec<Candle> {
        let asked = Instant::now();
        let start = UnixNanos::from_seconds(START).unwrap();
        let wanted = request(&instrument(product), interval, start, None);
        loop {
            match self.candles.history().candles(wanted.clone()).await {
                Ok(answer) => return answer.candles,
                Err(error) => assert!(asked.elapsed() < PATIENCE, "{error}: no place for others"),
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn decode(frame: Option<Result<Bytes, Status>>) -> Told {
    StreamCandlesResponse::decode(frame.unwrap().unwrap()).unwrap().message.unwrap()
}

async fn next(frames: &mut Frames) -> Told {
    decode(timeout(PATIENCE, frames.next()).await.expect("a message"))
}

async fn candle(frames: &mut Frames) -> Candle {
    loop {
        if let Told::Candle(candle) = next(frames).await {
            return candle;
        }
    }
}

#[tokio::test]
async fn a_candle_is_right_for_who_asked_before_the_gateway_had_caught_up() {
    let world = World::start("256").await;
    let mut frames = world.stream(&PRODUCTS[..1], Interval::FiveMinutes, None);
    for _ in 0..100 {
        assert!(poll!(frames.next()).is_pending(), "nothing can be said yet");
        tokio::task::yield_now().await;
    }
    world.catch_up();
    let open = candle(&mut frames).await;
    let listed = world.listed(PRODUCTS[0], Interval::FiveMinutes).await;
    assert_eq!((open.state(), open.trade_count), (CandleState::Open, TICKS + 1));
    assert_eq!((listed.len(), &listed[0].open), (1, &open.open));
}

#[tokio::test]
async fn who_does_not_read_keeps_no_call_to_history_open() {
    let world = World::start("1").await;
    world.catch_up();
    // The series are there, so that nobody else has anything to ask.
    let mut first = world.stream(&PRODUCTS, Interval::OneMinute, None);
    while !matches!(next(&mut first).await, Told::Event(_)) {}
    let mut idler = world.stream(&PRODUCTS, Interval::OneMinute, Some(START));
    for _ in 0..4 {
        assert_eq!(candle(&mut idler).await.product, PRODUCTS[0]);
    }
    // The past of the other product is asked for, and nobody comes for it.
    assert!(poll!(idler.next()).is_pending());
    tokio::task::yield_now().await;
    assert_eq!(world.listed(PRODUCTS[0], Interval::OneMinute).await.len(), 5);
    for _ in 0..4 {
        assert_eq!(candle(&mut idler).await.product, PRODUCTS[1]);
    }
}
