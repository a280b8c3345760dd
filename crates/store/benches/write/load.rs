//! Ticks like those of a busy exchange: 50 products, a thousand ticks a second between them.

use domain::{
    Decimal, Instrument, MarketState, Position, Quote, Side, Snapshot, Tick, TickFlags, Trade, UnixNanos,
};

/// How many products there are.
pub(crate) const PRODUCTS: usize = 50;
/// 2026-11-22T00:00:00Z.
const START_NS: i64 = 1_795_305_600_000_000_000;
const STEP_NS: i64 = 1_000_000;

/// A market that goes on: no two ticks are the same.
#[derive(Default)]
pub(crate) struct Load {
    made: u64,
}

impl Load {
    pub(crate) fn trades(&mut self, count: usize) -> Vec<Tick> {
        (0..count).map(|_| self.next(true)).collect()
    }

    pub(crate) fn quotes(&mut self, count: usize) -> Vec<Tick> {
        (0..count).map(|_| self.next(false)).collect()
    }

    fn next(&mut self, is_trade: bool) -> Tick {
        self.made += 1;
        let number = self.made;
        let product = number % PRODUCTS as u64;
        let event_time = UnixNanos::new(START_NS + i64::try_from(number).unwrap() * STEP_NS);
        let price = |offset: u64| {
            let cents = 6_100_000 + product * 1000 + number % 997 + offset;
            Decimal::new(i64::try_from(cents).unwrap(), 2)
        };
        let size = |factor: u64| Decimal::new(i64::try_from(number * factor % 99_991 + 1).unwrap(), 8);
        let trade = Trade {
            price: price(1),
            size: size(7),
            side: Some(if number.is_multiple_of(2) { Side::Buy } else { Side::Sell }),
            trade_id: Some(900_000_000 + number),
        };
        Tick {
            instrument: Instrument::new("coinbase", &format!("PROD{product}-USD")).unwrap(),
            run: 1,
            sequence: Some(50_000_000_000 + number),
            event_time,
            receive_time: UnixNanos::new(event_time.nanos() + 1_234_567),
            last_trade: is_trade.then_some(trade),
            best_bid: Some(Quote { price: price(0), size: Some(size(11)) }),
            best_ask: Some(Quote { price: price(2), size: Some(size(13)) }),
            day: None,
            flags: TickFlags::default(),
        }
    }
}

/// The state of each product after `ticks`.
pub(crate) fn snapshots(ticks: &[Tick]) -> Vec<Snapshot> {
    let mut newest = std::collections::BTreeMap::new();
    for tick in ticks {
        newest.insert(&tick.instrument, tick);
    }
    let snapshot = |tick: &Tick| Snapshot {
        instrument: tick.instrument.clone(),
        position: Position { run: tick.run, sequence: tick.sequence.unwrap() },
        snapshot_time: tick.receive_time,
        state: MarketState {
            last_trade: tick.last_trade.clone().map(|trade| (trade, tick.event_time)),
            best_bid: tick.best_bid.clone().map(|quote| (quote, tick.event_time)),
            best_ask: tick.best_ask.clone().map(|quote| (quote, tick.event_time)),
            day: None,
        },
    };
    newest.into_values().map(snapshot).collect()
}
