//! What a round has to publish: batches in stream order, small ones of a product joined.

use std::collections::HashMap;

use bus::Source;
use domain::{BATCH_TICKS_MAX, FeedSession, Instrument, Tick, TickBatch, UnixNanos};

/// Small batches of one product are joined up to this many ticks: one message instead of many when a backlog is worked
/// off, and far below the size limit of a message, which one raw batch alone may reach.
const JOINED_TICKS_MAX: usize = BATCH_TICKS_MAX / 4;

/// Batches to be published; those of one product are in order.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    batches: Vec<(Source, TickBatch)>,
    /// The last batch of each product, and whether it is backfilled.
    newest: HashMap<(Instrument, Source), usize>,
}

impl Pending {
    /// Adds what a raw message became; messages must come in stream order.
    pub(crate) fn add(
        &mut self,
        source: Source,
        instrument: Instrument,
        ticks: Vec<Tick>,
        session: FeedSession,
        raw: u64,
        now: UnixNanos,
    ) {
        if ticks.is_empty() {
            return;
        }
        let key = (instrument, source);
        if let Some((_, last)) = self.newest.get(&key).and_then(|at| self.batches.get_mut(*at))
            && last.ticks.len() + ticks.len() <= JOINED_TICKS_MAX
        {
            last.ticks.extend(ticks);
            last.session = session;
            last.raw_sequence = Some(raw);
            return;
        }
        let batch = TickBatch {
            instrument: key.0.clone(),
            ticks,
            session,
            raw_sequence: Some(raw),
            normalised_at: Some(now),
            heartbeat: None,
        };
        self.newest.insert(key, self.batches.len());
        self.batches.push((source, batch));
    }

    /// The batches, those of one product in order.
    pub(crate) fn into_batches(self) -> Vec<(Source, TickBatch)> {
        self.batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::TickFlags;

    fn ticks(count: usize) -> Vec<Tick> {
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
        vec![tick; count]
    }

    #[test]
    fn small_batches_join_and_large_ones_stay_whole() {
        let instrument = Instrument::new("coinbase", "BTC-USD").unwrap();
        let session = FeedSession { id: "a".into(), started: UnixNanos::new(0) };
        let mut pending = Pending::default();
        for (raw, count) in [(1, 100), (2, 28), (3, 0), (4, 512), (5, 1), (6, 2)] {
            pending.add(
                Source::Live,
                instrument.clone(),
                ticks(count),
                session.clone(),
                raw,
                UnixNanos::new(9),
            );
        }
        let batches = pending.into_batches();
        let shape: Vec<_> =
            batches.iter().map(|(_, batch)| (batch.ticks.len(), batch.raw_sequence)).collect();
        assert_eq!(shape, [(128, Some(2)), (512, Some(4)), (3, Some(6))]);
    }
}
