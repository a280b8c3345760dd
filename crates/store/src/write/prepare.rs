//! A batch made ready: every product numbered, every key checked, repetitions left out.

use std::collections::{BTreeSet, HashSet};

use domain::{Instrument, Tick, UnixNanos};

use super::WriteBatch;
use crate::{NotStorable, StoreError, row::signed};

/// What makes a tick the same one when it is delivered again: the unique keys of `tick_history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    Trade { instrument: usize, ts_event: i64, trade_id: i64 },
    Quote { instrument: usize, run: i64, sequence: i64, ts_event: i64 },
}

/// A tick that is to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// Its index in the batch as it was given.
    pub(super) index: usize,
    /// The number of its product within the batch.
    pub(super) instrument: usize,
    pub(super) tick: &'a Tick,
    /// The run that it is stored under.
    pub(super) run: i64,
    pub(super) sequence: Option<i64>,
    pub(super) trade_id: Option<i64>,
    pub(super) tick_seq: Option<i64>,
    pub(super) identity: Identity,
}

/// The products and ticks of a batch.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    /// Sorted.
    instruments: Vec<&'a Instrument>,
    pub(super) rows: Vec<Row<'a>>,
}

impl<'a> Prepared<'a> {
    pub(super) fn of(batch: &WriteBatch<'a>) -> Result<Self, StoreError> {
        let ticks = batch.ticks.iter().map(|row| &row.tick.instrument);
        let snapshots = batch.snapshots.iter().map(|snapshot| &snapshot.instrument);
        let instruments: BTreeSet<&Instrument> = ticks.chain(snapshots).collect();
        let mut prepared = Self { instruments: instruments.into_iter().collect(), rows: Vec::new() };

        let mut seen = HashSet::with_capacity(batch.ticks.len());
        for (index, row) in batch.ticks.iter().enumerate() {
            let row = prepared.row(index, row.tick, row.tick_seq)?;
            if seen.insert(row.identity) {
                prepared.rows.push(row);
            }
        }
        prepared.remove_repeated_backfills();
        Ok(prepared)
    }

    fn row(&self, index: usize, tick: &'a Tick, tick_seq: Option<u64>) -> Result<Row<'a>, NotStorable> {
        let name = &tick.instrument;
        let instrument = self.instruments.binary_search(&name).unwrap_or_default();
        let sequence = tick.sequence.map(|value| signed(name, "sequence", value)).transpose()?;
        let trade_id = tick.trade_id().map(|value| signed(name, "trade_id", value)).transpose()?;
        let tick_seq = tick_seq.map(|value| signed(name, "tick_seq", value)).transpose()?;
        let ts_event = tick.event_time.nanos();
        let run = i64::from(tick.run);
        let identity = match (trade_id, sequence) {
            (Some(trade_id), _) => Identity::Trade { instrument, ts_event, trade_id },
            (None, Some(sequence)) => Identity::Quote { instrument, run, sequence, ts_event },
            (None, None) => {
                return Err(NotStorable::WithoutIdentity {
                    instrument: name.clone(),
                    event_time: tick.event_time,
                });
            }
        };
        Ok(Row { index, instrument, tick, run, sequence, trade_id, tick_seq, identity })
    }

    /// A backfilled trade that the batch also has live, or has twice at different times, is one trade.
    fn remove_repeated_backfills(&mut self) {
        if !self.rows.iter().any(Row::is_backfill) {
            return;
        }
        let mut trades: HashSet<_> = self
            .rows
            .iter()
            .filter(|row| !row.is_backfill())
            .map(|row| (row.instrument, row.trade_id))
            .collect();
        self.rows.retain(|row| !row.is_backfill() || trades.insert((row.instrument, row.trade_id)));
    }

    /// Takes out the ticks before `horizon`, and returns them.
    pub(super) fn remove_older_than(&mut self, horizon: Option<UnixNanos>) -> Vec<Row<'a>> {
        let Some(horizon) = horizon else { return Vec::new() };
        self.rows.extract_if(.., |row| row.tick.event_time < horizon).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn event_times(&self) -> impl Iterator<Item = UnixNanos> {
        self.rows.iter().map(|row| row.tick.event_time)
    }

    pub(super) fn instruments(&self) -> impl Iterator<Item = &'a Instrument> {
        self.instruments.iter().copied()
    }

    pub(super) fn number_of(&self, venue: &str, product: &str) -> Option<usize> {
        let name = |instrument: &&Instrument| {
            (instrument.venue.as_str(), instrument.product.as_str()).cmp(&(venue, product))
        };
        self.instruments.binary_search_by(name).ok()
    }
}

impl Row<'_> {
    pub(super) fn is_backfill(&self) -> bool {
        self.tick.flags.backfilled
    }
}

#[cfg(test)]
mod tests;
