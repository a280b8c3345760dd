//! The state of all products: pure and synchronous.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use domain::{EventKind, FeedEvent, Instrument, Position, ProductDetails, Snapshot, Tick, TickBatch};

use crate::{
    Config, LiveTick,
    epoch::{EpochCell, EpochId},
    events::EventLog,
    ring::Ring,
};

/// What became of the ticks that were applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Ticks that moved their product on.
    pub accepted: u64,
    /// Ticks at or before the position of their product: seen before.
    pub old: u64,
    /// Ticks without a position, which are no part of the live feed.
    pub backfilled: u64,
    /// Ticks of products for which there is no room.
    pub refused: u64,
    /// Ticks that left a ring to make room.
    pub evicted: u64,
}

/// The newest state and the newest ticks of every product.
///
/// A product moves by position only: what is at or before its position changes nothing, so that the ring is strictly
/// increasing whatever is applied in whatever order.
#[derive(Debug)]
pub struct LiveState {
    config: Config,
    markets: Vec<Market>,
    by_instrument: HashMap<Instrument, usize>,
    events: EventLog,
    details: HashMap<Instrument, Arc<ProductDetails>>,
    ticks: u64,
    epoch: EpochCell,
}

/// One product.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) instrument: Instrument,
    /// There from the first tick or snapshot on; its position is that of the newest tick in the ring, if there is one.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) ring: Ring,
    /// How often ticks were missing between what the ring held and what came next.
    pub(crate) holes: u64,
}

impl LiveState {
    /// Nothing known yet.
    pub fn new(config: Config) -> Self {
        let events = EventLog::new(config.events_max);
        Self {
            config,
            markets: Vec::new(),
            by_instrument: HashMap::new(),
            events,
            details: HashMap::new(),
            ticks: 0,
            epoch: EpochCell::default(),
        }
    }

    /// Applies the ticks of a message of `LF_TICKS`.
    pub fn apply(&mut self, stream_sequence: u64, batch: TickBatch) -> Applied {
        let mut applied = Applied::default();
        for tick in batch.ticks {
            self.apply_tick(stream_sequence, tick, &mut applied);
        }
        self.ticks += applied.accepted;
        applied
    }

    /// Whether a snapshot would change anything: its product is not known and there is room for it, or it is of a later
    /// position than is known.
    pub fn is_behind(&self, snapshot: &Snapshot) -> bool {
        match self.find(&snapshot.instrument).and_then(|at| self.market(at)) {
            Some(market) => market.snapshot.position < snapshot.position,
            None => self.has_room(),
        }
    }

    /// Takes over a snapshot when it is newer than what is known, and says whether it was. The ring is then empty: the
    /// ticks between what it held and the snapshot are not here.
    pub fn apply_snapshot(&mut self, snapshot: Snapshot) -> bool {
        let room = self.has_room();
        match self.by_instrument.entry(snapshot.instrument.clone()) {
            Entry::Vacant(entry) if room => {
                entry.insert(self.markets.len());
                self.markets.push(Market::new(snapshot));
                true
            }
            Entry::Vacant(_) => false,
            Entry::Occupied(entry) => {
                let Some(market) = self.markets.get_mut(*entry.get()) else {
                    return false;
                };
                let newer = snapshot.position > market.snapshot.position;
                if newer {
                    market.tear();
                    market.ring.begin_after(snapshot.position);
                    market.snapshot = Arc::new(snapshot);
                }
                newer
            }
        }
    }

    /// Fills the state anew when messages of the stream are gone: every product that moves by this has a hole, and its
    /// subscribers are told.
    pub fn refill(&mut self, snapshots: Vec<Snapshot>, batches: Vec<(u64, TickBatch)>) -> Applied {
        for snapshot in snapshots {
            self.apply_snapshot(snapshot);
        }
        let mut applied = Applied::default();
        for (stream_sequence, batch) in batches {
            let instrument = batch.instrument.clone();
            let known = self.find(&instrument).and_then(|at| self.markets.get_mut(at));
            let is_known = known.is_some();
            let oldest = batch.ticks.iter().filter_map(Tick::position).min();
            if let (Some(market), Some(oldest)) = (known, oldest)
                && oldest > market.snapshot.position
            {
                market.tear();
            }
            let now = self.apply(stream_sequence, batch);
            if !is_known && let Some(market) = self.find(&instrument).and_then(|at| self.markets.get_mut(at))
            {
                // Nobody knows what came before: for whoever waits for the product this is no beginning.
                market.holes += 1;
            }
            applied.accepted += now.accepted;
            applied.old += now.old;
            applied.backfilled += now.backfilled;
            applied.refused += now.refused;
            applied.evicted += now.evicted;
        }
        applied
    }

    /// Adds an event for subscribers. Details of a product are none: they say nothing of its feed, and are kept instead, for
    /// as many products as may be known.
    pub fn apply_event(&mut self, event: FeedEvent) {
        match event.kind {
            EventKind::Product(details) => {
                if self.details.len() < self.config.products_max
                    || self.details.contains_key(&event.instrument)
                {
                    self.details.insert(event.instrument, Arc::new(details));
                }
            }
            _ => self.events.push(event),
        }
    }

