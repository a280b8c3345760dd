//! How far a subscriber has come with one product.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{Instrument, MarketState, Position, Snapshot, UnixNanos};

use crate::{
    AddError, Delivery, Event, FellBehind, LiveState, LiveTick, Policy, Start, TokenBucket, state::Market,
};

/// Why a read ends before everything was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The read has given as much as it was asked for.
    Full,
    /// The token bucket is empty for so long.
    NoToken(Duration),
}

/// The policy and what has become of it: shared by all products of a subscriber.
#[derive(Debug)]
pub(super) struct Pace {
    policy: Policy,
    bucket: Option<TokenBucket>,
    /// The bucket was empty and the subscriber has not caught up since: only the newest ticks are given.
    throttled: bool,
    /// The present episode of rate limiting was told to the subscriber.
    announced: bool,
}

impl Pace {
    pub(super) fn new(policy: Policy) -> Self {
        let rate = match policy {
            Policy::Conflate { rate, .. } => rate,
            Policy::Lossless => None,
        };
        Self { policy, bucket: rate.map(TokenBucket::new), throttled: false, announced: false }
    }

    /// An episode is over when half of the tokens are back; otherwise a stream just above the rate would be a new episode
    /// with every tick.
    pub(super) fn refresh(&mut self, now: Instant) {
        if self.announced && self.bucket.as_ref().is_none_or(|bucket| bucket.is_half_full(now)) {
            self.announced = false;
        }
    }

    /// The subscriber was given everything there is.
    pub(super) fn caught_up(&mut self) {
        self.throttled = false;
    }

    /// Whether the present episode of rate limiting is still to be told.
    pub(super) fn announce(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }

    fn take(&mut self, now: Instant) -> Result<(), Stop> {
        let Some(bucket) = &mut self.bucket else {
            return Ok(());
        };
        bucket.try_take(now).map_err(|wait| {
            self.throttled = true;
            Stop::NoToken(wait)
        })
    }

    fn conflates(&self, pending: u64) -> bool {
        match self.policy {
            Policy::Conflate { behind_max, .. } => self.throttled || pending > behind_max.get(),
            Policy::Lossless => false,
        }
    }
}

/// One product of one subscriber.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) instrument: Instrument,
    /// Which product of the state; `None` until it has its first tick.
    market: Option<usize>,
    /// The index in the ring of the next tick to give.
    next: u64,
    /// The position of the last tick or snapshot that was given.
    given: Option<Position>,
    /// The holes of the product that the subscriber knows of.
    holes: u64,
    snapshot_due: bool,
}

impl Cursor {
    pub(super) fn new(state: &LiveState, instrument: Instrument, start: Start) -> Result<Self, AddError> {
        let mut cursor = Self::unborn(instrument);
        cursor.market = state.find(&cursor.instrument);
        if let Some(market) = cursor.market.and_then(|at| state.market(at)) {
            cursor.next = market.ring.end();
            cursor.holes = market.holes;
        }
        cursor.restart(state, start)?;
        Ok(cursor)
    }

    /// A product of which nothing is known yet.
    pub(super) fn unborn(instrument: Instrument) -> Self {
        Self { instrument, market: None, next: 0, given: None, holes: 0, snapshot_due: false }
    }

    /// The product has appeared: everything of it is new. When it appeared with a snapshot, that comes first.
    pub(super) fn attach(&mut self, at: usize, market: &Market) {
        if self.market.is_none() {
            self.market = Some(at);
            self.holes = market.holes;
            self.snapshot_due |= market.ring.end() == 0;
        }
    }

    /// Another start in mid-session. Going back is not possible: what was given is not given again.
    pub(super) fn restart(&mut self, state: &LiveState, start: Start) -> Result<(), AddError> {
        match start {
            Start::Now => {}
            Start::Snapshot => self.snapshot_due = true,
            Start::Sequence(from) => {
                if let Some(market) = self.market.and_then(|at| state.market(at)) {
                    let index = self.index_of(market, from)?;
                    if self.given.is_none() {
                        self.next = index;
                    }
                }
            }
        }
        Ok(())
    }

