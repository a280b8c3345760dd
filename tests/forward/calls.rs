//! What a call brings with it reaches query, and what query says of it reaches the caller: deadline, trace, errors to the
//! byte, and a precise end where query dies in the middle of an answer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use proto::v1::{
    GetLatestPriceRequest, SequenceRange, StreamTicksRequest, StreamTicksResponse,
    stream_ticks_request::Range,
};
use testkit::eventually;
use tokio::{io::AsyncReadExt as _, net::TcpListener, time::timeout};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::{
    support::SOON,
    web::{self, Mode},
    world::{PRODUCT, World, instance},
};

/// More than lies in all buffers between the database and a client that does not read.
const LONG: usize = 120_000;
/// The run that they are stored under, which the feed never reaches.
const LONG_RUN: u32 = 1_000;
/// How many calls may be with query.
const PLACES: usize = 2;

/// Copies of one tick, a microsecond apart.
const STORE_LONG: &str = "INSERT INTO tick_history (venue, product, timestamp, run, sequence, price, bid, ask, volume, \
     bid_size, ask_size, side, trade_id, flags, ts_event, ts_ingest, tick_seq) \
     SELECT venue, product, timestamp, 1000, n, price, bid, ask, volume, bid_size, ask_size, side, \
     1000000000000 + n, flags, ts_event + 1000 * n, ts_ingest, tick_seq \
     FROM (SELECT * FROM tick_history WHERE trade_id IS NOT NULL LIMIT 1) AS one, generate_series(1, 120000) AS n";

fn long() -> StreamTicksRequest {
    let range = SequenceRange { run: Some(LONG_RUN), ..SequenceRange::default() };
    StreamTicksRequest {
        product: PRODUCT.into(),
        range: Some(Range::SequenceRange(range)),
        ..StreamTicksRequest::default()
    }
}

/// Reads a stream to its end: how many ticks there were, where they end, and how it ended.
async fn read(stream: &mut Streaming<StreamTicksResponse>) -> (usize, String, Result<(), Status>) {
    let (mut count, mut token) = (0, String::new());
    loop {
        match timeout(SOON, stream.message()).await.expect("the stream goes on or ends") {
            Ok(Some(response)) => {
                count += response.ticks.len();
                token = response.next_page_token;
            }
            Ok(None) => return (count, token, Ok(())),
            Err(status) => return (count, token, Err(status)),
        }
    }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_traces_errors_and_broken_streams_pass_the_gateway_as_they_are() {
    let collector = Collector::start().await;
    let places = PLACES.to_string();
    let mut world = World::start(
        &[("LEDGERFLUX_GATEWAY__FORWARDED_MAX", &places)],
        &[("LEDGERFLUX_TELEMETRY__OTLP_ENDPOINT", &collector.endpoint)],
    )
    .await;
    world.names.answer(Some(&[instance(1)]));
    world.spawn(1);
    world.ready(1).await;
    world.postgres.psql(&world.database, STORE_LONG).await;
    errors_arrive_to_the_byte(&world).await;
    the_trace_goes_on(&world, &collector).await;
    the_deadline_of_a_stream_is_that_of_its_client(&world).await;
    what_is_too_much_is_shed_and_nothing_hangs(&world).await;
    a_stream_that_breaks_off_says_so_and_can_be_continued(&mut world).await;
}

async fn errors_arrive_to_the_byte(world: &World) {
    // Of an error with several facts in its details, their order would be another each time.
    for product in ["", "NO SUCH \u{20ac}"] {
        let code = Code::InvalidArgument;
        let request = GetLatestPriceRequest { product: product.into(), ..Default::default() };
        let (mut there, mut here) = (world.market_of(1).await, world.market().await);
        let said = there.get_latest_price(request.clone()).await.unwrap_err();
        assert_eq!((said.code(), reason(&said).as_str()), (code, "INVALID_FIELD"));
        assert!(said.get_error_details().bad_request().is_some());
        let heard = here.get_latest_price(request.clone()).await.unwrap_err();
        assert_eq!(
            (heard.code(), heard.message(), heard.details()),
            (code, said.message(), said.details()),
            "over gRPC"
        );
        for mode in [Mode::Binary, Mode::Text] {
            let call = web::Call::send(&world.address, "GetLatestPrice", mode, &request).await.unwrap();
            let answer = call.answer().await.unwrap();
            assert_eq!(answer.code(), Some((code as i32).to_string().as_str()), "{mode:?}: {answer:?}");
            assert_eq!(answer.details(), said.details(), "{mode:?}");
            assert!(answer.messages.is_empty(), "{mode:?}");
        }
    }
}

async fn the_trace_goes_on(world: &World, collector: &Collector) {
    let (trace, span) = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128, 0x00f0_67aa_0ba9_02b7_u64);
    let mut request = Request::new(GetLatestPriceRequest { product: PRODUCT.into(), ..Default::default() });
    let context = format!("00-{trace:032x}-{span:016x}-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", context);
    world.market().await.get_latest_price(request).await.unwrap();
    eventually(SOON, || async {
        let has = |bytes: &[u8]| collector.has(bytes);
        has(&trace.to_be_bytes()) && has(&span.to_be_bytes()) && has(b"GetLatestPrice")
    })
    .await;
}

