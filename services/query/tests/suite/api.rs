//! The API over a real store and a live stream: what is stored comes out to the digit, pages hang together while ticks
//! arrive, and every error says what is wrong.

use domain::UnixNanos;
use futures::StreamExt as _;
use proto::v1;
use testkit::eventually;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::fixture::{Fixture, SOON, refused, tick};

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
    assert_eq!(latest.receive_time, Some(proto::timestamp(tick(2).receive_time)));

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
    assert_eq!(products.products[0].first_event_time, Some(proto::timestamp(tick(0).event_time)));
    assert_eq!(products.products[0].last_event_time, Some(proto::timestamp(tick(1).event_time)));
    assert_eq!(products.products[0].configured, None, "another process holds the feed, if any does");
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

    let past = |time| v1::GetSnapshotRequest {
        product: "BTC-USD".into(),
        as_of_time: Some(time),
        ..Default::default()
    };
    let ages_ago = past(proto::timestamp(UnixNanos::new(1)));
    refused(client.get_snapshot(ages_ago).await, Code::NotFound, "NOTHING_STORED");
    let broken = past(prost_types::Timestamp { seconds: 1, nanos: -1 });
    refused(client.get_snapshot(broken).await, Code::InvalidArgument, "INVALID_FIELD");
    fixture.stop().await;
}
