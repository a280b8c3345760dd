//! Bars: what happened in an interval, exact whatever the order in which its ticks arrived.

use std::time::Duration;

use crate::{Decimal, Tick, UnixNanos, number::add_exact};

/// The width of a stored bar.
pub const MINUTE: Duration = Duration::from_secs(60);

/// The order of ticks within history: event time, then trade_id, then sequence (absent ones first).
pub type HistoryOrder = (UnixNanos, Option<u64>, Option<u64>);

/// What one minute, or any longer interval, of trades adds up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// The start of the interval, by event time.
    pub start: UnixNanos,
    /// How many trades.
    pub tick_count: u64,
    /// The sum of their prices.
    pub sum_price: Decimal,
    /// The sum of their sizes: the volume in base currency.
    pub sum_volume: Decimal,
    /// The lowest price.
    pub low: Decimal,
    /// The highest price.
    pub high: Decimal,
    /// The price of the first trade in history order.
    pub open: Decimal,
    /// Where the first trade stands.
    pub open_at: HistoryOrder,
    /// The price of the last trade in history order.
    pub close: Decimal,
    /// Where the last trade stands.
    pub close_at: HistoryOrder,
}

impl Bar {
    /// What an interval without trades adds up to; its prices mean nothing.
    pub fn empty(start: UnixNanos) -> Self {
        let zero = Decimal::ZERO;
        let at = (start, None, None);
        Self {
            start,
            tick_count: 0,
            sum_price: zero,
            sum_volume: zero,
            low: zero,
            high: zero,
            open: zero,
            open_at: at,
            close: zero,
            close_at: at,
        }
    }

    /// The bar of `width` that `tick` alone makes; `None` when it is no trade.
    pub fn of(tick: &Tick, width: Duration) -> Option<Self> {
        let trade = tick.last_trade.as_ref()?;
        let at = (tick.event_time, trade.trade_id, tick.sequence);
        Some(Self {
            start: tick.event_time.floor_to(width),
            tick_count: 1,
            sum_price: trade.price,
            sum_volume: trade.size,
            low: trade.price,
            high: trade.price,
            open: trade.price,
            open_at: at,
            close: trade.price,
            close_at: at,
        })
    }

    /// Adds the trades of `other`, which no trade of this bar may be among. Neither order nor grouping matters.
    ///
    /// Returns `false` and changes nothing when a sum cannot be held exactly.
    #[must_use]
    pub fn merge(&mut self, other: &Bar) -> bool {
        let sums = (add_exact(self.sum_price, other.sum_price), add_exact(self.sum_volume, other.sum_volume));
        let (Some(sum_price), Some(sum_volume)) = sums else {
            return false;
        };
        self.sum_price = sum_price;
        self.sum_volume = sum_volume;
        self.tick_count = self.tick_count.saturating_add(other.tick_count);
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        if other.open_at < self.open_at {
            self.open = other.open;
            self.open_at = other.open_at;
        }
        if other.close_at > self.close_at {
            self.close = other.close;
            self.close_at = other.close_at;
        }
        true
    }
}

/// The intervals that candles are offered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interval {
    /// One minute.
    OneMinute,
    /// Five minutes.
    FiveMinutes,
    /// A quarter of an hour.
    FifteenMinutes,
    /// One hour.
    OneHour,
    /// Six hours from 00:00, 06:00, 12:00 or 18:00 UTC.
    SixHours,
    /// A day in UTC.
    OneDay,
}

impl Interval {
    /// How long it is.
    pub fn width(self) -> Duration {
        Duration::from_secs(match self {
            Self::OneMinute => 60,
            Self::FiveMinutes => 300,
            Self::FifteenMinutes => 900,
            Self::OneHour => 3_600,
            Self::SixHours => 21_600,
            Self::OneDay => 86_400,
        })
    }
}

