//! How far a subscriber has come with one product.

use std::{sync::Arc, time::Instant};

use domain::{Instrument, MarketState, Position, Snapshot, UnixNanos};
use metrics::counter;

use super::{
    catch_up::{CatchUp, Next},
    pace::{Pace, Stop},
};
use crate::{
    Delivery, Ended, Event, LiveState, LiveTick, NotRecovered, Start, Token,
    archive::{Answer, Question},
    epoch::{EpochCell, EpochId},
    metrics as names,
    state::Market,
};

/// What a read goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// What the snapshot of an unknown product bears.
    pub(super) wall: UnixNanos,
    /// There is a history to ask.
    pub(super) can_ask: bool,
    /// Every product that there is has been heard of.
    pub(super) is_caught_up: bool,
    /// The epoch that the subscriber was in when it read last.
    pub(super) epoch: Option<EpochId>,
    /// At most so many deliveries.
    pub(super) max: usize,
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
    /// Where the subscriber began when nothing was given yet.
    base: Option<Position>,
    /// The holes of the product that the subscriber knows of.
    holes: u64,
    snapshot_due: bool,
    /// Up to here is the past: every tick of it is given, whatever the policy.
    promised: Option<Position>,
    /// On the way into the present.
    catch_up: Option<Box<CatchUp>>,
    /// Conflation at an interval: when the next tick may be given.
    next_at: Option<Instant>,
}

impl Cursor {
    pub(super) fn new(state: &LiveState, instrument: Instrument, start: &Start) -> Self {
        let mut cursor = Self::unborn(instrument);
        cursor.market = state.find(&cursor.instrument);
        if let Some(market) = cursor.market_in(state) {
            cursor.next = market.ring.end();
            cursor.holes = market.holes;
            cursor.base = Some(market.snapshot.position);
        }
        cursor.restart(state, start);
        cursor
    }

    /// A product of which nothing is known yet.
    pub(super) fn unborn(instrument: Instrument) -> Self {
        Self {
            instrument,
            market: None,
            next: 0,
            given: None,
            base: None,
            holes: 0,
            snapshot_due: false,
            promised: None,
            catch_up: None,
            next_at: None,
        }
    }

    /// The product has appeared: everything of it is new, unless it has holes already. When it appeared with a snapshot, that
    /// comes first.
    pub(super) fn attach(&mut self, at: usize, market: &Market) {
        if self.market.is_none() {
            self.market = Some(at);
            self.snapshot_due |= market.ring.end() == 0 && self.catch_up.is_none();
        }
    }

    /// Another start in mid-session. Going back is not possible: what was given is not given again.
    pub(super) fn restart(&mut self, state: &LiveState, start: &Start) {
        match CatchUp::new(start, &self.instrument) {
            Some(catch_up) if self.given.is_none() => {
                self.base = None;
                self.catch_up = Some(Box::new(catch_up));
                self.promised = self.market_in(state).map(|market| market.snapshot.position);
            }
            Some(_) => {}
            None => self.snapshot_due |= *start != Start::Now && self.catch_up.is_none(),
        }
    }

