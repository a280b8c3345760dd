//! What a round has to publish: batches in order, one queue per subject.

use std::collections::HashMap;

use domain::{BATCH_TICKS_MAX, FeedSession, Instrument, Tick, TickBatch, UnixNanos};

/// Small batches of one product are joined up to this many ticks: one message instead of many when a backlog is worked
/// off, and far below the size limit of a message, which one raw batch alone may reach.
const JOINED_TICKS_MAX: usize = BATCH_TICKS_MAX / 4;

/// The subject of a batch: the product, and whether it is backfilled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) instrument: Instrument,
    pub(crate) fill: bool,
}

/// Batches to be published, by subject and in order.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    lanes: HashMap<Lane, Vec<TickBatch>>,
}

impl Pending {
    /// Adds what a raw message became; messages must come in stream order.
    pub(crate) fn add(
        &mut self,
        lane: Lane,
        ticks: Vec<Tick>,
        session: FeedSession,
        raw: u64,
        now: UnixNanos,
    ) {
        if ticks.is_empty() {
            return;
        }
        let batches = self.lanes.entry(lane.clone()).or_default();
        if let Some(last) = batches.last_mut()
            && last.ticks.len() + ticks.len() <= JOINED_TICKS_MAX
        {
            last.ticks.extend(ticks);
            last.session = session;
            last.raw_sequence = Some(raw);
            return;
        }
        batches.push(TickBatch {
            instrument: lane.instrument,
            ticks,
            session,
            raw_sequence: Some(raw),
            normalised_at: Some(now),
        });
    }

    /// The queues; what is in one must be published in order, different ones may go at the same time.
    pub(crate) fn into_lanes(self) -> impl Iterator<Item = (Lane, Vec<TickBatch>)> {
        self.lanes.into_iter()
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
        let lane = Lane { instrument: Instrument::new("coinbase", "BTC-USD").unwrap(), fill: false };
        let session = FeedSession { id: "a".into(), started: UnixNanos::new(0) };
        let mut pending = Pending::default();
        for (raw, count) in [(1, 100), (2, 28), (3, 0), (4, 512), (5, 1), (6, 2)] {
            pending.add(lane.clone(), ticks(count), session.clone(), raw, UnixNanos::new(9));
        }
        let lanes: Vec<_> = pending.into_lanes().collect();
        assert_eq!(lanes.len(), 1);
        let shape: Vec<_> = lanes[0].1.iter().map(|batch| (batch.ticks.len(), batch.raw_sequence)).collect();
        assert_eq!(shape, [(128, Some(2)), (512, Some(4)), (3, Some(6))]);
    }
}