    /// What the exchange says of a product itself; `None` while it was not asked.
    pub fn details(&self, instrument: &Instrument) -> Option<Arc<ProductDetails>> {
        self.details.get(instrument).cloned()
    }

    /// The index that the next event will get.
    pub fn next_event(&self) -> u64 {
        self.events.end()
    }

    /// The events from `index` on, as far as they are still here.
    pub fn events_since(&self, index: u64) -> impl Iterator<Item = &Arc<FeedEvent>> {
        self.events.since(index).1
    }

    /// The newest state of a product; `None` before its first tick.
    pub fn snapshot(&self, instrument: &Instrument) -> Option<Arc<Snapshot>> {
        let at = *self.by_instrument.get(instrument)?;
        self.markets.get(at).map(|market| Arc::clone(&market.snapshot))
    }

    /// The newest tick of a product, which its state includes; `None` when it is not in memory, e.g. because the state is
    /// that of a stored snapshot.
    pub fn newest_tick(&self, instrument: &Instrument) -> Option<&Arc<LiveTick>> {
        let ring = &self.market(self.find(instrument)?)?.ring;
        ring.get(ring.end().checked_sub(1)?)
    }

    /// The newest state of every product, in the order in which they appeared.
    pub fn snapshots(&self) -> impl Iterator<Item = &Arc<Snapshot>> {
        self.markets.iter().map(|market| &market.snapshot)
    }

    /// How many products are known.
    pub fn products(&self) -> usize {
        self.markets.len()
    }

    /// How many ticks have moved a product on.
    pub fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Which history this is, as far as is known.
    pub(crate) fn epoch(&self) -> Option<EpochId> {
        self.epoch.get().copied()
    }

    pub(crate) fn epoch_cell(&self) -> &EpochCell {
        &self.epoch
    }

    /// The epoch has become known, or has changed, or is no longer known. Ticks that are here belong to the one before.
    pub(crate) fn set_epoch(&mut self, epoch: Option<EpochId>) {
        if self.epoch() == epoch {
            return;
        }
        if self.epoch().is_some() {
            self.epoch = EpochCell::default();
        }
        if let Some(epoch) = epoch {
            // Empty: it is new, or nothing was known before.
            let _ = self.epoch.set(epoch);
        }
    }

    pub(crate) fn market(&self, at: usize) -> Option<&Market> {
        self.markets.get(at)
    }

    pub(crate) fn find(&self, instrument: &Instrument) -> Option<usize> {
        self.by_instrument.get(instrument).copied()
    }

    pub(crate) fn events(&self) -> &EventLog {
        &self.events
    }

    fn apply_tick(&mut self, stream_sequence: u64, tick: Tick, applied: &mut Applied) {
        let epoch = EpochCell::clone(&self.epoch);
        let Some(live) = LiveTick::new(tick, Some(stream_sequence), epoch).map(Arc::new) else {
            applied.backfilled += 1;
            return;
        };
        let Some(at) = self.market_of(&live) else {
            applied.refused += 1;
            return;
        };
        let Some(market) = self.markets.get_mut(at) else { return };
        if market.is_moved_by(live.position()) {
            let snapshot = Arc::make_mut(&mut market.snapshot);
            snapshot.position = live.position();
            snapshot.snapshot_time = live.tick().receive_time;
            snapshot.state.apply(live.tick());
            applied.accepted += 1;
            applied.evicted += market.ring.push(live, &self.config);
        } else {
            applied.old += 1;
        }
    }

    /// The product of `tick`, which is created by its first tick.
    fn market_of(&mut self, tick: &LiveTick) -> Option<usize> {
        let instrument = &tick.tick().instrument;
        if !self.by_instrument.contains_key(instrument) {
            if !self.has_room() {
                return None;
            }
            self.by_instrument.insert(instrument.clone(), self.markets.len());
            self.markets.push(Market::unborn(tick)?);
        }
        self.find(instrument)
    }

    fn has_room(&self) -> bool {
        self.markets.len() < self.config.products_max
    }
}

impl Market {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            instrument: snapshot.instrument.clone(),
            ring: Ring::after(snapshot.position),
            snapshot: Arc::new(snapshot),
            holes: 0,
        }
    }

    /// A product before its first tick, which is about to be applied.
    fn unborn(tick: &LiveTick) -> Option<Self> {
        let mut snapshot = Snapshot::first(tick.tick())?;
        snapshot.position = Position::default();
        Some(Self { ring: Ring::default(), ..Self::new(snapshot) })
    }

    fn is_moved_by(&self, position: Position) -> bool {
        // The first tick may have position 0/0, which is not after the position of a product without a tick.
        position > self.snapshot.position
            || (self.ring.end() == 0 && self.snapshot.position == Position::default())
    }

    /// What comes next does not follow upon what the ring holds.
    fn tear(&mut self) {
        self.ring.clear();
        self.holes += 1;
    }
}

mod begin;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
