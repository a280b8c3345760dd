//! The rules of a shard, without I/O: what of a raw batch goes on, what is refused, what was seen before, what is missing.

use std::{collections::BTreeSet, collections::HashMap, time::Duration};

use bus::RecoveredRefusals;
use domain::{Gap, Instrument, LegId, Legs, Position, Snapshot, TickBatch, UnixNanos, validate};

use crate::{
    product::{Merging, Product},
    round::{RawPlace, Round},
};

/// More ticks of all products together are not held back: some 16 MiB.
const HELD_TICKS_MAX: usize = 32_768;

/// What is known of the products of one shard.
#[derive(Debug)]
pub(crate) struct ShardState {
    merge_wait: Duration,
    legs: Legs,
    products: HashMap<Instrument, Product>,
    /// The products of which something is held back.
    holding: BTreeSet<Instrument>,
    /// How much is held back.
    held: usize,
}

impl ShardState {
    /// Knows of nothing yet. What is missing is waited for up to `merge_wait`, as long as another leg may bring it.
    pub(crate) fn new(merge_wait: Duration, now: UnixNanos) -> Self {
        Self { merge_wait, legs: Legs::new(now), products: HashMap::new(), holding: BTreeSet::new(), held: 0 }
    }

    /// Goes on after the last batch that was published for a product. `raw_is_same` says whether the raw stream is still
    /// the one that the batch was made from: in a new one, its sequence means nothing.
    pub(crate) fn recover_batch(&mut self, batch: &TickBatch, raw_is_same: bool) {
        let newest = batch.ticks.iter().filter_map(|tick| Some((tick.position()?, tick.event_time))).max();
        let Some((position, event_time)) = newest else {
            return;
        };
        let trade = batch.ticks.iter().rev().find_map(|tick| Some((tick.trade_id()?, tick.event_time)));
        self.recover(&batch.instrument, position, || {
            Product::recovered(position, event_time, Some(&batch.session), trade)
        });
        if let Some(raw) = batch.raw_sequence.filter(|_| raw_is_same) {
            self.published(&batch.instrument, raw);
        }
    }

    /// Goes on after a snapshot, for products whose ticks have aged out.
    pub(crate) fn recover_snapshot(&mut self, snapshot: &Snapshot) {
        let event_time = snapshot.state.updated_at().unwrap_or(snapshot.snapshot_time);
        let trade = snapshot.state.last_trade.as_ref().and_then(|(trade, at)| Some((trade.trade_id?, *at)));
        self.recover(&snapshot.instrument, snapshot.position, || {
            Product::recovered(snapshot.position, event_time, None, trade)
        });
    }

    /// Takes over the newest gap that was announced of a product, after its batch and its snapshot.
    pub(crate) fn recover_gap(&mut self, gap: &Gap) {
        let product = self.products.entry(gap.instrument.clone()).or_default();
        product.recover_gap(gap.run, gap.first_trade_id, gap.last_trade_id);
    }

    /// Takes over the faulty trades that were filed last, after the batch and the snapshot of their product: they are neither told
    /// to be missing nor fetched.
    pub(crate) fn recover_refused(&mut self, refused: &RecoveredRefusals) {
        let product = self.products.entry(refused.instrument.clone()).or_default();
        product.recover_refused(&refused.trades, refused.received);
    }

    fn recover(&mut self, instrument: &Instrument, at: Position, product: impl FnOnce() -> Product) {
        if self.position(instrument).is_none_or(|known| known < at) {
            self.products.insert(instrument.clone(), product());
        }
    }

    /// How many products are known.
    pub(crate) fn products(&self) -> usize {
        self.products.len()
    }

    /// The newest position of a product.
    pub(crate) fn position(&self, instrument: &Instrument) -> Option<Position> {
        self.products.get(instrument).and_then(Product::position)
    }

    /// Notes that the live raw messages of a product up to this one have gone out whole.
    pub(crate) fn published(&mut self, instrument: &Instrument, raw: u64) {
        if let Some(product) = self.products.get_mut(instrument) {
            product.published(raw);
        }
    }

    /// Whether this live raw message went out before its owner died: it only needs to be acknowledged.
    pub(crate) fn is_done(&self, instrument: &Instrument, raw: u64) -> bool {
        self.products.get(instrument).is_some_and(|product| product.is_done(raw))
    }

    /// Whether something of this live raw message is held back.
    pub(crate) fn holds(&self, instrument: &Instrument, raw: u64) -> bool {
        self.products.get(instrument).is_some_and(|product| product.holds(raw))
    }

    /// How long what is missing is waited for from now on.
    pub(crate) fn set_merge_wait(&mut self, merge_wait: Duration) {
        self.merge_wait = merge_wait;
    }

    /// How much is held back: ticks and heartbeats.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// When something of what is held back has waited for long enough.
    pub(crate) fn deadline(&self) -> Option<UnixNanos> {
        let products = self.holding.iter().filter_map(|instrument| self.products.get(instrument));
        products.filter_map(Product::deadline).min()
    }

    /// Who brings the feed: the legs, with the instance of each.
    pub(crate) fn legs(&self) -> impl Iterator<Item = (LegId, &str)> {
        self.legs.iter()
    }

    /// Judges a live batch, message `raw` of the raw stream.
    pub(crate) fn live(&mut self, batch: TickBatch, raw: u64, round: &mut Round) {
        let instrument = batch.instrument.clone();
        let leg = self.legs.hear(&batch.session, round.now);
        self.with_product(instrument, round, |product, merging, round| {
            product.live(batch, raw, leg, merging, round);
        });
    }

    /// Lets out what need not be held back any longer, of all products.
    pub(crate) fn release(&mut self, round: &mut Round) {
        for instrument in std::mem::take(&mut self.holding) {
            self.with_product(instrument.clone(), round, |product, merging, round| {
                product.release(&instrument, merging, round);
            });
        }
    }

    /// Judges a backfilled batch: its ticks have no place in the sequence.
    pub(crate) fn fill(&self, batch: TickBatch, raw: u64, round: &mut Round) {
        let TickBatch { instrument, ticks, session, .. } = batch;
        let mut fills = Vec::with_capacity(ticks.len());
        for (index, mut tick) in ticks.into_iter().enumerate() {
            tick.flags.backfilled = true;
            match validate(&mut tick) {
                Ok(()) => fills.push(tick),
                Err(fault) => {
                    // It must not hide what the one before it says.
                    let trades = self.products.get(&instrument).map(Product::refused);
                    let at = RawPlace { raw, index };
                    round.refuse_trade(tick, at, fault.reason(), fault.to_string(), trades);
                }
            }
        }
        round.fill(&instrument, fills, &session, raw);
    }

    /// Does something with a product, and notes what of it is held back then.
    fn with_product(
        &mut self,
        instrument: Instrument,
        round: &mut Round,
        work: impl FnOnce(&mut Product, &Merging<'_>, &mut Round),
    ) {
        let product = self.products.entry(instrument.clone()).or_default();
        let of_others = self.held.saturating_sub(product.held());
        let room = HELD_TICKS_MAX.saturating_sub(of_others);
        work(product, &Merging::new(&self.legs, self.merge_wait, room, round.now), round);
        self.held = of_others + product.held();
        if product.held() > 0 {
            self.holding.insert(instrument);
        } else if !self.holding.is_empty() {
            self.holding.remove(&instrument);
        }
    }
}

#[cfg(test)]
mod tests;
