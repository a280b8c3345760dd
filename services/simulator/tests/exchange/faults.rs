//! Scripted faults, as a client meets them.

mod connections;
mod frames;
mod requests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::support::{Client, market, script, truth};
use serde_json::Value;
use simulator::{Config, Rate};

/// A market at 500 tickers a second with faults, and where its truth will be.
fn faulty(products: &[&str], folder: &tempfile::TempDir, faults: &[&str]) -> (Config, PathBuf) {
    let path = folder.path().join("truth.jsonl");
    let config = market(products, Rate::PerSecond(500));
    (Config { truth: Some(path.clone()), faults: script(faults), ..config }, path)
}

/// Reads until `enough` says so of the tickers, by product; returns those, and the last heartbeats.
async fn read_until(
    client: &mut Client,
    mut enough: impl FnMut(&BTreeMap<String, Vec<Value>>, &BTreeMap<String, Value>) -> bool,
) -> (BTreeMap<String, Vec<Value>>, BTreeMap<String, Value>) {
    let (mut tickers, mut heartbeats) = (BTreeMap::<String, Vec<Value>>::new(), BTreeMap::new());
    while !enough(&tickers, &heartbeats) {
        let message = client.next().await;
        let product = message["product_id"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str().unwrap() {
            "ticker" => tickers.entry(product).or_default().push(message),
            "heartbeat" => drop(heartbeats.insert(product, message)),
            _ => {}
        }
    }
    (tickers, heartbeats)
}

fn ids<'a>(tickers: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    tickers.into_iter().map(|ticker| ticker["trade_id"].as_u64().unwrap()).collect()
}

/// The trades of the truth that a fault kept from somebody: trade, fault, and whether somebody else got it.
fn kept(path: &std::path::Path) -> Vec<(u64, String, bool)> {
    let kept = truth(path).into_iter().filter(|line| !line["kept_by"].is_null());
    kept.map(|line| {
        let fault = line["kept_by"].as_str().unwrap().to_owned();
        (line["trade_id"].as_u64().unwrap(), fault, line["sent"].as_bool().unwrap())
    })
    .collect()
}

/// Every trade of the market is in the truth exactly once.
fn assert_complete(path: &std::path::Path) {
    let mut products: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in truth(path) {
        let trades = products.entry(line["product"].as_str().unwrap().to_owned()).or_default();
        trades.push(line["trade_id"].as_u64().unwrap());
    }
    for (product, mut trades) in products {
        trades.sort_unstable();
        let first = trades[0];
        assert_eq!(trades, (first..first + trades.len() as u64).collect::<Vec<_>>(), "{product}");
    }
}
