//! Candles and their intervals.

use domain::{Candle, CandleState, Completeness, Instrument, Interval};
use thiserror::Error;

use crate::{instrument, number, time::timestamp, v1};

/// A request names no interval that candles are offered in.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidInterval {
    /// The interval must be given.
    #[error("interval is missing")]
    Missing,
    /// The interval is one that this version does not know.
    #[error("interval {0} is unknown")]
    Unknown(i32),
}

impl From<Interval> for v1::CandleInterval {
    fn from(interval: Interval) -> Self {
        match interval {
            Interval::OneMinute => Self::OneMinute,
            Interval::FiveMinutes => Self::FiveMinutes,
            Interval::FifteenMinutes => Self::FifteenMinutes,
            Interval::OneHour => Self::OneHour,
            Interval::SixHours => Self::SixHours,
            Interval::OneDay => Self::OneDay,
        }
    }
}

impl TryFrom<v1::CandleInterval> for Interval {
    type Error = InvalidInterval;

    fn try_from(interval: v1::CandleInterval) -> Result<Self, InvalidInterval> {
        match interval {
            v1::CandleInterval::Unspecified => Err(InvalidInterval::Missing),
            v1::CandleInterval::OneMinute => Ok(Self::OneMinute),
            v1::CandleInterval::FiveMinutes => Ok(Self::FiveMinutes),
            v1::CandleInterval::FifteenMinutes => Ok(Self::FifteenMinutes),
            v1::CandleInterval::OneHour => Ok(Self::OneHour),
            v1::CandleInterval::SixHours => Ok(Self::SixHours),
            v1::CandleInterval::OneDay => Ok(Self::OneDay),
        }
    }
}

/// The interval with this number on the wire.
pub fn interval(number: i32) -> Result<Interval, InvalidInterval> {
    v1::CandleInterval::try_from(number).map_err(|_| InvalidInterval::Unknown(number))?.try_into()
}

impl From<CandleState> for v1::CandleState {
    fn from(state: CandleState) -> Self {
        match state {
            CandleState::Open => Self::Open,
            CandleState::Complete => Self::Complete,
            CandleState::Repaired => Self::Repaired,
            CandleState::Incomplete => Self::Incomplete,
            CandleState::Empty => Self::Empty,
        }
    }
}

impl From<Completeness> for v1::Completeness {
    fn from(completeness: Completeness) -> Self {
        Self {
            expected_trades: completeness.expected_trades,
            stored_trades: completeness.stored_trades,
            open_gaps: completeness.open_gaps,
            horizon_time: completeness.horizon.map(timestamp),
        }
    }
}

/// `candle` of `instrument` on the wire. A candle without trades has no prices.
pub fn candle(instrument: &Instrument, candle: &Candle) -> v1::Candle {
    let (venue, product) = instrument::encode(instrument);
    let bar = &candle.bar;
    let of_trades = |price| (bar.tick_count > 0).then(|| number::encode(price));
    let time_of = |at: domain::HistoryOrder| (bar.tick_count > 0).then(|| timestamp(at.0));
    v1::Candle {
        venue,
        product,
        interval: v1::CandleInterval::from(candle.interval).into(),
        start_time: Some(timestamp(bar.start)),
        end_time: Some(timestamp(bar.start.saturating_add(candle.interval.width()))),
        state: candle.state.map_or(v1::CandleState::Unspecified, Into::into).into(),
        open: of_trades(bar.open),
        high: of_trades(bar.high),
        low: of_trades(bar.low),
        close: of_trades(bar.close),
        volume: number::encode(bar.sum_volume),
        trade_count: bar.tick_count,
        price_sum: number::encode(bar.sum_price),
        first_trade_time: time_of(bar.open_at),
        last_trade_time: time_of(bar.close_at),
        completeness: candle.completeness.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Bar, Decimal, UnixNanos};

    fn sample(tick_count: u64) -> Candle {
        let number = |mantissa| Decimal::new(mantissa, 2);
        let bar = Bar {
            start: UnixNanos::new(60_000_000_000),
            tick_count,
            sum_price: number(30_100),
            sum_volume: number(250),
            low: number(9_900),
            high: number(10_200),
            open: number(10_000),
            open_at: (UnixNanos::new(61_000_000_000), Some(7), Some(70)),
            close: number(10_200),
            close_at: (UnixNanos::new(119_000_000_000), Some(9), Some(90)),
        };
        Candle { interval: Interval::OneMinute, bar, state: Some(CandleState::Complete), completeness: None }
    }

    #[test]
    fn a_candle_says_what_its_bar_says() {
        let instrument = Instrument::new("coinbase", "BTC-USD").unwrap();
        let sent = candle(&instrument, &sample(3));
        let prices = [&sent.open, &sent.high, &sent.low, &sent.close].map(|price| price.as_deref().unwrap());
        assert_eq!(prices, ["100.00", "102.00", "99.00", "102.00"]);
        assert_eq!((sent.volume.as_str(), sent.price_sum.as_str(), sent.trade_count), ("2.50", "301.00", 3));
        assert_eq!(sent.end_time, Some(timestamp(UnixNanos::new(120_000_000_000))));
        assert_eq!(sent.first_trade_time, Some(timestamp(UnixNanos::new(61_000_000_000))));
        assert_eq!(sent.state(), v1::CandleState::Complete);
    }

    #[test]
    fn a_candle_without_trades_invents_no_price() {
        let instrument = Instrument::new("coinbase", "BTC-USD").unwrap();
        let sent = candle(&instrument, &Candle { state: None, ..sample(0) });
        assert_eq!((sent.open, sent.close, sent.last_trade_time), (None, None, None));
        assert_eq!(sent.state, 0);
    }

    #[test]
    fn intervals_round_trip() {
        for number in 1..=6 {
            assert_eq!(i32::from(v1::CandleInterval::from(interval(number).unwrap())), number);
        }
        assert_eq!(interval(0), Err(InvalidInterval::Missing));
        assert_eq!(interval(7), Err(InvalidInterval::Unknown(7)));
    }
}
