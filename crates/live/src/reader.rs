//! How one subscriber reads the live state: what it is given next, by its products, its policy and its token bucket.

mod catch_up;
mod cursor;
mod pace;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use domain::{Instrument, UnixNanos};

use crate::{
    Delivery, Ended, Event, LiveState, Policy, Start, Token,
    archive::{Answer, Question},
    epoch::EpochId,
};
use cursor::{Cursor, Moment};
use pace::{Pace, Stop};

/// For how many products history is asked, or what it said is held, at one time: what a subscriber that does not read
/// costs.
const LOADED_MAX: usize = 2;

/// How many products that nobody has heard of yet a subscriber to all products may have left: what it costs.
const LEFT_UNKNOWN_MAX: usize = 1_000;

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// What the subscriber is given, in this order.
    pub deliveries: Vec<Delivery>,
    /// How long to wait before more may be given, when the token bucket is what stands in the way.
    pub wait: Option<Duration>,
    /// When to read again even if nothing new has come.
    pub again: Option<Instant>,
}

/// What history is to be asked.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) instrument: Instrument,
    /// No other question of this subscriber has it, also none of the same product before it was left and added again.
    pub(crate) number: u64,
    pub(crate) question: Question,
}

/// When a read is made, and with what at hand.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// Must not go back.
    pub now: Instant,
    /// The time that the snapshot of an unknown product bears.
    pub wall: UnixNanos,
    /// There is a history to ask.
    pub can_ask: bool,
    /// Every product that there is has been heard of.
    pub is_caught_up: bool,
}

/// One subscriber's cursors. It owns no tick and no queue: it reads from [`LiveState`] when it is asked to.
#[derive(Debug)]
pub struct Reader {
    cursors: Vec<Cursor>,
    by_instrument: HashMap<Instrument, usize>,
    all: bool,
    /// Of all products, it does not want these.
    left: BTreeSet<Instrument>,
    /// How many products of the state were looked at for `all` and for products that were not known yet.
    seen_products: usize,
    next_event: u64,
    /// Some product may have a snapshot due.
    snapshots_due: bool,
    /// Where the next read begins, so that no product starves the others.
    turn: usize,
    pace: Pace,
    /// How many questions were asked.
    asked: u64,
    /// Products were added, and their past has not been given to its end yet.
    live_due: bool,
    /// The epoch of the read before.
    epoch: Option<EpochId>,
    /// It has ended: what was read before that is given first.
    ended: Option<Ended>,
}

impl Reader {
    /// A subscriber without products.
    pub fn new(state: &LiveState, policy: Policy) -> Self {
        Self {
            cursors: Vec::new(),
            by_instrument: HashMap::new(),
            all: false,
            left: BTreeSet::new(),
            seen_products: 0,
            next_event: state.events().end(),
            snapshots_due: false,
            turn: 0,
            pace: Pace::new(policy),
            asked: 0,
            live_due: false,
            epoch: state.epoch(),
            ended: None,
        }
    }

    /// Adds a product, or starts it anew when it is there already.
    pub fn add(&mut self, state: &LiveState, instrument: Instrument, start: &Start) {
        self.live_due = true;
        self.snapshots_due = true;
        self.left.remove(&instrument);
        let at = self.by_instrument.get(&instrument).copied();
        if let Some(cursor) = at.and_then(|at| self.cursors.get_mut(at)) {
            return cursor.restart(state, start);
        }
        self.by_instrument.insert(instrument.clone(), self.cursors.len());
        self.cursors.push(Cursor::new(state, instrument, start));
    }

    /// Adds every product, also those that appear later; after a token, without those that had been left when it was made and
    /// were not added since.
    pub fn add_all(&mut self, state: &LiveState, start: &Start) {
        self.live_due = true;
        self.all = true;
        self.seen_products = state.products();
        let left = if let Start::Token(token) = start { token.left() } else { &[] };
        self.left = left.iter().filter(|left| !self.by_instrument.contains_key(left)).cloned().collect();
        for instrument in state.snapshots().map(|snapshot| &snapshot.instrument) {
            if self.contains(instrument) {
                self.add(state, instrument.clone(), start);
            }
        }
        if let Start::Token(token) = start {
            // What this process has not heard of yet.
            for instrument in token.instruments().filter(|instrument| state.find(instrument).is_none()) {
                self.add(state, instrument.clone(), start);
            }
        }
    }

    /// Leaves a product and says whether it was there.
    ///
    /// Whoever is subscribed to all products leaves this one until it is added again.
    pub fn remove(&mut self, instrument: &Instrument) -> bool {
        let at = self.by_instrument.remove(instrument);
        let cursor = at.map(|at| self.cursors.swap_remove(at));
        let is_known = cursor.is_some_and(|cursor| cursor.is_known());
        if self.all && (is_known || self.left.len() < LEFT_UNKNOWN_MAX) {
            self.left.insert(instrument.clone());
        }
        let Some(at) = at else {
            return false;
        };
        if let Some(moved) = self.cursors.get(at) {
            self.by_instrument.insert(moved.instrument.clone(), at);
        }
        true
    }

