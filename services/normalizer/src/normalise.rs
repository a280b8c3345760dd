//! The rules of a shard, without I/O: what of a raw batch goes on, what is refused, what was seen before, what is missing.

use std::collections::HashMap;

use bus::Source;
use domain::{Gap, Instrument, Position, Snapshot, TickBatch, validate};

use crate::{
    product::Product,
    round::{RawPlace, Round},
};

/// What is known of the products of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardState {
    products: HashMap<Instrument, Product>,
}

impl ShardState {
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
        let product = self.product(&gap.instrument);
        product.recover_gap(gap.run, gap.first_trade_id, gap.last_trade_id);
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
        self.product(instrument).published(raw);
    }

    /// Whether this live raw message went out before its owner died: it only needs to be acknowledged.
    pub(crate) fn is_done(&self, instrument: &Instrument, raw: u64) -> bool {
        self.products.get(instrument).is_some_and(|product| product.is_done(raw))
    }

    /// Judges a live batch, message `raw` of the raw stream.
    pub(crate) fn live(&mut self, batch: TickBatch, raw: u64, round: &mut Round) {
        self.product(&batch.instrument).live(batch, raw, round);
    }

    /// Judges a backfilled batch: its ticks have no place in the sequence.
    pub(crate) fn fill(&self, mut batch: TickBatch, raw: u64, round: &mut Round) {
        let fetched = std::mem::take(&mut batch.ticks);
        batch.ticks.reserve_exact(fetched.len());
        for (index, mut tick) in fetched.into_iter().enumerate() {
            tick.flags.backfilled = true;
            match validate(&mut tick) {
                Ok(()) => batch.ticks.push(tick),
                Err(fault) => {
                    round.refuse(tick, RawPlace { raw, index }, fault.reason(), fault.to_string());
                }
            }
        }
        batch.raw_sequence = Some(raw);
        batch.normalised_at = Some(round.now);
        batch.heartbeat = None;
        round.pending.add(Source::Fill, batch, raw);
    }

    fn product(&mut self, instrument: &Instrument) -> &mut Product {
        self.products.entry(instrument.clone()).or_default()
    }
}

#[cfg(test)]
mod tests;
