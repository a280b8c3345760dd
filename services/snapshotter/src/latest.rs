//! The newest state of each product of a shard, and which of them are due to be written.

use std::{collections::HashMap, time::Duration};

use domain::{Instrument, Snapshot, Tick, UnixNanos};

#[derive(Clone, Debug)]
struct Entry {
    snapshot: Snapshot,
    written_at: Option<UnixNanos>,
    dirty: bool,
}

/// The newest snapshot of each product.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    products: HashMap<Instrument, Entry>,
    /// How the products of the batch in hand stood before it; `None` for those that it brought.
    before: HashMap<Instrument, Option<Entry>>,
}

impl Latest {
    /// Starts from what is stored.
    pub(crate) fn stored(snapshots: Vec<Snapshot>) -> Self {
        let entry = |snapshot| Entry { snapshot, written_at: None, dirty: false };
        Self {
            products: snapshots.into_iter().map(|s| (s.instrument.clone(), entry(s))).collect(),
            before: HashMap::new(),
        }
    }

    /// Takes over the ticks of a batch, where they are newer.
    pub(crate) fn apply<'a>(&mut self, ticks: impl Iterator<Item = &'a Tick>) {
        self.before.clear();
        for tick in ticks {
            if !self.before.contains_key(&tick.instrument) {
                let before = self.products.get(&tick.instrument).cloned();
                self.before.insert(tick.instrument.clone(), before);
            }
            self.apply_one(tick);
        }
    }

    /// Forgets the last batch: not all of it could be stored.
    pub(crate) fn undo(&mut self) {
        for (instrument, before) in self.before.drain() {
            match before {
                Some(entry) => self.products.insert(instrument, entry),
                None => self.products.remove(&instrument),
            };
        }
    }

    fn apply_one(&mut self, tick: &Tick) {
        if let Some(entry) = self.products.get_mut(&tick.instrument) {
            entry.dirty |= entry.snapshot.advance(tick);
        } else if let Some(snapshot) = Snapshot::first(tick) {
            self.products.insert(tick.instrument.clone(), Entry { snapshot, written_at: None, dirty: true });
        }
    }

    /// The snapshots that have changed and were not written within `interval`, taken at `now`.
    pub(crate) fn due(&self, now: UnixNanos, interval: Duration) -> Vec<Snapshot> {
        let due = |entry: &&Entry| {
            entry.dirty && entry.written_at.is_none_or(|written| now.is_over(written, interval))
        };
        self.products
            .values()
            .filter(due)
            .map(|entry| Snapshot { snapshot_time: now, ..entry.snapshot.clone() })
            .collect()
    }

    /// Notes that these were written.
    pub(crate) fn written(&mut self, snapshots: &[Snapshot]) {
        for snapshot in snapshots {
            if let Some(entry) = self.products.get_mut(&snapshot.instrument) {
                entry.written_at = Some(snapshot.snapshot_time);
                entry.dirty = entry.snapshot.position != snapshot.position;
            }
        }
    }

    /// The newest snapshot of a product; `None` before its first tick.
    pub(crate) fn of(&self, instrument: &Instrument) -> Option<&Snapshot> {
        self.products.get(instrument).map(|entry| &entry.snapshot)
    }

    /// The newest snapshot of each product.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.products.values().map(|entry| &entry.snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Decimal, Quote, TickFlags};

    fn tick(sequence: u64) -> Tick {
        Tick {
            instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
            run: 0,
            sequence: Some(sequence),
            event_time: UnixNanos::new(1),
            receive_time: UnixNanos::new(1),
            last_trade: None,
            best_bid: Some(Quote { price: Decimal::from(sequence), size: None }),
            best_ask: None,
            day: None,
            flags: TickFlags::default(),
        }
    }

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_seconds(seconds).unwrap()
    }

    #[test]
    fn a_product_is_due_once_in_the_interval_and_never_forgotten() {
        let second = Duration::from_secs(1);
        let mut latest = Latest::default();
        latest.apply([tick(1)].iter());
        let first = latest.due(at(10), second);
        assert_eq!(first[0].position.sequence, 1);
        latest.apply([tick(2)].iter());
        latest.written(&first);
        assert!(latest.due(at(10), second).is_empty());
        let second_time = latest.due(at(11), second);
        assert_eq!((second_time[0].position.sequence, second_time[0].snapshot_time), (2, at(11)));
        latest.written(&second_time);
        assert!(latest.due(at(20), second).is_empty(), "unchanged");
    }

    #[test]
    fn a_clock_that_was_set_back_stops_no_snapshot() {
        let second = Duration::from_secs(1);
        let mut latest = Latest::default();
        latest.apply([tick(1)].iter());
        latest.written(&latest.due(at(3_600), second));
        latest.apply([tick(2)].iter());
        let due = latest.due(at(10), second);
        assert_eq!((due.len(), due[0].position.sequence, due[0].snapshot_time), (1, 2, at(10)));
        latest.written(&due);
        latest.apply([tick(3)].iter());
        assert!(latest.due(at(10), second).is_empty(), "once in the interval by the clock as it is now");
        assert_eq!(latest.due(at(11), second).len(), 1);
    }

    #[test]
    fn a_batch_can_be_forgotten() {
        let mut latest = Latest::stored(vec![Snapshot::first(&tick(5)).unwrap()]);
        let other = Tick { instrument: Instrument::new("coinbase", "ETH-USD").unwrap(), ..tick(9) };
        latest.apply([tick(6), tick(7), other].iter());
        assert_eq!(latest.due(at(100), Duration::ZERO).len(), 2);
        latest.undo();
        assert!(latest.due(at(100), Duration::ZERO).is_empty());
        let positions: Vec<_> = latest.snapshots().map(|snapshot| snapshot.position.sequence).collect();
        assert_eq!(positions, [5]);
    }

    #[test]
    fn an_older_tick_changes_nothing() {
        let mut latest = Latest::stored(vec![Snapshot::first(&tick(5)).unwrap()]);
        latest.apply([tick(4)].iter());
        assert!(latest.due(at(100), Duration::ZERO).is_empty());
        assert_eq!(latest.snapshots().count(), 1);
    }
}
