//! Ticks to write.

use domain::{Decimal, Instrument, Quote, Side, Tick, TickFlags, Trade, UnixNanos};

/// 2026-11-22T00:00:00Z.
pub(crate) const DAY: UnixNanos = UnixNanos::new(1_795_305_600_000_000_000);

pub(crate) fn instrument(product: &str) -> Instrument {
    Instrument::new("coinbase", product).unwrap()
}

pub(crate) fn number(text: &str) -> Decimal {
    domain::parse_number(text).unwrap()
}

/// `seconds` after [`DAY`].
pub(crate) fn at(seconds: i64) -> UnixNanos {
    UnixNanos::new(DAY.nanos() + seconds * 1_000_000_000)
}

/// A trade of BTC-USD, number `id`, with the sequence `10 * id`.
pub(crate) fn trade(id: u64, event_time: UnixNanos, price: &str) -> Tick {
    trade_of("BTC-USD", id, event_time, price)
}

pub(crate) fn trade_of(product: &str, id: u64, event_time: UnixNanos, price: &str) -> Tick {
    Tick {
        instrument: instrument(product),
        run: 0,
        sequence: Some(id * 10),
        event_time,
        receive_time: event_time.saturating_add(std::time::Duration::from_nanos(1_234_567)),
        last_trade: Some(Trade {
            price: number(price),
            size: Decimal::new(i64::try_from(id % 1000).unwrap() + 1, 8),
            side: Some(if id.is_multiple_of(2) { Side::Buy } else { Side::Sell }),
            trade_id: Some(id),
        }),
        best_bid: Some(Quote { price: number("0.01"), size: Some(number("1.5")) }),
        best_ask: Some(Quote { price: number("99999999.99"), size: None }),
        day: None,
        flags: TickFlags::default(),
    }
}

/// A change of the book of BTC-USD.
pub(crate) fn quote(sequence: u64, event_time: UnixNanos, bid: &str) -> Tick {
    Tick {
        sequence: Some(sequence),
        last_trade: None,
        best_bid: Some(Quote { price: number(bid), size: None }),
        best_ask: None,
        ..trade(1, event_time, "1")
    }
}

/// The same trade as it comes over REST.
pub(crate) fn backfilled(tick: &Tick) -> Tick {
    Tick {
        sequence: None,
        best_bid: None,
        best_ask: None,
        flags: TickFlags { backfilled: true, locked_book: false },
        ..tick.clone()
    }
}
