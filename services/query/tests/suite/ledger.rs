//! What is missing, as clients are told of it: gaps, completeness, the states of candles and of feeds.

use std::time::Duration;

use domain::{
    Decimal, EventKind, FeedEvent, FeedState, Gap, GapCause, GapState, Instrument, ProductDetails,
    RejectReason, RejectedTick, RoleStatus, Tick, UnixNanos,
};
use proto::v1;
use testkit::eventually;
use tonic::Code;

use crate::fixture::{Fixture, SOON, refused, tick};

fn gap(product: &str, first: u64, last: u64) -> Gap {
    // Trade 7 is that of the first tick, one in ten seconds.
    Gap {
        instrument: Instrument::new("coinbase", product).unwrap(),
        run: 0,
        first_trade_id: first,
        last_trade_id: last,
        after: Some(tick(first - 8).event_time),
        before: Some(tick(last - 6).event_time),
        detected_at: tick(last - 6).event_time,
        cause: GapCause::Disconnect,
        state: GapState::Open,
        repaired_count: 0,
    }
}

fn backfilled(number: u64) -> Tick {
    let mut tick = Tick { sequence: None, best_bid: None, best_ask: None, ..tick(number) };
    tick.flags.backfilled = true;
    tick
}

async fn store_apart(fixture: &Fixture, ticks: &[Tick]) {
    let rows: Vec<_> = ticks.iter().map(|tick| store::TickRow { tick, tick_seq: None }).collect();
    let batch = store::WriteBatch { ticks: &rows, snapshots: &[], written_at: UnixNanos::now() };
    fixture.store.write(&batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_listed_page_by_page() {
    let (postgres, _) = Fixture::start_on_postgres(query::Config::default(), 10).await;
    for mut fixture in [Fixture::start(10).await, postgres] {
        let client = &mut fixture.client;
        let all = v1::ListGapsRequest::default();
        assert_eq!(
            client.list_gaps(all.clone()).await.unwrap().into_inner(),
            v1::ListGapsResponse::default()
        );
        let mut gaps: Vec<Gap> =
            (0..5).map(|number| gap("BTC-USD", 20 + number * 10, 22 + number * 10)).collect();
        gaps.push(gap("ETH-USD", 30, 30));
        for gap in &gaps {
            fixture.store.record_gap(gap).await.unwrap();
        }
        fixture.store.give_up_gap(&gaps[4]).await.unwrap();
        gaps[4].state = GapState::Unrepairable;
        let expected: Vec<v1::Gap> = gaps.iter().map(v1::Gap::from).collect();

        let mut request = v1::ListGapsRequest { page_size: 4, ..all.clone() };
        let first = client.list_gaps(request.clone()).await.unwrap().into_inner();
        assert_eq!(first.gaps, expected[..4]);
        request.page_token = first.next_page_token.clone();
        let second = client.list_gaps(request.clone()).await.unwrap().into_inner();
        assert_eq!((second.gaps, second.next_page_token.as_str()), (expected[4..].to_vec(), ""));
        let of = |product: &str| v1::ListGapsRequest { product: product.into(), ..all.clone() };
        let eth = client.list_gaps(of("ETH-USD")).await.unwrap().into_inner();
        assert_eq!(eth.gaps, expected[5..], "a product of which there is nothing but a gap");
        let lost = v1::ListGapsRequest { states: vec![v1::GapState::Unrepairable.into()], ..of("BTC-USD") };
        assert_eq!(client.list_gaps(lost).await.unwrap().into_inner().gaps, expected[4..5]);
        let range = v1::TimeRange {
            start_time: Some(proto::timestamp(gaps[1].after.unwrap())),
            end_time: Some(proto::timestamp(gaps[2].after.unwrap())),
        };
        let within = v1::ListGapsRequest { time_range: Some(range), ..of("BTC-USD") };
        assert_eq!(client.list_gaps(within).await.unwrap().into_inner().gaps, expected[1..2]);

        request.product = "BTC-USD".into();
        refused(client.list_gaps(request).await, Code::InvalidArgument, "INVALID_FIELD");
        refused(client.list_gaps(of("DOGE-USD")).await, Code::NotFound, "UNKNOWN_PRODUCT");
        for faulty in [
            v1::ListGapsRequest { states: vec![0], ..all.clone() },
            v1::ListGapsRequest { states: vec![9], ..all.clone() },
            v1::ListGapsRequest { venue: "Coin base".into(), ..all.clone() },
            v1::ListGapsRequest { page_size: -1, ..all.clone() },
            v1::ListGapsRequest { page_token: "x".into(), ..all.clone() },
            v1::ListGapsRequest {
                time_range: Some(v1::TimeRange { start_time: range.end_time, end_time: range.start_time }),
                ..all.clone()
            },
        ] {
            refused(client.list_gaps(faulty).await, Code::InvalidArgument, "INVALID_FIELD");
        }
        fixture.stop().await;
    }
}

fn complete(expected: Option<u64>, stored: u64, open: u64) -> Option<v1::Completeness> {
    Some(v1::Completeness {
        expected_trades: expected,
        stored_trades: stored,
        open_gaps: open,
        horizon_time: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_how_complete_they_are() {
    let (postgres, _) = Fixture::start_on_postgres(query::Config::default(), 0).await;
    for mut fixture in [Fixture::start(0).await, postgres] {
        // Ten minutes of six trades each, an empty minute after the third, and three trades missing in the sixth.
        let minute = Duration::from_secs(60);
        let moved = |number: u64, tick: Tick| match number < 18 {
            true => tick,
            false => Tick { event_time: tick.event_time.saturating_add(minute), ..tick },
        };
        let missing = 31..34;
        let present = (0..60).filter(|number| !missing.contains(number));
        fixture.store(&present.map(|number| moved(number, tick(number))).collect::<Vec<_>>()).await;
        let lost = Gap {
            after: Some(tick(30).event_time.saturating_add(minute)),
            before: Some(tick(34).event_time.saturating_add(minute)),
            ..gap("BTC-USD", 38, 40)
        };
        fixture.store.record_gap(&lost).await.unwrap();

        let list = v1::ListTicksRequest { product: "BTC-USD".into(), page_size: 5, ..Default::default() };
        let completeness = async |client: &mut v1::market_data_service_client::MarketDataServiceClient<_>,
                                  range| {
            let request = v1::ListTicksRequest { range, ..list.clone() };
            client.list_ticks(request).await.unwrap().into_inner().completeness
        };
        use v1::list_ticks_request::Range;
        let client = &mut fixture.client;
        assert_eq!(completeness(client, None).await, complete(Some(60), 57, 1));
        let time = |from: u64, until: u64| {
            let at = |number| Some(proto::timestamp(moved(number, tick(number)).event_time));
            Some(Range::TimeRange(v1::TimeRange { start_time: at(from), end_time: at(until) }))
        };
        assert_eq!(completeness(client, time(1, 11)).await, complete(Some(10), 10, 0));
        assert_eq!(completeness(client, time(1, 50)).await, complete(Some(49), 46, 1));
        assert_eq!(completeness(client, time(1, 32)).await, complete(None, 30, 1));
        let sequence = |from: u64, until: u64| {
            let [start, end] = [from, until].map(|number| tick(number).sequence);
            Some(Range::SequenceRange(v1::SequenceRange {
                run: Some(0),
                start_sequence: start,
                end_sequence: end,
            }))
        };
        assert_eq!(completeness(client, sequence(1, 50)).await, complete(Some(49), 46, 1));
        assert_eq!(completeness(client, sequence(500, 600)).await, None, "nothing is there");

        use v1::CandleState::{Complete, Empty, Incomplete, Repaired, Unspecified};
        let candles = async |client: &mut v1::market_data_service_client::MarketDataServiceClient<_>,
                             order: v1::SortOrder,
                             page_size| {
            let mut request = v1::ListCandlesRequest {
                product: "BTC-USD".into(),
                interval: v1::CandleInterval::OneMinute.into(),
                order: order.into(),
                page_size,
                ..Default::default()
            };
            let mut all = Vec::new();
            loop {
                let page = client.list_candles(request.clone()).await.unwrap().into_inner();
                assert!(page.candles.len() <= usize::try_from(page_size).unwrap());
                all.extend(page.candles);
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    return all;
                }
            }
        };
        let told = candles(client, v1::SortOrder::Ascending, 100).await;
        let states: Vec<_> = told.iter().map(v1::Candle::state).collect();
        let mut expected = vec![
            Unspecified,
            Complete,
            Complete,
            Empty,
            Complete,
            Complete,
            Incomplete,
            Complete,
            Complete,
            Complete,
            Unspecified,
        ];
        assert_eq!(states, expected);
        let empty = &told[3];
        assert_eq!(
            (&empty.open, &empty.close, empty.volume.as_str(), empty.trade_count),
            (&None, &None, "0", 0)
        );
        assert_eq!((empty.first_trade_time, empty.completeness), (None, complete(Some(0), 0, 0)));
        assert_eq!(told[6].completeness, complete(Some(6), 3, 1));
        for page_size in [1, 2, 3, 7] {
            assert_eq!(
                candles(client, v1::SortOrder::Ascending, page_size).await,
                told,
                "in pages of {page_size}"
            );
            let mut newest_first = candles(client, v1::SortOrder::Descending, page_size).await;
            newest_first.reverse();
            assert_eq!(newest_first, told, "the newest first, in pages of {page_size}");
        }

        let fills: Vec<Tick> = missing.map(|number| moved(number, backfilled(number))).collect();
        store_apart(&fixture, &fills).await;
        let client = &mut fixture.client;
        let told = candles(client, v1::SortOrder::Ascending, 100).await;
        expected[6] = Repaired;
        assert_eq!(told.iter().map(v1::Candle::state).collect::<Vec<_>>(), expected);
        assert_eq!(completeness(client, None).await, complete(Some(60), 60, 0));
        fixture.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_of_fetched_trades_only_is_known() {
    let mut fixture = Fixture::start(0).await;
    store_apart(&fixture, &[backfilled(1), backfilled(2)]).await;
    let list = v1::ListTicksRequest { product: "BTC-USD".into(), ..Default::default() };
    let ticks = fixture.client.list_ticks(list).await.unwrap().into_inner();
    assert_eq!((ticks.ticks.len(), ticks.completeness), (2, complete(Some(2), 2, 0)));
    let products =
        fixture.client.list_products(v1::ListProductsRequest::default()).await.unwrap().into_inner();
    assert_eq!(products.products[0].product, "BTC-USD");
    fixture.stop().await;
}

fn status(states: Vec<(Instrument, FeedState)>) -> RoleStatus {
    RoleStatus {
        role: "ingestor".into(),
        instance: "test".into(),
        time: UnixNanos::now(),
        ready: true,
        feed_state: Some(FeedState::Live),
        heartbeat_age: Some(Duration::ZERO),
        product_states: states,
        progress: Vec::new(),
        backlog_messages: None,
        ticks: 0,
        rejected: 0,
        duplicates: 0,
    }
}

async fn feed_state(fixture: &Fixture) -> v1::FeedState {
    let request = v1::GetLatestPriceRequest { product: "BTC-USD".into(), ..Default::default() };
    let latest = fixture.client.clone().get_latest_price(request).await.unwrap().into_inner();
    latest.latest_price.unwrap().feed_state()
}

async fn reaches(fixture: &Fixture, wanted: v1::FeedState) {
    eventually(SOON, || async {
        let state = feed_state(fixture).await;
        if state == wanted { Ok(()) } else { Err(format!("{state:?}, expected {wanted:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_feed_is_that_of_the_product() {
    let fixture = Fixture::start(10).await;
    let btc = tick(0).instrument;
    let event =
        |kind| FeedEvent { instrument: btc.clone(), time: UnixNanos::now(), source: "test".into(), kind };
    reaches(&fixture, v1::FeedState::Unspecified).await;
    fixture.bus.publish_status(&status(vec![])).await.unwrap();
    reaches(&fixture, v1::FeedState::Live).await;
    fixture.bus.publish_status(&status(vec![(btc.clone(), FeedState::Stale)])).await.unwrap();
    reaches(&fixture, v1::FeedState::Stale).await;
    // A gap is told of as soon as it is announced; when the ledger never gets it, it was none.
    let lost = gap("BTC-USD", 17, 18);
    fixture.bus.publish_event(&event(EventKind::Gap(lost.clone()))).await.unwrap();
    fixture.bus.publish_status(&status(vec![])).await.unwrap();
    reaches(&fixture, v1::FeedState::Gap).await;
    reaches(&fixture, v1::FeedState::Live).await;
    // For as long as the ledger has it, announced or not.
    fixture.store.record_gap(&lost).await.unwrap();
    fixture.bus.publish_status(&status(vec![])).await.unwrap();
    reaches(&fixture, v1::FeedState::Gap).await;
    let request = v1::GetPipelineStatusRequest { products: vec!["BTC-USD".into()], ..Default::default() };
    let pipeline = fixture.client.clone().get_pipeline_status(request.clone()).await.unwrap().into_inner();
    let product = &pipeline.products[0];
    assert_eq!((product.feed_state(), product.open_gaps), (v1::FeedState::Gap, Some(1)));
    assert_eq!(product.completeness, complete(Some(10), 10, 1));
    assert_eq!(product.rejected_ticks, Some(0));

    store_apart(&fixture, &[backfilled(10), backfilled(11)]).await;
    let repaired = Gap { state: GapState::Repaired, repaired_count: 2, ..lost };
    fixture.bus.publish_event(&event(EventKind::Repaired(repaired))).await.unwrap();
    reaches(&fixture, v1::FeedState::Live).await;
    let refused = RejectedTick {
        instrument: Some(btc.clone()),
        tick: None,
        raw: vec![1],
        raw_length: 1,
        reason: RejectReason::CrossedBook,
        detail: "test".into(),
        source: "test".into(),
        time: UnixNanos::now(),
        identity: "1".into(),
    };
    fixture.bus.publish_reject(&refused).await.unwrap();
    let product = eventually(SOON, || async {
        let pipeline =
            fixture.client.clone().get_pipeline_status(request.clone()).await.unwrap().into_inner();
        let product = pipeline.products.into_iter().next()?;
        (product.rejected_ticks == Some(1)).then_some(product)
    })
    .await;
    assert_eq!((product.open_gaps, product.completeness), (Some(0), complete(Some(12), 12, 0)));
    let hops = fixture.client.clone().get_pipeline_status(request).await.unwrap().into_inner().hops;
    let normalizer = hops.iter().find(|hop| hop.role == "normalizer").unwrap();
    assert_eq!(normalizer.lag, Some(prost_types::Duration::default()), "nothing waits for it");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_say_what_the_exchange_says_of_them() {
    let mut fixture = Fixture::start(1).await;
    let details = |status: &str| FeedEvent {
        instrument: tick(0).instrument,
        time: UnixNanos::now(),
        source: "test".into(),
        kind: EventKind::Product(ProductDetails {
            base_currency: "BTC".into(),
            quote_currency: "USD".into(),
            base_increment: Decimal::new(1, 8),
            quote_increment: Decimal::new(1, 2),
            status: status.into(),
        }),
    };
    let request = v1::ListProductsRequest::default;
    let product = fixture.client.list_products(request()).await.unwrap().into_inner().products.remove(0);
    assert_eq!((product.base_currency, product.status), (None, None), "the exchange was not asked");
    for status in ["online", "delisted"] {
        fixture.bus.publish_event(&details(status)).await.unwrap();
        let product = eventually(SOON, || async {
            let products =
                fixture.client.clone().list_products(request()).await.unwrap().into_inner().products;
            products.into_iter().find(|product| product.status.as_deref() == Some(status))
        })
        .await;
        let [base, quote] = [product.base_increment, product.quote_increment].map(Option::unwrap);
        assert_eq!((base.as_str(), quote.as_str()), ("0.00000001", "0.01"));
        assert_eq!(
            (product.base_currency.unwrap(), product.quote_currency.unwrap()),
            ("BTC".into(), "USD".into())
        );
    }
    fixture.stop().await;
}
