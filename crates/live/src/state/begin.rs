//! The first filling of the state: with the recent past, gathered beside it.

use std::{sync::Arc, time::Duration};

use domain::Snapshot;

use super::{LiveState, Market};
use crate::epoch::EpochCell;

impl LiveState {
    /// How far back the ticks are wanted that were there before the start.
    pub(crate) fn reach(&self) -> Duration {
        self.config.ring_age
    }

    /// An empty state with the same limits, to be filled while nobody looks and then taken over with [`Self::begin`]: the
    /// ticks in it learn their epoch with those of this one.
    pub(crate) fn beside(&self) -> Self {
        Self { epoch: EpochCell::clone(&self.epoch), ..Self::new(self.config.clone()) }
    }

    /// Takes over what was gathered beside it, and the snapshots. Must come before anything else is applied.
    pub(crate) fn begin(&mut self, recent: Self, snapshots: Vec<Snapshot>) {
        self.ticks += recent.ticks;
        (self.markets, self.by_instrument) = (recent.markets, recent.by_instrument);
        for market in &mut self.markets {
            // Nobody knows what came before: for whoever waits for the product this is no beginning.
            market.holes += 1;
        }
        for snapshot in snapshots {
            let known = self.find(&snapshot.instrument).and_then(|at| self.markets.get_mut(at));
            match known.filter(|market| snapshot.position <= market.snapshot.position) {
                Some(market) => market.stand_on(snapshot),
                None => drop(self.apply_snapshot(snapshot)),
            }
        }
    }
}

impl Market {
    /// The newest state is that of `snapshot`, which tells what happened before the ring too, and of the ticks since.
    fn stand_on(&mut self, mut snapshot: Snapshot) {
        for tick in self.ring.since(snapshot.position) {
            snapshot.position = tick.position();
            snapshot.snapshot_time = tick.tick().receive_time;
            snapshot.state.apply(tick.tick());
        }
        self.snapshot = Arc::new(snapshot);
    }
}
