//! What happens to requests to REST.

use std::time::{Duration, Instant};

use super::{faulty, ids, read_until};
use crate::support::{Client, Exchange, Http};
use venues::coinbase::rest::{check_status, parse_products, parse_trades};

#[tokio::test]
async fn answers_are_late_refused_failed_or_garbage_as_often_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let faults =
        ["rest_429:count=2", "rest_500:count=1", "rest_garbage:count=1", "rest_slow:count=1,by=300ms"];
    let (config, _) = faulty(&["BTC-USD"], &folder, &faults);
    let exchange = Exchange::start(config).await;
    let mut http = Http::connect(&exchange.url).await;
    let mut faults = Vec::new();
    for _ in 0..3 {
        let answer = http.get("/products").await;
        faults.push(check_status(answer.status, &answer.body).unwrap_err().to_string());
    }
    let limit = "the exchange answered 429: Public rate limit exceeded";
    assert_eq!(faults, [limit, limit, "the exchange answered 500: Internal server error"]);
    let garbage = http.get("/products").await;
    assert_eq!(garbage.status, 200);
    assert!(parse_products(&garbage.body).is_err());
    for slow in [true, false] {
        let started = Instant::now();
        assert_eq!(parse_products(&http.get("/products").await.body).unwrap().products.len(), 1);
        assert!(!slow || started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    }
    exchange.stop().await;
}

#[tokio::test]
async fn a_fault_of_one_product_leaves_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = faulty(&["BTC-USD", "ETH-USD"], &folder, &["rest_500:products=BTC-USD"]);
    let exchange = Exchange::start(config).await;
    let mut http = Http::connect(&exchange.url).await;
    for (path, status) in
        [("/products/BTC-USD/trades", 500), ("/products/ETH-USD/trades", 200), ("/products", 200)]
    {
        assert_eq!(http.get(path).await.status, status, "{path}");
    }
    exchange.stop().await;
}

#[tokio::test]
async fn trades_that_are_gone_are_never_in_rest() {
    let folder = tempfile::tempdir().unwrap();
    let faults = ["drop:after_ticks=50,count=10", "rest_gone:after_ticks=55,count=10"];
    let (config, _) = faulty(&["BTC-USD"], &folder, &faults);
    let exchange = Exchange::start(config).await;
    let mut client = Client::subscribed(&exchange.url, &["BTC-USD"], &["ticker"]).await;
    let (tickers, _) =
        read_until(&mut client, |tickers, _| tickers.values().any(|list| list.len() > 100)).await;
    let got = ids(&tickers["BTC-USD"]);
    let missing: Vec<u64> = (got[0]..*got.last().unwrap()).filter(|id| !got.contains(id)).collect();
    assert_eq!(missing.len(), 10);
    let mut http = Http::connect(&exchange.url).await;
    let trades = parse_trades(&http.get("/products/BTC-USD/trades").await.body).unwrap();
    let known: Vec<u64> = trades.iter().map(|trade| trade.trade_id).collect();
    let repairable: Vec<bool> = missing.iter().map(|id| known.contains(id)).collect();
    assert_eq!(repairable, [[true; 5], [false; 5]].concat(), "the first half can be fetched");
    assert!(!known.contains(&(missing[9] + 1)) && known.contains(&(missing[9] + 6)));
    exchange.stop().await;
}
