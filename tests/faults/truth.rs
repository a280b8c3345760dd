//! What the exchange sent, by its own account.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domain::{Decimal, UnixNanos, parse_number};
use serde_json::Value;

/// A trade as the exchange sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trade {
    pub(crate) price: Decimal,
    pub(crate) size: Decimal,
    pub(crate) side: String,
    pub(crate) ts_event: i64,
}

/// Every trade that was sent, per product and trade_id, and the ranges of those that were made.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) sent: BTreeMap<String, BTreeMap<u64, Trade>>,
    /// The first and last trade of each product in each life of the exchange: trade_ids are consecutive in between.
    pub(crate) made: BTreeMap<String, Vec<(u64, u64)>>,
    /// Trades whose ticker went out with a book that cannot be.
    pub(crate) faulty: BTreeMap<String, BTreeSet<u64>>,
}

impl Truth {
    /// Adds what one life of the exchange has written. A line that says `"sent":false` is a trade that was made only.
    pub(crate) fn add_file(&mut self, file: &Path) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut ends: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for line in text.lines() {
            // The last line of an exchange that was killed may be cut.
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let (Some(product), Some(trade_id)) = (line["product"].as_str(), line["trade_id"].as_u64())
            else {
                continue;
            };
            let end = ends.entry(product.to_owned()).or_insert((trade_id, trade_id));
            *end = (end.0.min(trade_id), end.1.max(trade_id));
            if line["faulty"] == true {
                self.faulty.entry(product.to_owned()).or_default().insert(trade_id);
            }
            if line["sent"] != false
                && let Some(trade) = trade(&line)
            {
                self.sent.entry(product.to_owned()).or_default().entry(trade_id).or_insert(trade);
            }
        }
        for (product, ends) in ends {
            self.made.entry(product).or_default().push(ends);
        }
    }

    pub(crate) fn trade(&self, product: &str, trade_id: u64) -> Option<&Trade> {
        self.sent.get(product)?.get(&trade_id)
    }

    /// The newest trade that was sent; 0 when there is none.
    pub(crate) fn newest_sent(&self, product: &str) -> u64 {
        self.sent.get(product).and_then(|sent| sent.keys().next_back().copied()).unwrap_or_default()
    }

    /// Whether the ticker of this trade was sent with a fault.
    pub(crate) fn is_faulty(&self, product: &str, trade_id: u64) -> bool {
        self.faulty.get(product).is_some_and(|faulty| faulty.contains(&trade_id))
    }

    /// Whether the exchange made this trade, sent or not.
    pub(crate) fn was_made(&self, product: &str, trade_id: u64) -> bool {
        self.made
            .get(product)
            .is_some_and(|ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&trade_id)))
    }

    /// Every trade of a product that was made from `first` on.
    pub(crate) fn made_from(&self, product: &str, first: u64) -> BTreeSet<u64> {
        let ranges = self.made.get(product).map(Vec::as_slice).unwrap_or_default();
        ranges.iter().flat_map(|(from, to)| (*from).max(first)..=*to).collect()
    }
}

fn trade(line: &Value) -> Option<Trade> {
    let text = |key: &str| line[key].as_str();
    Some(Trade {
        price: parse_number(text("price")?).ok()?,
        size: parse_number(text("size")?).ok()?,
        side: text("side")?.to_owned(),
        ts_event: UnixNanos::parse_rfc3339(text("time")?).ok()?.nanos(),
    })
}
