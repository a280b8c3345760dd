//! What is known of each product.

use std::collections::{BTreeMap, VecDeque};

use domain::{Decimal, parse_number};
use ledgerflux_client::{Timestamp, Update, v1};
use v1::StreamEventKind;

use super::{Happening, events};

/// How many of the newest events are kept.
const EVENTS_MAX: usize = 50;

/// The newest of everything. Prices and sizes are the exchange's own text.
#[derive(Debug, Default)]
pub(super) struct Market {
    pub(super) rows: BTreeMap<String, Row>,
    /// The newest last: when, and what.
    pub(super) events: VecDeque<(Timestamp, String)>,
    pub(super) connection: Connection,
    pub(super) updates: u64,
    pub(super) skipped: u64,
}

/// One product.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) price: Option<String>,
    pub(super) bid: Option<String>,
    pub(super) ask: Option<String>,
    pub(super) open: Option<String>,
    pub(super) volume: Option<String>,
    pub(super) event_time: Option<Timestamp>,
    /// The feed has not been heard of for too long.
    pub(super) stale: bool,
    /// Whether the price rose or fell when it last was another one.
    pub(super) trend: Option<bool>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Connection {
    #[default]
    Connecting,
    Live,
    Lost(String),
}

impl Market {
    /// Takes in what happened at `now`.
    pub(super) fn take(&mut self, happening: Happening, now: Timestamp) {
        match happening {
            Happening::Connected { again, resumed } => {
                self.connection = Connection::Live;
                if again {
                    let how =
                        if resumed { "it goes on where it was" } else { "it starts with the newest state" };
                    self.tell(now, format!("connected again: {how}"));
                }
            }
            Happening::Lost { reason, .. } => {
                // One loss is told once, however many attempts follow.
                if self.connection == Connection::Live {
                    self.tell(now, format!("connection lost: {reason}"));
                }
                self.connection = Connection::Lost(reason);
            }
            Happening::Update(update) => {
                // Somebody answers again; what is said of it waits for what was missed.
                if matches!(self.connection, Connection::Lost(_)) {
                    self.connection = Connection::Connecting;
                }
                self.update(*update, now);
            }
        }
    }

    fn update(&mut self, update: Update, now: Timestamp) {
        self.updates += 1;
        match update {
            Update::Snapshot(update) => {
                let Some(snapshot) = update.snapshot else { return };
                let Some(state) = snapshot.state else { return };
                let row = self.rows.entry(snapshot.product).or_default();
                row.take(state.last_trade, state.best_bid, state.best_ask, state.day_stats);
                let times = [state.last_trade_time, state.best_bid_time, state.best_ask_time];
                row.event_time = times.into_iter().flatten().max_by_key(|time| (time.seconds, time.nanos));
            }
            Update::Tick(update) => {
                self.skipped += update.skipped;
                let Some(tick) = update.tick.filter(|tick| !tick.backfilled) else { return };
                let row = self.rows.entry(tick.product).or_default();
                row.take(tick.last_trade, tick.best_bid, tick.best_ask, tick.day_stats);
                row.event_time = tick.event_time;
                row.stale = false;
            }
            Update::Event(event) => {
                if event.kind() == StreamEventKind::Stale
                    && let Some(row) = self.rows.get_mut(&event.product)
                {
                    row.stale = true;
                }
                if let Some(text) = events::text(&event) {
                    self.tell(event.report_time.unwrap_or(now), text);
                }
            }
        }
    }

    fn tell(&mut self, time: Timestamp, text: String) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back((time, text));
    }
}

impl Row {
    /// A group that is absent leaves what was said before.
    fn take(
        &mut self,
        trade: Option<v1::Trade>,
        bid: Option<v1::Quote>,
        ask: Option<v1::Quote>,
        day: Option<v1::DayStats>,
    ) {
        if let Some(trade) = trade {
            let moved = self.price.as_deref().zip(Some(trade.price.as_str())).and_then(both);
            if let Some((before, after)) = moved.filter(|(before, after)| before != after) {
                self.trend = Some(after > before);
            }
            self.price = Some(trade.price);
        }
        self.bid = bid.map(|bid| bid.price).or(self.bid.take());
        self.ask = ask.map(|ask| ask.price).or(self.ask.take());
        if let Some(day) = day {
            self.open = day.open_24h.or(self.open.take());
            self.volume = day.volume_24h.or(self.volume.take());
        }
    }

    /// Ask less bid, exactly.
    pub(super) fn spread(&self) -> Option<Decimal> {
        let (bid, ask) = both((self.bid.as_deref()?, self.ask.as_deref()?))?;
        ask.checked_sub(bid)
    }

    /// By how many percent the price is above that of 24 hours ago, to two digits.
    pub(super) fn change_percent(&self) -> Option<Decimal> {
        let (open, price) = both((self.open.as_deref()?, self.price.as_deref()?))?;
        let change = price.checked_sub(open)?.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(open)?;
        Some(change.round_dp(2))
    }
}

fn both((left, right): (&str, &str)) -> Option<(Decimal, Decimal)> {
    Some((parse_number(left).ok()?, parse_number(right).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(price: &str, bid: &str, ask: &str) -> Happening {
        let quote = |price: &str| Some(v1::Quote { price: price.into(), size: None });
        let tick = v1::Tick {
            product: "BTC-USD".into(),
            last_trade: Some(v1::Trade { price: price.into(), size: "1".into(), ..Default::default() }),
            best_bid: quote(bid),
            best_ask: quote(ask),
            day_stats: Some(v1::DayStats { open_24h: Some("100".into()), ..Default::default() }),
            ..Default::default()
        };
        Happening::Update(Update::Tick(v1::TickUpdate { tick: Some(tick), ..Default::default() }).into())
    }

    #[test]
    fn a_row_is_exact_and_moves_only_when_the_number_does() {
        let mut market = Market::default();
        let now = Timestamp::default();
        market.take(tick("101.50", "101.4999999999", "101.50"), now);
        let row = &market.rows["BTC-USD"];
        assert_eq!((row.spread().unwrap().to_string(), row.trend), ("0.0000000001".into(), None));
        assert_eq!(row.change_percent().unwrap(), Decimal::new(150, 2));
        market.take(tick("101.5", "1", "2"), now);
        assert_eq!(market.rows["BTC-USD"].trend, None);
        market.take(tick("101.4", "1", "2"), now);
        assert_eq!(market.rows["BTC-USD"].trend, Some(false));
    }

    #[test]
    fn a_loss_is_told_once() {
        let mut market = Market::default();
        let now = Timestamp::default();
        market.take(Happening::Connected { again: false, resumed: false }, now);
        for _ in 0..3 {
            market.take(Happening::Lost { reason: "gone".into(), retry: std::time::Duration::ZERO }, now);
        }
        market.take(tick("101.5", "1", "2"), now);
        assert_eq!(market.connection, Connection::Connecting);
        market.take(Happening::Connected { again: true, resumed: true }, now);
        assert_eq!(market.connection, Connection::Live);
        let told: Vec<&str> = market.events.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(told, ["connection lost: gone", "connected again: it goes on where it was"]);
    }
}
