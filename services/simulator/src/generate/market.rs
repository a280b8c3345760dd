//! A market that is made up: trades around a price that wanders, in exact decimals.

use std::collections::BTreeSet;

use domain::{Decimal, Product, Side, UnixNanos};
use venues::coinbase::rest::RestTrade;

use super::day::{Day, Stats};
use super::random::Random;
use crate::config::GenerateConfig;
use crate::listing::Decimals;
use crate::wire;

/// Some products with their real increments, and prices and sizes as they could be: name, decimals of the price, price,
/// decimals of the size, a usual size. Price and size are in increments.
const KNOWN: [(&str, u32, i64, u32, i64); 8] = [
    ("BTC-USD", 2, 6_480_000, 8, 1_200_000),
    ("ETH-USD", 2, 184_250, 8, 35_000_000),
    ("ADA-USD", 4, 4_512, 8, 18_000_000_000),
    ("SOL-USD", 2, 15_120, 8, 250_000_000),
    ("XRP-USD", 4, 6_230, 6, 150_000_000),
    ("DOGE-USD", 5, 12_345, 1, 8_000),
    ("SHIB-USD", 8, 1_782, 0, 1_500_000),
    ("ETH-BTC", 5, 2_843, 8, 20_000_000),
];

/// All products of one venue, each with its own course.
#[derive(Debug)]
pub(crate) struct Market {
    random: Random,
    courses: Vec<Course>,
    last_time: UnixNanos,
}

/// A ticker as it goes out.
#[derive(Debug)]
pub(crate) struct Ticker {
    pub(crate) product: Product,
    pub(crate) frame: String,
    pub(crate) trade: RestTrade,
}

/// One product.
#[derive(Debug)]
struct Course {
    product: Product,
    price_decimals: u32,
    size_decimals: u32,
    usual_size: i64,
    /// Where the price is drawn back to, so that a market that runs for months stays plausible.
    anchor: i64,
    price: i64,
    side: Side,
    sequence: u64,
    trade_id: u64,
    day: Day,
}

impl Market {
    pub(crate) fn new(config: &GenerateConfig, now: UnixNanos) -> Self {
        let mut random = Random::new(config.seed);
        let micros = u64::try_from(now.nanos() / 1_000).unwrap_or(1);
        let courses = config.products.iter().map(|product| {
            let (price_decimals, anchor, size_decimals, usual_size) = manner(product.as_str());
            Course {
                product: product.clone(),
                price_decimals,
                size_decimals,
                usual_size,
                anchor,
                price: anchor.saturating_add(random.around(anchor / 100)),
                side: Side::Buy,
                sequence: config.first_sequence.unwrap_or(micros).saturating_sub(1),
                trade_id: config.first_trade_id.unwrap_or(micros).saturating_sub(1),
                day: Day::default(),
            }
        });
        let courses = courses.collect();
        Self { random, courses, last_time: now }
    }

    /// One trade of each product, so that there is a last trade from the start.
    pub(crate) fn opening_trades(&mut self, now: UnixNanos) -> Vec<Ticker> {
        (0..self.courses.len()).filter_map(|index| self.trade_of(index, now, 1)).collect()
    }

    /// The next trade, of any product; the first products trade more. `None` only for a market without products.
    pub(crate) fn trade(&mut self, now: UnixNanos) -> Option<Ticker> {
        let count = u64::try_from(self.courses.len()).unwrap_or(1);
        let (one, other) = (self.random.below(count), self.random.below(count));
        let index = usize::try_from(one.min(other)).unwrap_or(0);
        let step = self.random.below(40) + 2;
        self.trade_of(index, now, step)
    }

    /// Product, sequence and trade_id of each heartbeat; a heartbeat is an event of its own in the sequence.
    pub(crate) fn heartbeats(&mut self) -> Vec<(String, u64, u64)> {
        let beat = |course: &mut Course| {
            course.sequence = course.sequence.saturating_add(1);
            (course.product.to_string(), course.sequence, course.trade_id)
        };
        self.courses.iter_mut().map(beat).collect()
    }

    /// Has the sequences of these products, or of all, begin anew at `to`.
    pub(crate) fn reset_sequences(&mut self, products: Option<&BTreeSet<String>>, to: u64) {
        let wanted =
            |course: &&mut Course| products.is_none_or(|products| products.contains(course.product.as_str()));
        self.courses.iter_mut().filter(wanted).for_each(|course| course.sequence = to.saturating_sub(1));
    }

