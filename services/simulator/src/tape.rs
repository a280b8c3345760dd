//! The newest trades of each product, as REST tells them: also those that a client was never sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use domain::{Decimal, Side, UnixNanos, parse_number};
use serde::Serialize;
use venues::coinbase::TickerMessage;
use venues::coinbase::rest::RestTrade;

use crate::wire;

/// REST writes prices and sizes with at least this many decimals.
const DECIMALS_MIN: u32 = 8;

/// The newest trades of every product, so many of each that a client can fetch what it missed.
#[derive(Debug)]
pub(crate) struct Tape {
    trades_max: usize,
    products: BTreeMap<String, Mutex<VecDeque<RestTrade>>>,
}

/// A trade as it stands in an answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) trade_id: u64,
    side: &'static str,
    size: String,
    price: String,
    time: String,
}

impl Tape {
    pub(crate) fn new<'a>(products: impl IntoIterator<Item = &'a String>, trades_max: usize) -> Self {
        let products = products.into_iter().map(|product| (product.clone(), Mutex::default())).collect();
        Self { trades_max: trades_max.max(1), products }
    }

    /// Keeps the trade, in its place by number, and forgets the oldest one beyond the limit. A known one changes nothing.
    pub(crate) fn record(&self, product: &str, trade: RestTrade) {
        let Some(trades) = self.products.get(product) else {
            return;
        };
        let mut trades = trades.lock().unwrap_or_else(PoisonError::into_inner);
        if trades.back().is_none_or(|newest| newest.trade_id < trade.trade_id) {
            trades.push_back(trade);
        } else if let Err(place) = trades.binary_search_by_key(&trade.trade_id, |known| known.trade_id) {
            trades.insert(place, trade);
        }
        if trades.len() > self.trades_max {
            trades.pop_front();
        }
    }

    /// Up to `limit` trades, newest first: those newer than `before` and older than `after`. `None` for a product that is
    /// not traded.
    ///
    /// As on the exchange, `before` alone gives the newest of all that follow it, not those right after it.
    pub(crate) fn page(
        &self,
        product: &str,
        limit: usize,
        before: Option<u64>,
        after: Option<u64>,
    ) -> Option<Vec<Entry>> {
        let trades = self.products.get(product)?.lock().unwrap_or_else(PoisonError::into_inner);
        let end = after.map_or(trades.len(), |after| trades.partition_point(|trade| trade.trade_id < after));
        let wanted = trades.range(..end).rev();
        let wanted = wanted.take_while(|trade| before.is_none_or(|before| trade.trade_id > before));
        Some(wanted.take(limit).map(entry).collect())
    }
}

fn entry(trade: &RestTrade) -> Entry {
    let padded = |number: Decimal| {
        let mut number = number;
        number.rescale(number.scale().max(DECIMALS_MIN));
        number.to_string()
    };
    Entry {
        trade_id: trade.trade_id,
        side: trade.maker_side.as_str(),
        size: padded(trade.size),
        price: padded(trade.price),
        time: wire::time(trade.time),
    }
}

/// The trade that a recorded ticker tells of, where it is sound and says everything.
pub(crate) fn of_ticker(ticker: &TickerMessage<'_>) -> Option<RestTrade> {
    let taker_side = match ticker.side.text()? {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => return None,
    };
    Some(RestTrade {
        trade_id: ticker.trade_id.integer()?,
        time: UnixNanos::parse_rfc3339(ticker.time.text()?).ok()?,
        price: parse_number(ticker.price.text()?).ok()?,
        size: parse_number(ticker.last_size.text()?).ok()?,
        maker_side: taker_side.opposite(),
    })
}

#[cfg(test)]
mod tests;
