//! The JSON form of a market state: `snapshots.state`, version 1.
//!
//! Its names are those of the snapshot message on the WebSocket. Numbers are texts, which every JSON library keeps exactly;
//! times are nanoseconds since 1970. What is unknown is left out.

use domain::{DayStats, Decimal, MarketState, Quote, Snapshot, Trade, UnixNanos, parse_number};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{StoreError, row::side};

/// The version that is written, and the only one that is read.
pub(crate) const VERSION: i32 = 1;

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_trade: Option<LastTrade>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best_bid: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best_ask: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    day: Option<Day>,
    last_seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_update: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LastTrade {
    px: String,
    qty: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    side: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trade_id: Option<u64>,
    ts: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Level {
    px: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    qty: Option<String>,
    ts: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Day {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_24h: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    high_24h: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    low_24h: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume_24h: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume_30d: Option<String>,
    ts: i64,
}

pub(crate) fn write(snapshot: &Snapshot) -> Value {
    let text = |number: &Option<Decimal>| number.map(|number| number.to_string());
    let level = |(quote, at): &(Quote, UnixNanos)| Level {
        px: quote.price.to_string(),
        qty: text(&quote.size),
        ts: at.nanos(),
    };
    let known = &snapshot.state;
    let state = State {
        last_trade: known.last_trade.as_ref().map(|(trade, at)| LastTrade {
            px: trade.price.to_string(),
            qty: trade.size.to_string(),
            side: trade.side.map(|side| side.as_str().to_owned()),
            trade_id: trade.trade_id,
            ts: at.nanos(),
        }),
        best_bid: known.best_bid.as_ref().map(level),
        best_ask: known.best_ask.as_ref().map(level),
        day: known.day.as_ref().map(|(day, at)| Day {
            open_24h: text(&day.open_24h),
            high_24h: text(&day.high_24h),
            low_24h: text(&day.low_24h),
            volume_24h: text(&day.volume_24h),
            volume_30d: text(&day.volume_30d),
            ts: at.nanos(),
        }),
        last_seq: snapshot.position.sequence,
        last_update: known.updated_at().map(UnixNanos::nanos),
    };
    // A struct of texts and integers always has a JSON form.
    serde_json::to_value(state).unwrap_or_default()
}

pub(crate) fn read(value: &Value) -> Result<MarketState, StoreError> {
    let state = State::deserialize(value).map_err(|error| unreadable(&error.to_string()))?;
    Ok(MarketState {
        last_trade: state.last_trade.as_ref().map(trade).transpose()?,
        best_bid: state.best_bid.as_ref().map(level).transpose()?,
        best_ask: state.best_ask.as_ref().map(level).transpose()?,
        day: state.day.as_ref().map(day).transpose()?,
    })
}

fn trade(trade: &LastTrade) -> Result<(Trade, UnixNanos), StoreError> {
    let read = Trade {
        price: number(&trade.px)?,
        size: number(&trade.qty)?,
        side: trade.side.as_deref().map(side).transpose()?,
        trade_id: trade.trade_id,
    };
    Ok((read, UnixNanos::new(trade.ts)))
}

fn level(level: &Level) -> Result<(Quote, UnixNanos), StoreError> {
    let size = level.qty.as_deref().map(number).transpose()?;
    Ok((Quote { price: number(&level.px)?, size }, UnixNanos::new(level.ts)))
}

fn day(day: &Day) -> Result<(DayStats, UnixNanos), StoreError> {
    let read = |text: &Option<String>| text.as_deref().map(number).transpose();
    let stats = DayStats {
        open_24h: read(&day.open_24h)?,
        high_24h: read(&day.high_24h)?,
        low_24h: read(&day.low_24h)?,
        volume_24h: read(&day.volume_24h)?,
        volume_30d: read(&day.volume_30d)?,
    };
    Ok((stats, UnixNanos::new(day.ts)))
}

fn number(text: &str) -> Result<Decimal, StoreError> {
    parse_number(text).map_err(|_| unreadable(text))
}

fn unreadable(what: &str) -> StoreError {
    StoreError::corrupt("snapshots", "state", what)
}
