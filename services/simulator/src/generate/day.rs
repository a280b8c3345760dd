//! The statistics of the last 24 hours and 30 days, from the market's own trades, in bounded memory.

use std::collections::VecDeque;

use domain::UnixNanos;

const MINUTE_NANOS: i64 = 60_000_000_000;
const MINUTES_OF_A_DAY: i64 = 24 * 60;
const MINUTES_OF_AN_HOUR: i64 = 60;
const HOURS_OF_30_DAYS: i64 = 30 * 24;

/// Everything in whole increments of price and size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Day {
    minutes: VecDeque<Minute>,
    hours: VecDeque<(i64, i128)>,
    high: i64,
    low: i64,
    volume_day: i128,
    volume_month: i128,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    number: i64,
    open: i64,
    high: i64,
    low: i64,
    volume: i128,
}

/// What a ticker says of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) open: i64,
    pub(crate) high: i64,
    pub(crate) low: i64,
    pub(crate) volume_day: i128,
    pub(crate) volume_month: i128,
}

impl Day {
    /// Adds a trade; times never go back.
    pub(crate) fn add(&mut self, at: UnixNanos, price: i64, size: i64) -> Stats {
        let number = at.nanos().div_euclid(MINUTE_NANOS);
        let size = i128::from(size);
        self.forget(number);
        match self.minutes.back_mut().filter(|minute| minute.number >= number) {
            Some(minute) => {
                minute.high = minute.high.max(price);
                minute.low = minute.low.min(price);
                minute.volume += size;
            }
            None => {
                self.minutes.push_back(Minute { number, open: price, high: price, low: price, volume: size });
            }
        }
        let hour = number.div_euclid(MINUTES_OF_AN_HOUR);
        match self.hours.back_mut().filter(|(number, _)| *number >= hour) {
            Some((_, volume)) => *volume += size,
            None => self.hours.push_back((hour, size)),
        }
        self.volume_day += size;
        self.volume_month += size;
        let first_trade = self.minutes.len() == 1 && self.volume_day == size;
        self.high = if first_trade { price } else { self.high.max(price) };
        self.low = if first_trade { price } else { self.low.min(price) };
        Stats {
            open: self.minutes.front().map_or(price, |minute| minute.open),
            high: self.high,
            low: self.low,
            volume_day: self.volume_day,
            volume_month: self.volume_month,
        }
    }

    fn forget(&mut self, now: i64) {
        let mut forgot = false;
        while let Some(minute) = self.minutes.front().filter(|minute| now - minute.number >= MINUTES_OF_A_DAY)
        {
            self.volume_day -= minute.volume;
            self.minutes.pop_front();
            forgot = true;
        }
        let hour = now.div_euclid(MINUTES_OF_AN_HOUR);
        while let Some((_, volume)) =
            self.hours.front().filter(|(number, _)| hour - number >= HOURS_OF_30_DAYS)
        {
            self.volume_month -= volume;
            self.hours.pop_front();
        }
        if forgot {
            self.high = self.minutes.iter().map(|minute| minute.high).max().unwrap_or(i64::MIN);
            self.low = self.minutes.iter().map(|minute| minute.low).min().unwrap_or(i64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> UnixNanos {
        UnixNanos::new(minute * MINUTE_NANOS)
    }

    #[test]
    fn the_day_moves_on() {
        let mut day = Day::default();
        let first = day.add(at(0), 100, 5);
        assert_eq!(first, Stats { open: 100, high: 100, low: 100, volume_day: 5, volume_month: 5 });
        day.add(at(0), 120, 1);
        day.add(at(10), 90, 2);
        let last = day.add(at(MINUTES_OF_A_DAY - 1), 95, 1);
        assert_eq!(last, Stats { open: 100, high: 120, low: 90, volume_day: 9, volume_month: 9 });
        let next = day.add(at(MINUTES_OF_A_DAY), 96, 1);
        assert_eq!(next, Stats { open: 90, high: 96, low: 90, volume_day: 4, volume_month: 10 });
        let much_later = day.add(at(40 * MINUTES_OF_A_DAY), 80, 1);
        assert_eq!(much_later, Stats { open: 80, high: 80, low: 80, volume_day: 1, volume_month: 1 });
    }
}