    fn market_in<'a>(&self, state: &'a LiveState) -> Option<&'a Market> {
        state.market(self.market?)
    }

    /// The product has appeared.
    pub(super) fn is_known(&self) -> bool {
        self.market.is_some()
    }

    /// Everything from the past was given.
    pub(super) fn is_live(&self) -> bool {
        self.catch_up.is_none() && self.promised.is_none() && !self.snapshot_due
    }

    pub(super) fn is_catching_up(&self) -> bool {
        self.catch_up.is_some()
    }

    /// Where a token resumes; the error is that this is not known yet.
    pub(super) fn place(&self) -> Result<Option<Position>, Unplaced> {
        match &self.catch_up {
            Some(catch_up) => catch_up.place().map(Some).ok_or(Unplaced),
            // Whoever resumed from there would never be given the state that was asked for.
            None if self.snapshot_due && self.given.is_none() => Err(Unplaced),
            None if self.promised.is_some() => self.given.or(self.base).map(Some).ok_or(Unplaced),
            None => Ok(self.given.or(self.base)),
        }
    }

    /// Gives the snapshot that is due, if one is: it needs no token and waits for nobody.
    pub(super) fn read_snapshot(&mut self, state: &LiveState, wall: UnixNanos) -> Option<Delivery> {
        if !std::mem::take(&mut self.snapshot_due) {
            return None;
        }
        let Some(market) = self.market_in(state) else {
            let snapshot = self.unknown(wall);
            return Some(Delivery::Snapshot { snapshot, skipped: 0, token: String::new() });
        };
        let skipped = if self.given.is_some() { market.ring.end().saturating_sub(self.next) } else { 0 };
        Some(self.give_snapshot(state, market, skipped))
    }

    /// Gives what is new of this product. `Ok(None)`: everything that can be given was given.
    pub(super) fn read(
        &mut self,
        state: &LiveState,
        pace: &mut Pace,
        moment: Moment,
        again: &mut Option<Instant>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<Option<Stop>, Ended> {
        loop {
            if self.catch_up.is_some() {
                match self.catch_up(state, moment, again, deliveries)? {
                    Progress::Present => {}
                    Progress::Full => return Ok(Some(Stop::Full)),
                    Progress::Waits => return Ok(None),
                }
            }
            let Some(market) = self.market_in(state) else {
                return Ok(None);
            };
            if market.holes != self.holes {
                self.cross_hole(state, market, moment, deliveries);
                continue;
            }
            match self.follow(state, market, pace, moment, again, deliveries)? {
                Followed::Stopped(stop) => return Ok(stop),
                // What was promised has left memory meanwhile.
                Followed::Lost => {}
            }
        }
    }

    /// Gives what is new in the ring.
    fn follow(
        &mut self,
        state: &LiveState,
        market: &Market,
        pace: &mut Pace,
        moment: Moment,
        again: &mut Option<Instant>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<Followed, Ended> {
        while self.next < market.ring.end() {
            if deliveries.len() >= moment.max {
                return Ok(Followed::Stopped(Some(Stop::Full)));
            }
            let newest = market.ring.end() - 1;
            let gone = self.next < market.ring.first();
            if gone && let Some(place) = self.promised.and(self.given.or(self.base)) {
                self.catch_up = Some(Box::new(CatchUp::after(place, moment.epoch).begun()));
                return Ok(Followed::Lost);
            }
            if gone && pace.is_lossless() {
                return Err(self.fell_behind());
            }
            let next = market.ring.get(self.next).map(|tick| tick.position());
            if self.promised.is_some() && next > self.promised {
                self.promised = None;
            }
            let mut index = self.next;
            if self.promised.is_none() {
                if let Some(at) = self.next_at.filter(|at| *at > moment.now) {
                    *again = again.map_or(Some(at), |again| Some(again.min(at)));
                    return Ok(Followed::Stopped(None));
                }
                if let Err(stop) = pace.take(moment.now) {
                    return Ok(Followed::Stopped(Some(stop)));
                }
                if gone || pace.conflates(newest - self.next + 1) {
                    index = newest;
                }
                self.next_at = pace.interval().map(|interval| moment.now + interval);
            }
            match market.ring.get(index) {
                Some(tick) => deliveries.push(self.give(state, market, tick, index)),
                // The ring holds every index between its first and its end.
                None => self.next = market.ring.end(),
            }
        }
        self.promised = None;
        Ok(Followed::Stopped(None))
    }

    /// Comes a step closer to the present.
    fn catch_up(
        &mut self,
        state: &LiveState,
        moment: Moment,
        again: &mut Option<Instant>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<Progress, Ended> {
        let market = self.market_in(state);
        while let Some(catch_up) = &mut self.catch_up {
            // Whoever joins the ring reads from it at once.
            if deliveries.len() >= moment.max {
                return Ok(Progress::Full);
            }
            match catch_up.next(state, market, moment) {
                Next::Give => {
                    while let Some(tick) = catch_up.take() {
                        let epoch = EpochCell::clone(state.epoch_cell());
                        // History has only ticks with a position.
                        let Some(tick) = LiveTick::new(tick, None, epoch).map(Arc::new) else { continue };
                        if self.given < Some(tick.position()) {
                            self.given = Some(tick.position());
                            deliveries.push(Delivery::Tick { tick, skipped: 0 });
                        }
                        if deliveries.len() >= moment.max {
                            return Ok(Progress::Full);
                        }
                    }
                }
                Next::Join(index) => {
                    if let Some(market) = market {
                        let newest = market.snapshot.position;
                        // What the subscriber came with is where it stands, until more is given.
                        self.base = catch_up.place().or((index == market.ring.end()).then_some(newest));
                        self.next = index;
                        self.holes = market.holes;
                        self.promised.get_or_insert(newest);
                    }
                    self.catch_up = None;
                }
                Next::Unborn => {
                    self.catch_up = None;
                    self.promised = None;
                }
                Next::Fail(reason) => self.give_up(state, moment, reason, deliveries)?,
                Next::Again(at) => {
                    *again = again.map_or(Some(at), |again| Some(again.min(at)));
                    return Ok(Progress::Waits);
                }
                Next::Ask(_) | Next::Asking => return Ok(Progress::Waits),
            }
        }
        Ok(Progress::Present)
    }

    /// What history is to be asked for this product, as the question of this number.
    pub(super) fn question(&mut self, number: u64, state: &LiveState, moment: Moment) -> Option<Question> {
        let market = self.market_in(state);
        let catch_up = self.catch_up.as_mut()?;
        if catch_up.is_loaded() {
            return None;
        }
        catch_up.question(number, state, market, moment)
    }

    /// Whether history was asked for this product and what it said is not used up.
    pub(super) fn is_loaded(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.is_loaded())
    }

    /// Whether the answer to this question is still waited for.
    pub(super) fn is_asking(&self, number: u64) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.is_asking(number))
    }

    /// History has answered; an answer to an earlier question is nothing any more.
    pub(super) fn answered(&mut self, number: u64, state: &LiveState, answer: Answer, now: Instant) {
        let market = self.market_in(state);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.answered(number, answer, market, now);
        }
    }

    /// The past cannot be given: none of it is, and the present begins with the full state.
    fn give_up(
        &mut self,
        state: &LiveState,
        moment: Moment,
        reason: NotRecovered,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Ended> {
        let Some(catch_up) = self.catch_up.take_if(|catch_up| !catch_up.is_begun()) else {
            counter!(names::NOT_RECOVERED, "outcome" => "interrupted").increment(1);
            return Err(Ended::Interrupted { instrument: self.instrument.clone(), reason });
        };
        counter!(names::NOT_RECOVERED, "outcome" => "not_recovered").increment(1);
        let after = self.given.or_else(|| catch_up.place());
        let instrument = self.instrument.clone();
        deliveries.push(Delivery::Event(Event::NotRecovered { instrument, after, reason }));
        self.promised = None;
        if let Some(market) = self.market_in(state) {
            self.next = market.ring.end();
            self.holes = market.holes;
        }
        self.snapshot_due = true;
        deliveries.extend(self.read_snapshot(state, moment.wall));
        Ok(())
    }

    /// The stream has lost ticks before they came here: history has them, or the subscriber is told.
    fn cross_hole(
        &mut self,
        state: &LiveState,
        market: &Market,
        moment: Moment,
        deliveries: &mut Vec<Delivery>,
    ) {
        self.holes = market.holes;
        match self.given.or(self.base) {
            Some(place) => {
                self.promised = Some(market.snapshot.position);
                self.catch_up = Some(Box::new(CatchUp::after(place, moment.epoch)));
            }
            // Nothing was given and nothing known: what is there now is the beginning.
            None => {
                self.next = market.ring.end();
                self.snapshot_due = true;
                deliveries.extend(self.read_snapshot(state, moment.wall));
            }
        }
    }

    fn give(&mut self, state: &LiveState, market: &Market, tick: &Arc<LiveTick>, index: u64) -> Delivery {
        let skipped = index - self.next;
        if skipped > 0 && !tells_everything(tick, &market.snapshot.state) {
            return self.give_snapshot(state, market, skipped + 1);
        }
        self.next = index + 1;
        self.given = Some(tick.position());
        Delivery::Tick { tick: Arc::clone(tick), skipped }
    }

    fn give_snapshot(&mut self, state: &LiveState, market: &Market, skipped: u64) -> Delivery {
        let snapshot = Arc::clone(&market.snapshot);
        self.next = market.ring.end();
        self.given = Some(snapshot.position);
        let token = state.epoch().map(|epoch| Token::text_of(epoch, &self.instrument, snapshot.position));
        Delivery::Snapshot { snapshot, skipped, token: token.unwrap_or_default() }
    }

    fn fell_behind(&self) -> Ended {
        Ended::FellBehind { instrument: self.instrument.clone(), after: self.given }
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

/// It is not known yet where a product resumes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unplaced;

/// How a step into the present went.
enum Progress {
    Present,
    Waits,
    Full,
}

/// How reading the ring went.
enum Followed {
    Stopped(Option<Stop>),
    Lost,
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
