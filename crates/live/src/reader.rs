//! How one subscriber reads the live state: what it is given next, by its products, its policy and its token bucket.

mod cursor;

use std::{
    collections::HashMap,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use domain::{Instrument, Position, UnixNanos};
use thiserror::Error;

use crate::{Delivery, Event, FellBehind, LiveState, Rate};
use cursor::{Cursor, Pace, Stop};

/// Where a product's deliveries begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next tick.
    Now,
    /// With the full state, then every tick after it.
    Snapshot,
    /// With the first tick at or after this sequence of the newest run.
    Sequence(u64),
}

/// Which products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Products {
    /// These; those that are not known yet from their first tick on.
    These(Vec<Instrument>),
    /// All, also those that appear later.
    All,
}

/// What happens when a subscriber cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It gets the newest tick of each product, with the count of what was left out.
    Conflate {
        /// How many ticks of one product a subscriber may be behind before it is given the newest only.
        behind_max: NonZeroU64,
        /// How fast it is sent to; `None` for as fast as it reads.
        rate: Option<Rate>,
    },
    /// It gets every tick, and an end when one of them is no longer here.
    Lossless,
}

impl Default for Policy {
    /// Conflate beyond 512 ticks or the default rate.
    fn default() -> Self {
        Self::Conflate { behind_max: NonZeroU64::MIN.saturating_add(511), rate: Some(Rate::default()) }
    }
}

/// Why a product could not be subscribed to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AddError {
    /// What lies at the wanted start has left memory.
    #[error(
        "{instrument} from {from} is no longer in memory, which reaches back to {}",
        oldest.map_or_else(|| "nothing".to_owned(), |oldest| oldest.sequence.to_string())
    )]
    TooOld {
        /// The product.
        instrument: Instrument,
        /// The wanted start.
        from: u64,
        /// The oldest position that is here, if any is.
        oldest: Option<Position>,
    },
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// What the subscriber is given, in this order.
    pub deliveries: Vec<Delivery>,
    /// How long to wait before more may be given, when the token bucket is what stands in the way.
    pub wait: Option<Duration>,
}

/// One subscriber's cursors. It owns no tick and no queue: it reads from [`LiveState`] when it is asked to.
#[derive(Debug)]
pub struct Reader {
    cursors: Vec<Cursor>,
    by_instrument: HashMap<Instrument, usize>,
    all: bool,
    /// How many products of the state were looked at for `all` and for products that were not known yet.
    seen_products: usize,
    next_event: u64,
    /// Some product may have a snapshot due.
    snapshots_due: bool,
    /// Where the next read begins, so that no product starves the others.
    turn: usize,
    pace: Pace,
}

impl Reader {
    /// A subscriber without products.
    pub fn new(state: &LiveState, policy: Policy) -> Self {
        Self {
            cursors: Vec::new(),
            by_instrument: HashMap::new(),
            all: false,
            seen_products: 0,
            next_event: state.events().end(),
            snapshots_due: false,
            turn: 0,
            pace: Pace::new(policy),
        }
    }

    /// Adds a product, or starts it anew when it is there already.
    pub fn add(&mut self, state: &LiveState, instrument: Instrument, start: Start) -> Result<(), AddError> {
        self.snapshots_due |= start == Start::Snapshot;
        let at = self.by_instrument.get(&instrument).copied();
        if let Some(cursor) = at.and_then(|at| self.cursors.get_mut(at)) {
            return cursor.restart(state, start);
        }
        let cursor = Cursor::new(state, instrument.clone(), start)?;
        self.by_instrument.insert(instrument, self.cursors.len());
        self.cursors.push(cursor);
        Ok(())
    }

    /// Adds every product, also those that appear later.
    pub fn add_all(&mut self, state: &LiveState, start: Start) {
        self.all = true;
        self.seen_products = state.products();
        for snapshot in state.snapshots() {
            // Only a start at a sequence can fail, and a sequence means nothing across products.
            let _ = self.add(state, snapshot.instrument.clone(), start);
        }
    }

