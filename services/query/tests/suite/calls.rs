//! What holds for every call: limits, deadlines, cancellation, traces, and an answer to what no handler sees.

use std::{
    sync::{Arc, Mutex, Once, OnceLock},
    time::{Duration, Instant},
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use proto::v1::{self, market_data_service_client::MarketDataServiceClient};
use sqlx::{Connection as _, Executor as _};
use tonic::{Code, Request, Status, codec::CompressionEncoding};
use tonic_types::StatusExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::fixture::{Fixture, refused};

const RUNNING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE 'SELECT%tick_history%'";

/// Makes every read of history take for ever, until it is dropped.
async fn hold(url: &str) -> sqlx::PgConnection {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    connection.execute("BEGIN; LOCK TABLE tick_history IN ACCESS EXCLUSIVE MODE").await.unwrap();
    connection
}

async fn wait_for_running(fixture: &Fixture, url: &str, count: &str, limit: Duration) {
    let started = Instant::now();
    while fixture.psql(url, RUNNING).await != count {
        assert!(started.elapsed() < limit, "not {count} statements after {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_and_a_deadline_end_their_statements() {
    let (mut fixture, url) = Fixture::start_on_postgres(query::Config::default(), 10).await;
    let second = Duration::from_secs(1);
    let held = hold(&url).await;
    let request = v1::StreamTicksRequest { product: "BTC-USD".into(), ..Default::default() };
    let stream = fixture.client.stream_ticks(request).await.unwrap().into_inner();
    wait_for_running(&fixture, &url, "1", 20 * second).await;
    drop(stream);
    wait_for_running(&fixture, &url, "0", second).await;

    let mut late = Request::new(v1::ListTicksRequest { product: "BTC-USD".into(), ..Default::default() });
    late.set_timeout(Duration::from_millis(300));
    let asked = Instant::now();
    let mut client = fixture.client.clone();
    let calling = tokio::spawn(async move { client.list_ticks(late).await });
    let status = calling.await.unwrap().unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    assert!(asked.elapsed() < 2 * second);
    wait_for_running(&fixture, &url, "0", second).await;

    // The deadline of a stream is that of its whole answer, not of its beginning.
    let mut late = Request::new(v1::StreamTicksRequest { product: "BTC-USD".into(), ..Default::default() });
    late.set_timeout(Duration::from_millis(300));
    let mut stream = fixture.client.stream_ticks(late).await.unwrap().into_inner();
    refused(stream.message().await, Code::DeadlineExceeded, "OUT_OF_TIME");
    wait_for_running(&fixture, &url, "0", second).await;

    drop(held);
    let again = v1::ListTicksRequest { product: "BTC-USD".into(), ..Default::default() };
    assert_eq!(fixture.client.list_ticks(again).await.unwrap().into_inner().ticks.len(), 10);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_limit_is_a_precise_error() {
    let config = query::Config { call_timeout: Duration::from_millis(200), ..query::Config::default() };
    let (mut fixture, url) = Fixture::start_on_postgres(config, 10).await;
    let held = hold(&url).await;
    let request = v1::ListTicksRequest { product: "BTC-USD".into(), ..Default::default() };
    refused(fixture.client.list_ticks(request).await, Code::DeadlineExceeded, "OUT_OF_TIME");
    drop(held);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_above_the_limit_are_refused_at_once() {
    let config = query::Config { calls_max: 1, streams_max: 1, ..query::Config::default() };
    let (fixture, url) = Fixture::start_on_postgres(config, 10).await;
    let held = hold(&url).await;
    // Each from a connection of its own: the limits are those of the server.
    let connect = || async { MarketDataServiceClient::connect(fixture.address.clone()).await.unwrap() };
    let ticks = || v1::ListTicksRequest { product: "BTC-USD".into(), ..Default::default() };
    let (mut one, mut other) = (connect().await, connect().await);
    let waiting = tokio::spawn(async move { one.list_ticks(ticks()).await });
    wait_for_running(&fixture, &url, "1", Duration::from_secs(20)).await;
    let latest = v1::GetLatestPriceRequest { product: "BTC-USD".into(), ..Default::default() };
    let status =
        refused(other.get_latest_price(latest.clone()).await, Code::ResourceExhausted, "TOO_MANY_CALLS");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());

    // Streams have places of their own, and keep them to their end.
    let stream = || v1::StreamTicksRequest { product: "BTC-USD".into(), ..Default::default() };
    let first = other.stream_ticks(stream()).await.unwrap();
    refused(other.stream_ticks(stream()).await.map(|_| ()), Code::ResourceExhausted, "TOO_MANY_CALLS");
    drop(first);

    drop(held);
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().ticks.len(), 10);
    testkit::eventually(Duration::from_secs(20), || async {
        let (mut client, request) = (other.clone(), latest.clone());
        client.get_latest_price(request).await.is_ok()
    })
    .await;
    testkit::eventually(Duration::from_secs(20), || async {
        let mut client = other.clone();
        client.stream_ticks(stream()).await.is_ok()
    })
    .await;
    drop(other);
    fixture.stop().await;
}

/// Sends bytes as a message to a method.
async fn send(fixture: &Fixture, path: &str, message: Vec<u8>) -> Result<(), Status> {
    let channel =
        tonic::transport::Endpoint::from_shared(fixture.address.clone()).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::try_from(path).unwrap();
    let codec = raw::Raw;
    grpc.unary(Request::new(message), path, codec).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_handler_sees_is_answered_precisely_too() {
    let fixture = Fixture::start(1).await;
    let list = "/ledgerflux.v1.MarketDataService/ListTicks";
    refused(send(&fixture, list, vec![0xff; 40]).await, Code::Internal, "MALFORMED_MESSAGE");
    let oversized = send(&fixture, list, vec![0x0a; 100 * 1024]).await;
    refused(oversized, Code::OutOfRange, "MESSAGE_TOO_LARGE");
    let nonsense = "/ledgerflux.v1.MarketDataService/Nonsense";
    refused(send(&fixture, nonsense, Vec::new()).await, Code::Unimplemented, "UNKNOWN_METHOD");
    refused(
        send(&fixture, "/no.such.Service/Method", Vec::new()).await,
        Code::Unimplemented,
        "UNKNOWN_METHOD",
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_cut_to_the_largest_answer_and_compressed_on_request() {
    let config = query::Config { response_bytes_max: 16 * 1024, ..query::Config::default() };
    let fixture = Fixture::start_with(config, 500).await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = fixture.client.clone().accept_compressed(encoding);
        let mut request = v1::ListTicksRequest { product: "BTC-USD".into(), ..Default::default() };
        let (mut read, mut pages) = (Vec::new(), 0);
        loop {
            let page = client.list_ticks(request.clone()).await.unwrap().into_inner();
            read.extend(page.ticks.iter().map(|tick| tick.sequence.unwrap()));
            pages += 1;
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert!(pages > 3, "{pages}");
        assert_eq!(read, (0..500).map(|number| 1000 + number * 3).collect::<Vec<u64>>());
    }
    fixture.stop().await;
}

/// The spans of this process that have ended.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn spans() -> Spans {
    static INSTALLED: Once = Once::new();
    static EXPORTER: OnceLock<Spans> = OnceLock::new();
    let exporter = EXPORTER.get_or_init(Spans::default).clone();
    INSTALLED.call_once(|| {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let filter = tracing_subscriber::filter::LevelFilter::INFO;
        let subscriber = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    exporter
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_part_of_the_trace_of_its_client() {
    let exporter = spans();
    let mut fixture = Fixture::start(1).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut request =
        Request::new(v1::GetLatestPriceRequest { product: "NO-SUCH".into(), ..Default::default() });
    let context = format!("00-{trace}-00f067aa0ba902b7-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", context);
    refused(fixture.client.get_latest_price(request).await, Code::NotFound, "UNKNOWN_PRODUCT");
    testkit::eventually(Duration::from_secs(20), || async {
        let finished = exporter.0.lock().unwrap().clone();
        finished.iter().any(|span| {
            span.span_context.trace_id().to_string() == trace
                && span.name == "GetLatestPrice"
                && span.parent_span_id.to_string() == "00f067aa0ba902b7"
                && span.attributes.iter().any(|attribute| {
                    attribute.key.as_str() == "rpc.response.status_code"
                        && attribute.value.as_str() == "NotFound"
                })
        })
    })
    .await;
    fixture.stop().await;
}

/// Messages as bytes.
mod raw {
    use bytes::{Buf as _, BufMut as _};
    use tonic::{
        Status,
        codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    };

    #[derive(Default)]
    pub(super) struct Raw;

    impl Codec for Raw {
        type Encode = Vec<u8>;
        type Decode = Vec<u8>;
        type Encoder = Self;
        type Decoder = Self;

        fn encoder(&mut self) -> Self {
            Self
        }

        fn decoder(&mut self) -> Self {
            Self
        }
    }

    impl Encoder for Raw {
        type Item = Vec<u8>;
        type Error = Status;

        fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            buffer.put_slice(&item);
            Ok(())
        }
    }

    impl Decoder for Raw {
        type Item = Vec<u8>;
        type Error = Status;

        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
            let mut item = vec![0; buffer.remaining()];
            buffer.copy_to_slice(&mut item);
            Ok(Some(item))
        }
    }
}
