//! The past: snapshots as of a time, candles in both orders, streams of any length.

use std::time::Duration;

use domain::{Instrument, Tick, UnixNanos};
use futures::StreamExt as _;
use proto::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::fixture::{Fixture, refused, tick};

fn as_of(time: UnixNanos) -> v1::GetSnapshotRequest {
    v1::GetSnapshotRequest {
        product: "BTC-USD".into(),
        as_of_time: Some(proto::timestamp(time)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_the_past_is_what_was_known_then() {
    let (postgres, _) = Fixture::start_on_postgres(query::Config::default(), 10).await;
    for mut fixture in [Fixture::start(10).await, postgres] {
        let mut backfilled = tick(3);
        backfilled.event_time = tick(4).event_time.saturating_add(Duration::from_secs(1));
        backfilled.sequence = None;
        backfilled.best_bid = None;
        backfilled.best_ask = None;
        backfilled.flags.backfilled = true;
        backfilled.last_trade.as_mut().unwrap().trade_id = Some(5_000);
        fixture
            .store
            .write(&write_batch(&[store::TickRow { tick: &backfilled, tick_seq: None }]))
            .await
            .unwrap();

        let time = tick(5).event_time.saturating_sub(Duration::from_nanos(1));
        let snapshot = fixture.client.get_snapshot(as_of(time)).await.unwrap().into_inner().snapshot.unwrap();
        assert_eq!(snapshot.sequence, tick(4).sequence);
        assert_eq!(snapshot.snapshot_time, Some(proto::timestamp(time)));
        let state = snapshot.state.unwrap();
        assert_eq!(state.last_trade.unwrap().trade_id, Some(5_000));
        assert_eq!(state.last_trade_time, Some(proto::timestamp(backfilled.event_time)));
        assert_eq!(state.best_bid_time, Some(proto::timestamp(tick(4).event_time)));
        assert_eq!(state.day_stats, None);

        let before = tick(0).event_time.saturating_sub(Duration::from_nanos(1));
        refused(fixture.client.get_snapshot(as_of(before)).await, Code::NotFound, "NOTHING_STORED");
        // What retention has dropped is no gap in the answer but an error that says from when on there is history.
        let now = tick(0).event_time.saturating_add(Duration::from_secs(10 * 86_400));
        fixture.store.retain(Duration::from_secs(86_400), now).await.unwrap();
        let status =
            refused(fixture.client.get_snapshot(as_of(time)).await, Code::OutOfRange, "BEFORE_HORIZON");
        let horizon = fixture.store.horizon().await.unwrap().unwrap();
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["horizon_time"], horizon.to_string());
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "as_of_time");
        fixture.stop().await;
    }
}

fn write_batch<'a>(ticks: &'a [store::TickRow<'a>]) -> store::WriteBatch<'a> {
    store::WriteBatch { ticks, snapshots: &[], written_at: UnixNanos::now() }
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_come_in_both_orders_and_the_open_one_says_so() {
    let mut fixture = Fixture::start(30).await;
    // One trade a minute ahead of now, so that its candle is open whatever the time of the test is.
    let mut last = tick(40);
    last.event_time = UnixNanos::now().saturating_add(Duration::from_secs(60));
    fixture.store(&[last.clone()]).await;
    let mut request = v1::ListCandlesRequest {
        product: "BTC-USD".into(),
        interval: v1::CandleInterval::OneMinute.into(),
        page_size: 2,
        ..Default::default()
    };
    let mut orders = Vec::new();
    for order in [v1::SortOrder::Ascending, v1::SortOrder::Descending] {
        request.order = order.into();
        request.page_token.clear();
        let mut all = Vec::new();
        loop {
            let page = fixture.client.list_candles(request.clone()).await.unwrap().into_inner();
            all.extend(page.candles);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
            // More of a candle that has been given, and one before and after all: the other pages stay as they are.
            let number =
                100 + u64::try_from(all.len()).unwrap() + u64::from(order == v1::SortOrder::Descending) * 50;
            let mut late = tick(number);
            late.event_time = tick(0).event_time;
            late.last_trade.as_mut().unwrap().trade_id = Some(number);
            fixture
                .store
                .write(&write_batch(&[store::TickRow { tick: &late, tick_seq: None }]))
                .await
                .unwrap();
        }
        orders.push(all);
    }
    let [ascending, mut descending] = <[Vec<v1::Candle>; 2]>::try_from(orders).unwrap();
    descending.reverse();
    let starts = |candles: &[v1::Candle]| candles.iter().map(|candle| candle.start_time).collect::<Vec<_>>();
    assert_eq!(starts(&ascending), starts(&descending));
    assert_eq!(ascending.len(), 30 / 6 + 1);
    let (open, closed) = descending.split_last().unwrap();
    assert_eq!(open.state(), v1::CandleState::Open);
    assert!(closed.iter().all(|candle| candle.state() != v1::CandleState::Open));
    // A token is of one order only.
    request.order = v1::SortOrder::Descending.into();
    request.page_token =
        fixture.client.list_candles(request.clone()).await.unwrap().into_inner().next_page_token;
    request.order = v1::SortOrder::Ascending.into();
    refused(fixture.client.list_candles(request).await, Code::InvalidArgument, "INVALID_FIELD");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gives_all_of_a_range_and_goes_on_after_a_break() {
    // More than two pages.
    let count = 10_000;
    let mut fixture = Fixture::start(2).await;
    let base = tick(0);
    let instrument = Instrument::new("coinbase", "ADA-USD").unwrap();
    let ticks: Vec<Tick> = (0..count)
        .map(|number| {
            let mut tick = tick(number);
            tick.instrument = instrument.clone();
            tick.event_time = UnixNanos::new(base.event_time.nanos() + i64::try_from(number / 3).unwrap());
            tick
        })
        .collect();
    for batch in ticks.chunks(2_000) {
        fixture.store(batch).await;
    }
    for order in [v1::SortOrder::Ascending, v1::SortOrder::Descending] {
        let mut request =
            v1::StreamTicksRequest { product: "ADA-USD".into(), order: order.into(), ..Default::default() };
        let mut stream = fixture.client.stream_ticks(request.clone()).await.unwrap().into_inner();
        let mut read = Vec::new();
        while read.len() < 3_000 {
            let response = stream.next().await.unwrap().unwrap();
            assert!((1..=512).contains(&response.ticks.len()));
            read.extend(response.ticks.iter().map(|tick| tick.sequence.unwrap()));
            request.page_token = response.next_page_token;
        }
        drop(stream);
        let mut stream = fixture.client.stream_ticks(request).await.unwrap().into_inner();
        while let Some(response) = stream.next().await {
            read.extend(response.unwrap().ticks.iter().map(|tick| tick.sequence.unwrap()));
        }
        let mut expected: Vec<u64> = ticks.iter().map(|tick| tick.sequence.unwrap()).collect();
        if order == v1::SortOrder::Descending {
            expected.reverse();
        }
        assert_eq!(read, expected);
    }
    fixture.stop().await;
}