/// How far a candle can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandleState {
    /// Its interval has not ended yet.
    Open,
    /// Every trade of the exchange is in it.
    Complete,
    /// Every trade is in it, some of them fetched afterwards.
    Repaired,
    /// Trades are known to be missing.
    Incomplete,
    /// Proven to have no trades.
    Empty,
}

/// A bar of one of the offered intervals, and how far it can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candle {
    /// How long it is.
    pub interval: Interval,
    /// Its numbers; `start` is the start of the candle.
    pub bar: Bar,
    /// How far it can be trusted; `None` while nothing is known about its completeness.
    pub state: Option<CandleState>,
    /// The counts behind `state`; `None` while nothing is known.
    pub completeness: Option<Completeness>,
}

/// How complete a range of history is, by the exchange's consecutive trade numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completeness {
    /// How many trades the exchange made; `None` when the numbers at the edges of the range are not known.
    pub expected_trades: Option<u64>,
    /// How many of them are stored.
    pub stored_trades: u64,
    /// How many gaps that touch the range are open.
    pub open_gaps: u64,
    /// Ticks before this time are no longer kept; `None` while everything is.
    pub horizon: Option<UnixNanos>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Instrument, TickFlags, Trade};
    use proptest::prelude::*;

    fn tick(at: i64, id: u64, price: i64) -> Tick {
        Tick {
            instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
            run: 0,
            sequence: Some(id * 3),
            event_time: UnixNanos::new(at),
            receive_time: UnixNanos::new(at),
            last_trade: Some(Trade {
                price: Decimal::new(price, 2),
                size: Decimal::new(price % 7 + 1, 8),
                side: None,
                trade_id: Some(id),
            }),
            best_bid: None,
            best_ask: None,
            day: None,
            flags: TickFlags::default(),
        }
    }

    fn fold(ticks: &[Tick]) -> Bar {
        let mut bars = ticks.iter().map(|tick| Bar::of(tick, MINUTE).unwrap());
        let mut bar = bars.next().unwrap();
        for other in bars {
            assert!(bar.merge(&other));
        }
        bar
    }

    proptest! {
        /// Late ticks and regrouped batches change nothing.
        #[test]
        fn order_and_grouping_do_not_matter(
            ticks in proptest::collection::vec((0i64..59_000_000_000, 1i64..1_000_000), 1..40)
                .prop_map(|rows| rows.into_iter().enumerate()
                    .map(|(id, (at, price))| tick(at, id as u64, price)).collect::<Vec<_>>())
                .prop_flat_map(|ticks| (Just(ticks.clone()), Just(ticks).prop_shuffle())),
            cut in 0usize..40,
        ) {
            let (ordered, shuffled) = ticks;
            let whole = fold(&ordered);
            prop_assert_eq!(&whole, &fold(&shuffled));
            let cut = cut.min(shuffled.len() - 1).max(1).min(shuffled.len());
            if cut < shuffled.len() {
                let mut left = fold(&shuffled[..cut]);
                prop_assert!(left.merge(&fold(&shuffled[cut..])));
                prop_assert_eq!(whole, left);
            }
        }
    }

    #[test]
    fn refuses_a_sum_that_does_not_fit() {
        let mut bar = fold(&[tick(1, 1, 100)]);
        bar.sum_price = Decimal::MAX;
        let before = bar.clone();
        assert!(!bar.merge(&before));
        assert_eq!(bar, before);
    }
}

#[cfg(test)]
mod interval_tests {
    use super::*;

    #[test]
    fn intervals_divide_a_day() {
        let all = [
            Interval::OneMinute,
            Interval::FiveMinutes,
            Interval::FifteenMinutes,
            Interval::OneHour,
            Interval::SixHours,
            Interval::OneDay,
        ];
        for interval in all {
            assert_eq!(86_400 % interval.width().as_secs(), 0, "{interval:?}");
            assert_eq!(interval.width().as_secs() % MINUTE.as_secs(), 0, "{interval:?}");
        }
    }
}
