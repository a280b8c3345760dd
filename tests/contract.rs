//! What CHANGELOG.md lists as not there yet says so when it is called, with a reason that a program can read; and nothing
//! else does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use proto::v1::{
    self, market_data_service_client::MarketDataServiceClient,
    streaming_service_client::StreamingServiceClient, subscribe_request::Start,
};
use support::{SOON, START};
use testkit::Scratch;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn not_there_yet<T>(what: &str, outcome: Result<T, Status>) {
    let status = outcome.err().unwrap_or_else(|| panic!("{what} is there: take it out of the CHANGELOG"));
    assert_eq!(status.code(), Code::Unimplemented, "{what}: {status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{what} has no ErrorInfo"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("ledgerflux", "NOT_IMPLEMENTED"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_yet_says_so() {
    let data = Scratch::new();
    let mut up = support::demo(&data).await;
    let ops = up.address("ops", START).await;
    let gateway = format!("http://{}", up.address("gateway", START).await);
    let product = || "BTC-USD".to_owned();
    let time = || Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });

    // The query API is all there. Every call is counted by method and code, whatever becomes of it.
    let mut market = MarketDataServiceClient::connect(gateway.clone()).await.unwrap();
    market.list_gaps(v1::ListGapsRequest::default()).await.unwrap();
    let (_, metrics) = support::http_get(&ops, "/metrics").await;
    let counted = "ledgerflux_query_calls_total{method=\"ListGaps\",code=\"Ok\"} 1";
    assert!(metrics.contains(counted), "{counted} is missing in:\n{metrics}");

    let mut streaming = StreamingServiceClient::connect(gateway).await.unwrap();
    let candles = v1::StreamCandlesRequest {
        products: vec![product()],
        interval: v1::CandleInterval::OneMinute.into(),
        ..Default::default()
    };
    not_there_yet("StreamCandles", streaming.stream_candles(candles).await);
    let position = v1::ProductPosition { product: product(), run: None, sequence: 1 };
    for start in [
        Start::StartTime(time().unwrap()),
        Start::ResumeToken("token".into()),
        Start::Positions(v1::StartPositions { positions: vec![position] }),
    ] {
        let what = format!("Subscribe from {start:?}");
        let request =
            v1::SubscribeRequest { products: vec![product()], start: Some(start), ..Default::default() };
        not_there_yet(&what, streaming.subscribe(request).await);
    }
    let interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let policy = v1::delivery_policy::Policy::Conflate(v1::ConflateDelivery { interval });
    let conflated = v1::SubscribeRequest {
        products: vec![product()],
        delivery: Some(v1::DeliveryPolicy { policy: Some(policy) }),
        ..Default::default()
    };
    not_there_yet("conflation at an interval", streaming.subscribe(conflated).await);
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
}