    fn trade_of(&mut self, index: usize, now: UnixNanos, sequence_step: u64) -> Option<Ticker> {
        // The clock may be set back; the exchange's time never goes back within a product.
        self.last_time = self.last_time.max(now);
        let course = self.courses.get_mut(index)?;
        course.sequence = course.sequence.saturating_add(sequence_step);
        course.trade_id = course.trade_id.saturating_add(1);
        Some(course.trade(self.last_time, &mut self.random))
    }
}

impl Course {
    fn trade(&mut self, at: UnixNanos, random: &mut Random) -> Ticker {
        self.wander(random);
        let size = self.size(random);
        let stats = self.day.add(at, self.price, size);
        // The quote after the trade: the taker's side was eaten up to the price or beyond, so the price lies within it.
        let width = (self.price / 100_000).max(1);
        let near = if random.percent(60) { 0 } else { random.around(width).abs() };
        let far = random.around(width).abs() + 1;
        let (below, above) = if self.side == Side::Buy { (far, near) } else { (near, far) };
        let bid = self.price.saturating_sub(below).max(1);
        let ask = self.price.saturating_add(above).max(bid.saturating_add(1));
        let sizes = (self.size(random), self.size(random));
        let frame = wire::text(&self.ticker(at, size, stats, (bid, ask), sizes));
        let trade = RestTrade {
            trade_id: self.trade_id,
            time: at,
            price: Decimal::new(self.price, self.price_decimals),
            size: Decimal::new(size, self.size_decimals),
            maker_side: self.side.opposite(),
        };
        Ticker { product: self.product.clone(), frame, trade }
    }

    /// The price moves by a small part of itself, at least by an increment, and is drawn back to its anchor.
    fn wander(&mut self, random: &mut Random) {
        if random.percent(30) {
            self.side = self.side.opposite();
        }
        if random.percent(35) {
            return;
        }
        let step = random.around((self.price / 15_000).max(1));
        let pull = self.anchor.saturating_sub(self.price) / 3_000;
        self.price = self.price.saturating_add(step).saturating_add(pull).max(2);
    }

    /// Mostly small sizes and a few large ones; some of them round.
    fn size(&self, random: &mut Random) -> i64 {
        let scaled = self.usual_size.saturating_mul(random.around(100).abs() + 1) / 100;
        let size = if random.percent(6) { scaled.saturating_mul(12) } else { scaled >> random.below(6) };
        let rounded = if random.percent(25) { size - size % (self.usual_size / 10).max(1) } else { size };
        rounded.max(1)
    }

    fn ticker(
        &self,
        at: UnixNanos,
        size: i64,
        stats: Stats,
        (bid, ask): (i64, i64),
        (bid_size, ask_size): (i64, i64),
    ) -> wire::Ticker<'_> {
        // The exchange drops trailing zeros in prices and trade sizes, and keeps them in quotes and volumes.
        let short = |units: i64, decimals: u32| Decimal::new(units, decimals).normalize().to_string();
        let full = |units: i64, decimals: u32| Decimal::new(units, decimals).to_string();
        let volume = |units: i128| {
            let mut number = Decimal::from_i128_with_scale(units, self.size_decimals);
            number.rescale(8);
            number.to_string()
        };
        wire::Ticker {
            r#type: "ticker",
            sequence: self.sequence,
            product_id: self.product.as_str(),
            price: short(self.price, self.price_decimals),
            open_24h: short(stats.open, self.price_decimals),
            volume_24h: volume(stats.volume_day),
            low_24h: short(stats.low, self.price_decimals),
            high_24h: short(stats.high, self.price_decimals),
            volume_30d: volume(stats.volume_month),
            best_bid: full(bid, self.price_decimals),
            best_bid_size: full(bid_size, self.size_decimals),
            best_ask: full(ask, self.price_decimals),
            best_ask_size: full(ask_size, self.size_decimals),
            side: self.side.as_str(),
            time: wire::time(at),
            trade_id: self.trade_id,
            last_size: short(size, self.size_decimals),
        }
    }
}

/// The decimals of a product's prices and sizes.
pub(crate) fn decimals(product: &str) -> Decimals {
    let (price, _, size, _) = manner(product);
    Decimals { price, size }
}

/// Decimals of the price, price, decimals of the size, usual size; for a product that is not known, from its name.
fn manner(product: &str) -> (u32, i64, u32, i64) {
    let known = KNOWN.iter().find(|(name, ..)| *name == product);
    if let Some((_, price_decimals, price, size_decimals, size)) = known {
        return (*price_decimals, *price, *size_decimals, *size);
    }
    let seed = product.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = Random::new(seed);
    let price = 2_000 + i64::try_from(random.below(500_000)).unwrap_or(0);
    (4, price, 4, 10_000 + i64::try_from(random.below(1_000_000)).unwrap_or(0))
}

#[cfg(test)]
mod tests;