    /// Leaves all products.
    pub fn remove_all(&mut self) {
        self.all = false;
        self.left.clear();
        self.cursors.clear();
        self.by_instrument.clear();
    }

    /// Whether every product is subscribed to.
    pub(crate) fn is_of_all(&self) -> bool {
        self.all
    }

    /// The products that are subscribed to.
    pub(crate) fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.cursors.iter().map(|cursor| &cursor.instrument)
    }

    /// How many products are subscribed to.
    pub fn products(&self) -> usize {
        self.cursors.len()
    }

    /// Whether the product is subscribed to, by itself or with all.
    pub fn contains(&self, instrument: &Instrument) -> bool {
        self.by_instrument.contains_key(instrument) || self.all && !self.left.contains(instrument)
    }

    /// The text of a token that resumes the whole subscription from here; `None` while it is not known which history this
    /// is or where some product begins, while a state that was asked for was not given, when there are no products, and when
    /// they are too many for one token.
    pub fn token(&self, state: &LiveState) -> Option<String> {
        let epoch = state.epoch()?;
        if self.cursors.is_empty() && !self.all {
            return None;
        }
        let places: Result<Vec<_>, _> =
            self.cursors.iter().map(|cursor| Ok((&cursor.instrument, cursor.place()?))).collect();
        let places: Vec<_> = places.map_err(|_: cursor::Unplaced| ()).ok()?;
        Token::text_of_all(epoch, self.all, places.into_iter(), self.left.iter())
    }

    /// Gives what is new: at most about `max` deliveries (one or two more when several belong together).
    ///
    /// The error ends the subscription.
    pub fn read(&mut self, state: &LiveState, when: When, max: usize) -> Result<Read, Ended> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        self.attach(state);
        self.pace.refresh(when.now);
        let moment = self.moment(when, max);
        let mut read = Read::default();
        self.read_events(state, max, &mut read.deliveries);
        self.read_snapshots(state, when.wall, max, &mut read.deliveries);
        let count = self.cursors.len();
        let mut through = true;
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some(cursor) = self.cursors.get_mut(at) else {
                continue;
            };
            let before = read.deliveries.len();
            let stop = match cursor.read(state, &mut self.pace, moment, &mut read.again, &mut read.deliveries)
            {
                Ok(stop) => stop,
                Err(ended) if read.deliveries.is_empty() => return Err(self.ended.insert(ended).clone()),
                Err(ended) => {
                    self.ended = Some(ended);
                    return Ok(read);
                }
            };
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
        if self.live_due && !self.snapshots_due && self.cursors.iter().all(Cursor::is_live) {
            self.live_due = false;
            read.deliveries.push(Delivery::Event(Event::Live));
        }
        self.epoch = state.epoch().or(self.epoch);
        Ok(read)
    }

    /// What history is to be asked next. Each question is to be answered.
    pub(crate) fn questions(&mut self, state: &LiveState, when: When) -> Vec<Ask> {
        let moment = self.moment(when, 1);
        let mut room =
            LOADED_MAX.saturating_sub(self.cursors.iter().filter(|cursor| cursor.is_loaded()).count());
        let mut asks = Vec::new();
        for cursor in &mut self.cursors {
            if room == 0 {
                break;
            }
            let number = self.asked + 1;
            if let Some(question) = cursor.question(number, state, moment) {
                self.asked = number;
                asks.push(Ask { instrument: cursor.instrument.clone(), number, question });
                room -= 1;
            }
        }
        asks
    }

    /// Whether the answer to this question is still of use.
    pub(crate) fn is_asking(&self, instrument: &Instrument, number: u64) -> bool {
        let at = self.by_instrument.get(instrument);
        at.and_then(|at| self.cursors.get(*at)).is_some_and(|cursor| cursor.is_asking(number))
    }

    /// History has answered.
    pub(crate) fn answered(
        &mut self,
        state: &LiveState,
        instrument: &Instrument,
        number: u64,
        answer: Answer,
        now: Instant,
    ) {
        let at = self.by_instrument.get(instrument).copied();
        if let Some(cursor) = at.and_then(|at| self.cursors.get_mut(at)) {
            cursor.answered(number, state, answer, now);
        }
    }

    /// What the cursors occupy, in bytes, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        let names = self.by_instrument.capacity() * (size_of::<(Instrument, usize)>() + 1);
        let left = self.left.len() * size_of::<Instrument>();
        names + left + self.cursors.capacity() * size_of::<Cursor>()
    }

    /// Whether some product is still on its way from the past.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.cursors.iter().any(Cursor::is_catching_up)
    }

    fn moment(&self, when: When, max: usize) -> Moment {
        let When { now, wall, can_ask, is_caught_up } = when;
        Moment { now, wall, can_ask, is_caught_up, epoch: self.epoch, max }
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
                None if self.all && !self.left.contains(&market.instrument) => {
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
