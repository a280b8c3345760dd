//! Every RPC and option of the contract is there: nothing answers UNIMPLEMENTED. What CHANGELOG.md lists as not there yet are
//! fields that stay empty and behaviour.
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

/// The call is begun; what it answers is for other tests.
fn is_there<T>(what: &str, outcome: Result<T, Status>) {
    let code = outcome.err().map(|status| status.code());
    assert_ne!(code, Some(Code::Unimplemented), "{what} is not there");
    assert_eq!(code, None, "{what} is refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_and_option_is_there() {
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
    is_there("StreamCandles", streaming.stream_candles(candles).await);
    let position = v1::ProductPosition { product: product(), run: None, sequence: 1 };
    for start in [
        Start::StartTime(time().unwrap()),
        Start::Positions(v1::StartPositions { positions: vec![position] }),
    ] {
        let what = format!("Subscribe from {start:?}");
        let request =
            v1::SubscribeRequest { products: vec![product()], start: Some(start), ..Default::default() };
        is_there(&what, streaming.subscribe(request).await);
    }
    let interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let policy = v1::delivery_policy::Policy::Conflate(v1::ConflateDelivery { interval });
    let conflated = v1::SubscribeRequest {
        products: vec![product()],
        delivery: Some(v1::DeliveryPolicy { policy: Some(policy) }),
        ..Default::default()
    };
    is_there("conflation at an interval", streaming.subscribe(conflated).await);
    let start = Some(Start::ResumeToken("token".into()));
    let garbage = v1::SubscribeRequest { products: vec![product()], start, ..Default::default() };
    let status = streaming.subscribe(garbage).await.unwrap_err();
    let info = status.get_details_error_info().expect("every error carries ErrorInfo");
    assert_eq!((status.code(), info.domain.as_str()), (Code::InvalidArgument, "ledgerflux"));
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
}
