//! The market state of a product as of a position.

use crate::{DayStats, Instrument, Position, Quote, Tick, Trade, UnixNanos};

/// What is known of a market: the newest of each group, with the event time at which it was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketState {
    /// The newest trade and its time.
    pub last_trade: Option<(Trade, UnixNanos)>,
    /// The newest best bid and its time.
    pub best_bid: Option<(Quote, UnixNanos)>,
    /// The newest best ask and its time.
    pub best_ask: Option<(Quote, UnixNanos)>,
    /// The newest statistics of the day and their time.
    pub day: Option<(DayStats, UnixNanos)>,
}

impl MarketState {
    /// Takes over what `tick` says and keeps what it leaves out.
    pub fn apply(&mut self, tick: &Tick) {
        let at = tick.event_time;
        replace(&mut self.last_trade, &tick.last_trade, at);
        replace(&mut self.best_bid, &tick.best_bid, at);
        replace(&mut self.best_ask, &tick.best_ask, at);
        replace(&mut self.day, &tick.day, at);
    }

    /// The event time of the newest group; `None` while nothing is known.
    pub fn updated_at(&self) -> Option<UnixNanos> {
        let trade = self.last_trade.as_ref().map(|(_, at)| *at);
        let bid = self.best_bid.as_ref().map(|(_, at)| *at);
        let ask = self.best_ask.as_ref().map(|(_, at)| *at);
        let day = self.day.as_ref().map(|(_, at)| *at);
        trade.max(bid).max(ask).max(day)
    }
}

fn replace<T: Clone>(known: &mut Option<(T, UnixNanos)>, said: &Option<T>, at: UnixNanos) {
    if let Some(said) = said {
        *known = Some((said.clone(), at));
    }
}

/// The full market state of a product as of a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where and what.
    pub instrument: Instrument,
    /// The last tick that went in.
    pub position: Position,
    /// When it was taken, by our clock.
    pub snapshot_time: UnixNanos,
    /// The state.
    pub state: MarketState,
}

impl Snapshot {
    /// Applies `tick` when it is newer than what is known, and says whether it was.
    ///
    /// Backfilled ticks have no position and never change the last value.
    pub fn advance(&mut self, tick: &Tick) -> bool {
        let Some(position) = tick.position() else {
            return false;
        };
        if position <= self.position {
            return false;
        }
        self.position = position;
        self.state.apply(tick);
        true
    }

    /// The snapshot that a first tick makes; `None` for a backfilled one.
    pub fn first(tick: &Tick) -> Option<Self> {
        let mut state = MarketState::default();
        state.apply(tick);
        Some(Self {
            instrument: tick.instrument.clone(),
            position: tick.position()?,
            snapshot_time: tick.receive_time,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decimal, TickFlags};

    fn tick(sequence: u64, price: Option<i64>) -> Tick {
        let at = UnixNanos::new(i64::try_from(sequence).unwrap());
        Tick {
            instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
            run: 0,
            sequence: Some(sequence),
            event_time: at,
            receive_time: at,
            last_trade: price.map(|price| Trade {
                price: Decimal::from(price),
                size: Decimal::ONE,
                side: None,
                trade_id: None,
            }),
            best_bid: Some(Quote { price: Decimal::from(sequence), size: None }),
            best_ask: None,
            day: None,
            flags: TickFlags::default(),
        }
    }

    #[test]
    fn advances_by_position_and_keeps_what_is_left_out() {
        let mut snapshot = Snapshot::first(&tick(5, Some(50))).unwrap();
        assert!(snapshot.advance(&tick(6, None)));
        assert!(!snapshot.advance(&tick(6, Some(1))));
        assert!(!snapshot.advance(&tick(4, Some(1))));
        let (trade, at) = snapshot.state.last_trade.clone().unwrap();
        assert_eq!((trade.price, at), (Decimal::from(50), UnixNanos::new(5)));
        assert_eq!(snapshot.state.best_bid.clone().unwrap().1, UnixNanos::new(6));
        assert_eq!(snapshot.state.updated_at(), Some(UnixNanos::new(6)));
        assert_eq!(snapshot.position, Position { run: 0, sequence: 6 });
    }

    #[test]
    fn a_backfilled_tick_never_moves_the_last_value() {
        let mut backfilled = tick(9, Some(9));
        backfilled.sequence = None;
        assert_eq!(Snapshot::first(&backfilled), None);
        let mut snapshot = Snapshot::first(&tick(5, Some(50))).unwrap();
        assert!(!snapshot.advance(&backfilled));
        assert_eq!(MarketState::default().updated_at(), None);
    }
}
