//! What a round has to publish: batches in stream order, small ones of a product joined, large ones parted.

use std::collections::HashMap;

use bus::Source;
use domain::{BATCH_TICKS_MAX, Instrument, TickBatch};

/// Small batches of one product are joined up to this many ticks: one message instead of many when a backlog is worked
/// off, and far below the size limit of a message, which one raw batch alone may reach.
const JOINED_TICKS_MAX: usize = BATCH_TICKS_MAX / 4;

/// Batches to be published; those of one product are in order.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    fills: Vec<(Source, TickBatch)>,
    live: Vec<(Source, TickBatch)>,
    /// The last batch of each product, by source.
    newest: HashMap<(Instrument, Source), usize>,
}

impl Pending {
    /// Adds what raw messages became, in stream order. A batch without ticks is nothing. Its raw sequence says that the raw
    /// messages of its product up to that one have then gone out whole; of one that is parted, the parts before the last say
    /// so of `done_before` only.
    pub(crate) fn add(&mut self, source: Source, mut batch: TickBatch, done_before: u64) {
        if batch.ticks.is_empty() {
            return;
        }
        let batches = match source {
            Source::Live => &mut self.live,
            Source::Fill => &mut self.fills,
        };
        let key = (batch.instrument.clone(), source);
        if let Some((_, last)) = self.newest.get(&key).and_then(|at| batches.get_mut(*at))
            && last.ticks.len() + batch.ticks.len() <= JOINED_TICKS_MAX
        {
            last.ticks.append(&mut batch.ticks);
            last.session = batch.session;
            last.raw_sequence = batch.raw_sequence;
            return;
        }
        while batch.ticks.len() > BATCH_TICKS_MAX {
            let rest = batch.ticks.split_off(BATCH_TICKS_MAX);
            let first = std::mem::replace(&mut batch.ticks, rest);
            let first = TickBatch { ticks: first, raw_sequence: Some(done_before), ..without_ticks(&batch) };
            batches.push((source, first));
        }
        self.newest.insert(key, batches.len());
        batches.push((source, batch));
    }

    /// The fills, then the live batches; those of one product in order. A live batch says which raw messages are done, so
    /// that the fills of these must be published before it.
    pub(crate) fn into_batches(self) -> [Vec<(Source, TickBatch)>; 2] {
        [self.fills, self.live]
    }

    #[cfg(test)]
    pub(crate) fn ticks(&self, source: Source) -> Vec<&domain::Tick> {
        let batches = self.fills.iter().chain(&self.live);
        batches.filter(|(of, _)| *of == source).flat_map(|(_, batch)| &batch.ticks).collect()
    }
}

fn without_ticks(batch: &TickBatch) -> TickBatch {
    TickBatch {
        instrument: batch.instrument.clone(),
        ticks: Vec::new(),
        session: batch.session.clone(),
        raw_sequence: None,
        normalised_at: batch.normalised_at,
        heartbeat: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{FeedSession, Tick, TickFlags, UnixNanos};

    fn batch(raw: u64, count: usize) -> TickBatch {
        let tick = Tick {
            instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
            run: 0,
            sequence: Some(1),
            event_time: UnixNanos::new(1),
            receive_time: UnixNanos::new(1),
            last_trade: None,
            best_bid: None,
            best_ask: None,
            day: None,
            flags: TickFlags::default(),
        };
        TickBatch {
            instrument: tick.instrument.clone(),
            ticks: vec![tick; count],
            session: FeedSession { id: "a".into(), started: UnixNanos::new(0) },
            raw_sequence: Some(raw),
            normalised_at: Some(UnixNanos::new(9)),
            heartbeat: None,
        }
    }

    fn shape(batches: &[(Source, TickBatch)]) -> Vec<(usize, Option<u64>)> {
        batches.iter().map(|(_, batch)| (batch.ticks.len(), batch.raw_sequence)).collect()
    }

    #[test]
    fn small_batches_join_and_large_ones_stay_whole() {
        let mut pending = Pending::default();
        for (raw, count) in [(1, 100), (2, 28), (3, 0), (4, 512), (5, 1), (6, 2)] {
            pending.add(Source::Live, batch(raw, count), raw - 1);
        }
        pending.add(Source::Fill, batch(7, 3), 6);
        let [fills, live] = pending.into_batches();
        assert_eq!(shape(&live), [(128, Some(2)), (512, Some(4)), (3, Some(6))]);
        assert_eq!(shape(&fills), [(3, Some(7))]);
    }

    #[test]
    fn what_is_too_large_for_a_message_is_parted() {
        let mut pending = Pending::default();
        pending.add(Source::Live, batch(9, 1030), 7);
        pending.add(Source::Live, batch(10, 1), 9);
        let [_, live] = pending.into_batches();
        assert_eq!(shape(&live), [(512, Some(7)), (512, Some(7)), (7, Some(10))]);
    }
}