    /// Leaves a product and says whether it was there.
    pub fn remove(&mut self, instrument: &Instrument) -> bool {
        let Some(at) = self.by_instrument.remove(instrument) else {
            return false;
        };
        self.cursors.swap_remove(at);
        if let Some(moved) = self.cursors.get(at) {
            self.by_instrument.insert(moved.instrument.clone(), at);
        }
        true
    }

    /// Leaves all products.
    pub fn remove_all(&mut self) {
        self.all = false;
        self.cursors.clear();
        self.by_instrument.clear();
    }

    /// How many products are subscribed to.
    pub fn products(&self) -> usize {
        self.cursors.len()
    }

    /// Whether the product is subscribed to, by itself or with all.
    pub fn contains(&self, instrument: &Instrument) -> bool {
        self.all || self.by_instrument.contains_key(instrument)
    }

    /// Gives what is new: at most about `max` deliveries (one or two more when several belong together).
    ///
    /// `now` must not go back; `wall` is the time that the snapshot of an unknown product bears. The error ends a lossless
    /// subscription.
    pub fn read(
        &mut self,
        state: &LiveState,
        now: Instant,
        wall: UnixNanos,
        max: usize,
    ) -> Result<Read, FellBehind> {
        self.attach(state);
        self.pace.refresh(now);
        let mut read = Read::default();
        self.read_events(state, max, &mut read.deliveries);
        self.read_snapshots(state, wall, max, &mut read.deliveries);
        let count = self.cursors.len();
        let mut through = true;
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some(cursor) = self.cursors.get_mut(at) else {
                continue;
            };
            let before = read.deliveries.len();
            let stop = cursor.read(state, &mut self.pace, now, wall, max, &mut read.deliveries)?;
            if let Some(stop) = stop {
                through = false;
                // Who was given something goes to the end of the queue.
                self.turn = at + usize::from(read.deliveries.len() > before);
                if let Stop::NoToken(retry) = stop {
                    read.wait = Some(retry);
                    if self.pace.announce() {
                        read.deliveries.push(Delivery::Event(Event::RateLimited { retry }));
                    }
                }
                break;
            }
        }
        if through {
            self.turn = 0;
            self.pace.caught_up();
        }
        Ok(read)
    }

    /// Finds products that have appeared since.
    fn attach(&mut self, state: &LiveState) {
        if self.seen_products == state.products() {
            return;
        }
        let new = self.seen_products..state.products();
        self.snapshots_due = true;
        self.seen_products = state.products();
        for at in new {
            let Some(market) = state.market(at) else { continue };
            match self.by_instrument.get(&market.instrument).and_then(|at| self.cursors.get_mut(*at)) {
                Some(cursor) => cursor.attach(at, market),
                None if self.all => {
                    let mut cursor = Cursor::unborn(market.instrument.clone());
                    cursor.attach(at, market);
                    self.by_instrument.insert(market.instrument.clone(), self.cursors.len());
                    self.cursors.push(cursor);
                }
                None => {}
            }
        }
    }

    fn read_snapshots(
        &mut self,
        state: &LiveState,
        wall: UnixNanos,
        max: usize,
        deliveries: &mut Vec<Delivery>,
    ) {
        if !self.snapshots_due {
            return;
        }
        for cursor in &mut self.cursors {
            if deliveries.len() >= max {
                return;
            }
            deliveries.extend(cursor.read_snapshot(state, wall));
        }
        self.snapshots_due = false;
    }

    fn read_events(&mut self, state: &LiveState, max: usize, deliveries: &mut Vec<Delivery>) {
        if self.next_event == state.events().end() {
            return;
        }
        let (gone, events) = state.events().since(self.next_event);
        if gone > 0 {
            deliveries.push(Delivery::Event(Event::EventsSkipped(gone)));
        }
        self.next_event += gone;
        for event in events {
            if deliveries.len() >= max {
                return;
            }
            self.next_event += 1;
            if self.contains(&event.instrument) {
                deliveries.push(Delivery::Event(Event::Feed(event.clone())));
            }
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
