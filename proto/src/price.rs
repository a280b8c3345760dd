//! Latest prices.

use domain::{FeedState, Instrument, Snapshot, UnixNanos};

use crate::{
    instrument,
    snapshot::encode,
    time::{duration, timestamp},
    v1,
};

/// The latest price that `snapshot` holds, as of `now` by the clock of the server.
///
/// `receive_time` is when its newest tick arrived, where known; `feed_state` how the feed fares, where an ingestor tells.
pub fn latest_price(
    snapshot: &Snapshot,
    receive_time: Option<UnixNanos>,
    feed_state: Option<FeedState>,
    now: UnixNanos,
) -> v1::LatestPrice {
    let state = &snapshot.state;
    let (last_trade, last_trade_time) = encode(state.last_trade.as_ref());
    let (best_bid, best_bid_time) = encode(state.best_bid.as_ref());
    let (best_ask, best_ask_time) = encode(state.best_ask.as_ref());
    let (day_stats, day_stats_time) = encode(state.day.as_ref());
    v1::LatestPrice {
        run: snapshot.position.run,
        sequence: Some(snapshot.position.sequence),
        last_trade,
        last_trade_time,
        best_bid,
        best_bid_time,
        best_ask,
        best_ask_time,
        day_stats,
        day_stats_time,
        receive_time: receive_time.map(timestamp),
        age: state.updated_at().map(|at| duration(now.saturating_since(at))),
        ..latest_price_unknown(&snapshot.instrument, feed_state)
    }
}

/// What can be said of a product that is known and has no tick yet.
pub fn latest_price_unknown(instrument: &Instrument, feed_state: Option<FeedState>) -> v1::LatestPrice {
    let (venue, product) = instrument::encode(instrument);
    v1::LatestPrice {
        venue,
        product,
        feed_state: feed_state.map_or(v1::FeedState::Unspecified, Into::into).into(),
        ..v1::LatestPrice::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::{Decimal, MarketState, Position, Quote};

    use super::*;

    #[test]
    fn says_how_old_it_is() {
        let at = UnixNanos::new(1_000_000_000);
        let bid = Quote { price: Decimal::new(5, 1), size: None };
        let snapshot = Snapshot {
            instrument: Instrument::new("coinbase", "ADA-USD").unwrap(),
            position: Position { run: 1, sequence: 7 },
            snapshot_time: at,
            state: MarketState { best_bid: Some((bid, at)), ..MarketState::default() },
        };
        let now = UnixNanos::new(3_500_000_000);
        let price = latest_price(&snapshot, None, Some(FeedState::Stale), now);
        assert_eq!(price.age, Some(duration(Duration::from_millis(2_500))));
        assert_eq!((price.run, price.sequence), (1, Some(7)));
        assert_eq!(price.best_bid.as_ref().unwrap().price, "0.5");
        assert_eq!(price.best_bid_time, Some(timestamp(at)));
        assert_eq!((&price.last_trade, &price.last_trade_time, price.receive_time), (&None, &None, None));
        assert_eq!((price.product.as_str(), price.feed_state()), ("ADA-USD", v1::FeedState::Stale));
    }

    #[test]
    fn invents_nothing_before_the_first_tick() {
        let price = latest_price_unknown(&Instrument::new("coinbase", "ADA-USD").unwrap(), None);
        assert_eq!((price.sequence, price.age, price.feed_state), (None, None, 0));
        assert_eq!(price.venue, "coinbase");
    }
}
