//! What a recording holds, in numbers.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use domain::{FeedSession, MissingTrades, Product, TradePlace, TradeTracker};
use ingestor::Heard;

/// How many gaps of a product are told one by one.
const GAPS_SHOWN_MAX: usize = 10;

/// Counts what was heard, and what was not: trades are numbered without holes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    frames: u64,
    sessions: HashMap<usize, FeedSession>,
    products: BTreeMap<Product, OfProduct>,
}

#[derive(Debug, Default)]
struct OfProduct {
    ticks: u64,
    tracker: TradeTracker,
    gaps: u64,
    missing: u64,
    /// The first gaps.
    shown: Vec<(u64, u64)>,
}

impl Tally {
    pub(super) fn take(&mut self, heard: &Heard) {
        match heard {
            Heard::Opened { connection, session } => {
                self.sessions.insert(*connection, session.clone());
            }
            Heard::Frame { .. } => self.frames += 1,
            Heard::Tick { connection, tick } => {
                let of_product = self.products.entry(tick.instrument.product.clone()).or_default();
                of_product.ticks += 1;
                if let Some((trade_id, session)) = tick.trade_id().zip(self.sessions.get(connection)) {
                    if of_product.tracker.place(trade_id) == TradePlace::Missing {
                        of_product.missing = of_product.missing.saturating_sub(1);
                    }
                    let missing = of_product.tracker.trade(trade_id, tick.event_time, session, false);
                    of_product.lose(missing);
                }
            }
            Heard::Overdue { connection, instrument, heartbeat } => {
                let of_product = self.products.entry(instrument.product.clone()).or_default();
                if let Some(session) = self.sessions.get(connection) {
                    let missing = of_product.tracker.heartbeat(heartbeat, session);
                    of_product.lose(missing);
                }
            }
            Heard::Closed { .. } => {}
        }
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn ticks(&self) -> u64 {
        self.products.values().map(|of_product| of_product.ticks).sum()
    }

    /// How many trades did not come, by their numbers.
    pub(super) fn missing(&self) -> u64 {
        self.products.values().map(|of_product| of_product.missing).sum()
    }
}

impl OfProduct {
    fn lose(&mut self, missing: Vec<MissingTrades>) {
        for MissingTrades { first, last, .. } in missing {
            self.gaps += 1;
            self.missing += last - first + 1;
            if self.shown.len() < GAPS_SHOWN_MAX {
                self.shown.push((first, last));
            }
        }
    }
}

impl fmt::Display for Tally {
    /// A line for each product.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (product, OfProduct { ticks, gaps, missing, shown, .. }) in &self.products {
            write!(f, "  {product}: {ticks} ticks, {gaps} gaps")?;
            if *gaps > 0 {
                let ranges: Vec<String> =
                    shown.iter().map(|(first, last)| format!("{first}..{last}")).collect();
                let more =
                    if shown.len() < usize::try_from(*gaps).unwrap_or(usize::MAX) { ", …" } else { "" };
                write!(f, " ({}{more}), {missing} trades missing", ranges.join(", "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Decimal, Heartbeat, Instrument, Tick, TickFlags, Trade, UnixNanos};

    fn tick(trade_id: u64) -> Heard {
        let time = UnixNanos::from_seconds(1_700_000_000).unwrap();
        let trade = Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id: Some(trade_id) };
        let tick = Tick {
            instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
            run: 0,
            sequence: Some(trade_id),
            event_time: time,
            receive_time: time,
            last_trade: Some(trade),
            best_bid: None,
            best_ask: None,
            day: None,
            flags: TickFlags::default(),
        };
        Heard::Tick { connection: 1, tick: Box::new(tick) }
    }

    #[test]
    fn counts_what_is_missing_until_it_comes() {
        let mut tally = Tally::default();
        let session = FeedSession { id: "a-1".into(), started: UnixNanos::new(0) };
        tally.take(&Heard::Opened { connection: 1, session });
        for trade_id in [10, 11, 14, 13, 15, 15] {
            tally.take(&tick(trade_id));
        }
        let heartbeat = Heartbeat { last_trade_id: 17, time: UnixNanos::new(0) };
        let instrument = Instrument::new("coinbase", "BTC-USD").unwrap();
        tally.take(&Heard::Overdue { connection: 1, instrument, heartbeat });
        assert_eq!((tally.ticks(), tally.missing()), (6, 3));
        assert_eq!(tally.to_string(), "  BTC-USD: 6 ticks, 2 gaps (12..13, 16..17), 3 trades missing\n");
    }
}