async fn the_deadline_of_a_stream_is_that_of_its_client(world: &World) {
    const DEADLINE: Duration = Duration::from_secs(4);
    let mut request = Request::new(long());
    // Not by `set_timeout`: our client would look at the clock itself.
    request.metadata_mut().insert("grpc-timeout", format!("{}m", DEADLINE.as_millis()).parse().unwrap());
    let mut stream = world.market().await.stream_ticks(request).await.unwrap().into_inner();
    tokio::time::sleep(DEADLINE).await;
    let (count, _, end) = read(&mut stream).await;
    let status = end.expect_err("the deadline ends the stream");
    // Nobody but query says it in these words.
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "OUT_OF_TIME"));
    let details = status.get_error_details();
    let limit = details.error_info().unwrap().metadata["limit"].clone();
    let left: Option<f64> = limit.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    assert!(left.is_some_and(|left| (1.0..4.0).contains(&left)), "what is left of 4 s: {limit}");
    assert!(count < LONG, "{count}");
}

async fn what_is_too_much_is_shed_and_nothing_hangs(world: &World) {
    let shed = || world.gateway_counts("ledgerflux_gateway_forwarded_total", "outcome=\"shed\"");
    let mut market = world.market().await;
    let latest = || GetLatestPriceRequest { product: PRODUCT.into(), ..Default::default() };
    // Those that ended before may be a moment from giving their places back.
    let mut streams = Vec::new();
    while streams.len() < PLACES {
        streams.push(eventually(SOON, || async { market.clone().stream_ticks(long()).await }).await);
    }
    let before = shed().await;
    for refused in 1..=3 {
        let answer = timeout(Duration::from_secs(10), market.get_latest_price(latest())).await;
        let status = answer.expect("refused at once").unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_CALLS"));
        assert!(status.get_error_details().retry_info().is_some());
        assert_eq!(shed().await, before + refused);
    }
    drop(streams);
    eventually(SOON, || async { market.clone().get_latest_price(latest()).await }).await;
}

async fn a_stream_that_breaks_off_says_so_and_can_be_continued(world: &mut World) {
    let mut stream =
        eventually(SOON, || async { world.market().await.stream_ticks(long()).await }).await.into_inner();
    let on_the_web = eventually(SOON, || async {
        let mut call = web::Call::send(&world.address, "StreamTicks", Mode::Text, &long()).await.unwrap();
        call.begun().await;
        (!call.is_refused()).then_some(call)
    })
    .await;
    world.process(1).kill().await;
    let (before, token, end) = read(&mut stream).await;
    let status = end.expect_err("there is nobody to read the rest");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "INTERRUPTED"), "{status:?}");
    assert!(status.get_error_details().retry_info().is_some());
    assert!(before > 0 && before < LONG, "{before}");
    let answer = on_the_web.answer().await.unwrap();
    assert_eq!(answer.code(), Some("14"), "{:?}", answer.told);
    assert_eq!(answer.details(), status.details());
    assert_eq!(world.gateway_counts("ledgerflux_gateway_forwarded_cut_total", "").await, 2);

    // The token of the last response that came goes on behind it.
    world.spawn(1);
    world.ready(1).await;
    let rest = StreamTicksRequest { page_token: token, ..long() };
    let mut stream = world.market().await.stream_ticks(rest).await.unwrap().into_inner();
    let (after, _, end) = read(&mut stream).await;
    end.unwrap();
    assert_eq!(before + after, LONG);
}

/// Takes in whatever is exported to it, and answers nothing: what is looked for are bytes.
struct Collector {
    endpoint: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut bytes = [0; 4_096];
                    while let Ok(length @ 1..) = socket.read(&mut bytes).await {
                        kept.lock().unwrap().extend(&bytes[..length]);
                    }
                });
            }
        });
        Self { endpoint, received }
    }

    fn has(&self, bytes: &[u8]) -> bool {
        self.received.lock().unwrap().windows(bytes.len()).any(|window| window == bytes)
    }
}
