//! REST, on the same port as the feed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::support::{Client, Exchange, Http, data, market, replay};
use domain::{Product, Tick, UnixNanos};
use simulator::{Config, Rate, RestConfig, RestRate, Speed};
use venues::coinbase::rest::{self, GapFetch, parse_products, parse_trades};
use venues::coinbase::{Instruments, Message, parse};

fn unlimited(config: Config) -> Config {
    Config { rest: RestConfig { rate: None, ..config.rest }, ..config }
}

#[tokio::test]
async fn products_are_listed_and_what_is_not_there_is_not_found() {
    let exchange = Exchange::start(market(&["BTC-USD", "ADA-USD"], Rate::PerSecond(5))).await;
    let mut http = Http::connect(&exchange.url).await;
    let list = http.get(rest::PRODUCTS_PATH).await;
    assert_eq!((list.status, list.header("content-type")), (200, Some("application/json; charset=utf-8")));
    let list = parse_products(&list.body).unwrap();
    let said: Vec<_> = list
        .products
        .iter()
        .map(|product| {
            let steps = [product.base_increment.to_string(), product.quote_increment.to_string()];
            (product.product.as_str(), steps)
        })
        .collect();
    assert_eq!(
        said,
        [
            ("ADA-USD", ["0.00000001".to_owned(), "0.0001".to_owned()]),
            ("BTC-USD", ["0.00000001".to_owned(), "0.01".to_owned()])
        ]
    );
    let one = http.get("/products/BTC-USD").await;
    assert_eq!(one.json()["base_currency"], "BTC");
    for (path, status, message) in [
        ("/products/X-USD/trades", 404, "NotFound"),
        ("/products/X-USD", 404, "NotFound"),
        ("/accounts", 404, "Route not found"),
        ("/products/BTC-USD/trades?limit=x", 400, "limit must be a number from 1 to 1000"),
    ] {
        let answer = http.get(path).await;
        assert_eq!((answer.status, &answer.json()["message"]), (status, &message.into()), "{path}");
    }
    exchange.stop().await;
}

/// Everything that the feed told can be fetched, page by page, with equal numbers and the maker's side.
#[tokio::test]
async fn a_gap_is_fetched_with_the_trades_that_the_feed_told() {
    let exchange = Exchange::start(unlimited(market(&["BTC-USD"], Rate::Max))).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let product = Product::new("BTC-USD").unwrap();
    let instruments = Instruments::new(std::slice::from_ref(&product));
    let mut told: BTreeMap<u64, Tick> = BTreeMap::new();
    while told.len() < 2_500 {
        let text = client.text().await;
        let Message::Ticker(ticker) = parse(text.as_bytes()).unwrap() else { panic!("{text}") };
        let tick = ticker.to_tick(&instruments, UnixNanos::now()).unwrap();
        told.insert(tick.trade_id().unwrap(), tick);
    }
    let (first, last) = (*told.keys().next().unwrap(), *told.keys().next_back().unwrap());
    let mut http = Http::connect(&exchange.url).await;
    let mut gap = GapFetch::new(first, last);
    let (mut fetched, mut pages) = (Vec::new(), 0);
    while let Some(request) = gap.next() {
        let answer = http.get(&rest::trades_path(&product, request.limit, Some(request.after))).await;
        rest::check_status(answer.status, &answer.body).unwrap();
        let trades = parse_trades(&answer.body).unwrap();
        assert_eq!(answer.header(rest::CB_BEFORE), Some(&*trades[0].trade_id.to_string()));
        assert_eq!(answer.header(rest::CB_AFTER), Some(&*trades.last().unwrap().trade_id.to_string()));
        let page = gap.take(trades).unwrap();
        assert_eq!(page.absent, []);
        fetched.extend(page.trades);
        pages += 1;
    }
    assert_eq!((fetched.len(), pages), (2_500, 3));
    for trade in fetched {
        let tick = &told[&trade.trade_id];
        let mut filled = trade.to_tick(&tick.instrument, tick.receive_time);
        domain::validate(&mut filled).unwrap();
        assert_eq!((filled.last_trade, filled.event_time), (tick.last_trade.clone(), tick.event_time));
    }
    exchange.stop().await;
}

#[tokio::test]
async fn a_recording_has_its_trades_in_rest_once_they_were_replayed() {
    let path = data("2021-04-17-mixed.jsonl.gz");
    let exchange = Exchange::start(replay(&path, Speed::Max)).await;
    let mut http = Http::connect(&exchange.url).await;
    let trades =
        async |http: &mut Http| parse_trades(&http.get("/products/SKL-USD/trades").await.body).unwrap();
    assert_eq!(trades(&mut http).await, []);
    let recorded = crate::support::recorded(&path);
    let mut client = Client::subscribed(&exchange.url, &["SKL-USD"], &["matches"]).await;
    let last = recorded.iter().rev().find(|line| line.contains("SKL-USD")).unwrap();
    while client.text().await != *last {}
    let ids: Vec<u64> = trades(&mut http).await.iter().map(|trade| trade.trade_id).collect();
    let mut expected: Vec<u64> = recorded
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["product_id"] == "SKL-USD")
        .filter_map(|line| line["trade_id"].as_u64())
        .collect();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    expected.dedup();
    assert!(!ids.is_empty());
    assert_eq!(ids, expected);
    exchange.stop().await;
}

#[tokio::test]
async fn too_many_requests_of_an_address_are_refused() {
    let number = |number| NonZeroU32::new(number).unwrap();
    let rate = Some(RestRate { per_second: number(1), burst: number(3) });
    let config = market(&["BTC-USD"], Rate::PerSecond(5));
    let exchange = Exchange::start(Config { rest: RestConfig { rate, ..config.rest }, ..config }).await;
    let mut http = Http::connect(&exchange.url).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(http.get("/products").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    let refused = http.get("/products").await;
    assert_eq!(refused.json()["message"], "Public rate limit exceeded");
    exchange.stop().await;
}

#[tokio::test]
async fn a_bad_handshake_is_told_what_is_wrong() {
    let exchange = Exchange::start(market(&["BTC-USD"], Rate::PerSecond(5))).await;
    let mut http = Http::connect(&exchange.url).await;
    let answer = http.get_with("/", &[("upgrade", "websocket"), ("connection", "upgrade")]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["message"].as_str().unwrap().contains("Sec-WebSocket"), "{}", answer.json());
    exchange.stop().await;
}
