//! What was known of a market at a time in the past.

use std::time::Duration;

use domain::{Instrument, MarketState, Position, Tick, TimeRange, UnixNanos};

use crate::{Order, Store, StoreError, TickQuery, TickRange};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// How far back each read reaches (`None`: to the horizon) and how many ticks it gives. A market in motion is answered by
/// the first, which touches the partitions of an hour; a quiet one, or one in a long run of backfilled trades, by the next.
const READS: [(Option<Duration>, usize); 4] =
    [(Some(HOUR), 32), (Some(DAY), 1_000), (None, 10_000), (None, 10_000)];

/// What was known at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Something.
    Known {
        /// The newest trade, bid and ask by then, in the order of history; statistics of the day are not kept. A group is
        /// absent when none of the newest 21,000 ticks by then tells it: a quote that is older than those is no market.
        state: Box<MarketState>,
        /// Where the newest live tick by then stands; `None` when only backfilled ones are known.
        position: Option<Position>,
    },
    /// No tick that is kept is as old.
    Nothing,
    /// Ticks before this time are not kept any more, and the time asked for is before it.
    BeforeHorizon(UnixNanos),
}

impl Store {
    /// What was known of `instrument` at `time`: everything that happened up to and including it and is stored, whenever
    /// it was stored. The work is bounded, whatever the length of the history.
    pub async fn as_of(&self, instrument: &Instrument, time: UnixNanos) -> Result<AsOf, StoreError> {
        let horizon = self.horizon().await?;
        if let Some(horizon) = horizon.filter(|horizon| time < *horizon) {
            return Ok(AsOf::BeforeHorizon(horizon));
        }
        // What retention has not deleted yet is not known any more: the answer must not depend on how far it is.
        let oldest = horizon.unwrap_or(UnixNanos::MIN);
        let until = time.saturating_add(Duration::from_nanos(1));
        let (mut found, mut after) = (Found::default(), None);
        for (reach, limit) in READS {
            let from = reach.map_or(oldest, |reach| time.saturating_sub(reach).max(oldest));
            let query = TickQuery {
                instrument: instrument.clone(),
                range: TickRange::Time(TimeRange { from, until }),
                order: Order::Descending,
                after,
                limit,
            };
            let ticks = self.ticks(&query).await?;
            ticks.iter().for_each(|(_, tick)| found.add_older(tick));
            let is_all = from == oldest && ticks.len() < limit;
            if found.is_complete() || is_all {
                break;
            }
            after = ticks.last().map(|(key, _)| *key).or(after);
        }
        Ok(found.into())
    }
}

#[derive(Default)]
struct Found {
    any: bool,
    state: MarketState,
    position: Option<Position>,
}

impl Found {
    /// Takes over what `tick`, which is older than those before, says of what is not known yet.
    fn add_older(&mut self, tick: &Tick) {
        let at = tick.event_time;
        self.any = true;
        fill(&mut self.state.last_trade, &tick.last_trade, at);
        fill(&mut self.state.best_bid, &tick.best_bid, at);
        fill(&mut self.state.best_ask, &tick.best_ask, at);
        self.position = self.position.or_else(|| tick.position());
    }

    fn is_complete(&self) -> bool {
        let MarketState { last_trade, best_bid, best_ask, .. } = &self.state;
        last_trade.is_some() && best_bid.is_some() && best_ask.is_some() && self.position.is_some()
    }
}

impl From<Found> for AsOf {
    fn from(found: Found) -> Self {
        match found.any {
            true => Self::Known { state: Box::new(found.state), position: found.position },
            false => Self::Nothing,
        }
    }
}

fn fill<T: Clone>(known: &mut Option<(T, UnixNanos)>, said: &Option<T>, at: UnixNanos) {
    if let (None, Some(said)) = (&known, said) {
        *known = Some((said.clone(), at));
    }
}