    fn index_of(&self, market: &Market, from: u64) -> Result<u64, AddError> {
        let newest = market.snapshot.position;
        let wanted = Position { run: newest.run, sequence: from };
        if wanted > newest {
            return Ok(market.ring.end());
        }
        market.ring.index_from(wanted).ok_or_else(|| AddError::TooOld {
            instrument: self.instrument.clone(),
            from,
            oldest: market.ring.oldest_position(),
        })
    }

    /// Gives the snapshot that is due, if one is: it needs no token and waits for nobody.
    pub(super) fn read_snapshot(&mut self, state: &LiveState, wall: UnixNanos) -> Option<Delivery> {
        if !std::mem::take(&mut self.snapshot_due) {
            return None;
        }
        let Some(market) = self.market.and_then(|at| state.market(at)) else {
            return Some(Delivery::Snapshot { snapshot: self.unknown(wall), skipped: 0 });
        };
        let skipped = if self.given.is_some() { market.ring.end().saturating_sub(self.next) } else { 0 };
        Some(self.give_snapshot(market, skipped))
    }

    /// Gives what is new of this product. `Ok(None)`: everything was given.
    pub(super) fn read(
        &mut self,
        state: &LiveState,
        pace: &mut Pace,
        now: Instant,
        wall: UnixNanos,
        max: usize,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<Option<Stop>, FellBehind> {
        let Some(market) = self.market.and_then(|at| state.market(at)) else {
            return Ok(None);
        };
        if market.holes != self.holes {
            self.cross_hole(market, pace, deliveries)?;
            deliveries.extend(self.read_snapshot(state, wall));
        }
        while self.next < market.ring.end() {
            if deliveries.len() >= max {
                return Ok(Some(Stop::Full));
            }
            let newest = market.ring.end() - 1;
            let gone = self.next < market.ring.first();
            if gone && pace.policy == Policy::Lossless {
                return Err(self.fell_behind());
            }
            if let Err(stop) = pace.take(now) {
                return Ok(Some(stop));
            }
            let index = if gone || pace.conflates(newest - self.next + 1) { newest } else { self.next };
            match market.ring.get(index) {
                Some(tick) => deliveries.push(self.give(market, tick, index)),
                // The ring holds every index between its first and its end.
                None => self.next = market.ring.end(),
            }
        }
        Ok(None)
    }

    fn cross_hole(
        &mut self,
        market: &Market,
        pace: &Pace,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), FellBehind> {
        self.holes = market.holes;
        if pace.policy == Policy::Lossless {
            return Err(self.fell_behind());
        }
        deliveries
            .push(Delivery::Event(Event::Missed { instrument: self.instrument.clone(), after: self.given }));
        // What was missed may have said what the next tick leaves out: only the full state makes up for it.
        self.snapshot_due = true;
        Ok(())
    }

    fn give(&mut self, market: &Market, tick: &Arc<LiveTick>, index: u64) -> Delivery {
        let skipped = index - self.next;
        if skipped > 0 && !tells_everything(tick, &market.snapshot.state) {
            return self.give_snapshot(market, skipped + 1);
        }
        self.next = index + 1;
        self.given = Some(tick.position());
        Delivery::Tick { tick: Arc::clone(tick), skipped }
    }

    fn give_snapshot(&mut self, market: &Market, skipped: u64) -> Delivery {
        self.next = market.ring.end();
        self.given = Some(market.snapshot.position);
        Delivery::Snapshot { snapshot: Arc::clone(&market.snapshot), skipped }
    }

    fn fell_behind(&self) -> FellBehind {
        FellBehind { instrument: self.instrument.clone(), after: self.given }
    }

    /// What is known of a product before its first tick: nothing.
    fn unknown(&self, wall: UnixNanos) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            instrument: self.instrument.clone(),
            position: Position::default(),
            snapshot_time: wall,
            state: MarketState::default(),
        })
    }
}

/// Whether `tick` has each group that is known of the product. If not, what was skipped before it may have said something
/// that it leaves out.
fn tells_everything(tick: &LiveTick, state: &MarketState) -> bool {
    let tick = tick.tick();
    tick.last_trade.is_some() >= state.last_trade.is_some()
        && tick.best_bid.is_some() >= state.best_bid.is_some()
        && tick.best_ask.is_some() >= state.best_ask.is_some()
        && tick.day.is_some() >= state.day.is_some()
}
