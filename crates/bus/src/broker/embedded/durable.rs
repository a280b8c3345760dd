//! The position of one durable consumer.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::{broker::DurableSpec, subjects};

/// What a consumer was not given yet, what it has, and what it is to be given again. Every operation takes time that
/// depends on the messages it touches only.
#[derive(Debug)]
pub(super) struct Durable {
    filters: Vec<String>,
    ack_wait: Duration,
    unacknowledged_max: usize,
    /// How often it was reset. Who reset it last is the one who reads.
    epoch: u64,
    /// Not delivered since the last reset.
    ready: BTreeSet<u64>,
    /// To be delivered again, before anything new.
    again: BTreeMap<u64, u64>,
    /// Delivered and not acknowledged: until when, and how often so far.
    taken: BTreeMap<u64, Taken>,
    /// The highest message that was acknowledged, or the last one that was gone when this was made.
    acknowledged: u64,
    /// The deadlines in the order in which they end; entries that no longer count are skipped.
    deadlines: VecDeque<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    deadline: Instant,
    deliveries: u64,
}

impl Durable {
    /// One that is to have everything after the message `after`.
    pub(super) fn new(spec: &DurableSpec, after: u64) -> Self {
        Self {
            filters: spec.filters.clone(),
            ack_wait: spec.ack_wait,
            unacknowledged_max: spec.unacknowledged_max,
            epoch: 0,
            ready: BTreeSet::new(),
            again: BTreeMap::new(),
            taken: BTreeMap::new(),
            acknowledged: after,
            deadlines: VecDeque::new(),
        }
    }

    /// Takes over what may differ from the last time: the broker updates consumers in place.
    pub(super) fn update(&mut self, spec: &DurableSpec) {
        self.ack_wait = spec.ack_wait;
        self.unacknowledged_max = spec.unacknowledged_max;
    }

    pub(super) fn wants(&self, subject: &str) -> bool {
        self.filters.iter().any(|filter| subjects::matches(filter, subject))
    }

    pub(super) fn add(&mut self, sequence: u64) {
        self.ready.insert(sequence);
    }

    /// Forgets a message that is no longer in the stream.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.ready.remove(&sequence);
        self.again.remove(&sequence);
        self.taken.remove(&sequence);
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Everything that was not acknowledged comes next, in stream order.
    pub(super) fn reset(&mut self) {
        self.epoch += 1;
        self.ready.extend(std::mem::take(&mut self.again).into_keys());
        self.ready.extend(std::mem::take(&mut self.taken).into_keys());
        self.deadlines.clear();
    }

    /// The next messages, up to `max`: those that are due again first. With each goes how often it was delivered.
    pub(super) fn take(&mut self, max: usize, now: Instant) -> Vec<(u64, u64)> {
        self.expire(now);
        let mut given = Vec::new();
        let deadline = now + self.ack_wait;
        while given.len() < max {
            let (sequence, deliveries) = if let Some((sequence, deliveries)) = self.again.pop_first() {
                (sequence, deliveries + 1)
            } else if self.taken.len() < self.unacknowledged_max
                && let Some(sequence) = self.ready.pop_first()
            {
                (sequence, 1)
            } else {
                break;
            };
            self.taken.insert(sequence, Taken { deadline, deliveries });
            self.deadlines.push_back((deadline, sequence));
            given.push((sequence, deliveries));
        }
        given
    }

    /// Whether the message was one that this consumer had to acknowledge.
    pub(super) fn acknowledge(&mut self, sequence: u64) -> bool {
        let known = self.taken.remove(&sequence).is_some() || self.again.remove(&sequence).is_some();
        // After a reset an acknowledgement of the time before is as good.
        let known = self.ready.remove(&sequence) || known;
        if known {
            self.acknowledged = self.acknowledged.max(sequence);
        }
        known
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Everything up to this message is acknowledged or gone.
    pub(super) fn done(&self) -> u64 {
        let first = [self.ready.first(), self.again.keys().next(), self.taken.keys().next()];
        first.into_iter().flatten().min().map_or(self.acknowledged, |first| first.saturating_sub(1))
    }

    /// When a message is due again, unless it is acknowledged before.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some((deadline, sequence)) = self.deadlines.front().copied() {
            if self.taken.get(&sequence).is_some_and(|taken| taken.deadline == deadline) {
                return Some(deadline);
            }
            self.deadlines.pop_front();
        }
        None
    }

    pub(super) fn pending(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.taken.len() + self.again.len()
    }

    fn expire(&mut self, now: Instant) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            if let Some((_, sequence)) = self.deadlines.pop_front()
                && let Some(taken) = self.taken.remove(&sequence)
            {
                self.again.insert(sequence, taken.deliveries);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamKind;

    fn durable(unacknowledged_max: usize) -> Durable {
        let mut durable = Durable::new(
            &DurableSpec {
                stream: StreamKind::Raw,
                name: "test".into(),
                filters: vec!["lf.raw.0.>".into()],
                ack_wait: Duration::from_secs(10),
                unacknowledged_max,
            },
            0,
        );
        for sequence in 1..=5 {
            durable.add(sequence);
        }
        durable
    }

    #[tokio::test(start_paused = true)]
    async fn gives_again_what_was_not_acknowledged() {
        let mut durable = durable(100);
        assert_eq!(durable.take(3, Instant::now()), [(1, 1), (2, 1), (3, 1)]);
        assert!(durable.acknowledge(2));
        assert!(!durable.acknowledge(2));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(durable.take(1, Instant::now()), [(4, 1)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(durable.take(9, Instant::now()), [(1, 2), (3, 2), (5, 1)]);
        assert_eq!((durable.pending(), durable.unacknowledged()), (0, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_restores_the_order() {
        let mut durable = durable(100);
        durable.take(3, Instant::now());
        durable.acknowledge(1);
        durable.reset();
        assert_eq!((durable.pending(), durable.unacknowledged()), (4, 0));
        assert!(durable.acknowledge(3), "an acknowledgement of the time before counts");
        assert_eq!(durable.done(), 1, "2 is not acknowledged");
        assert_eq!(durable.take(9, Instant::now()), [(2, 1), (4, 1), (5, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_more_than_allowed() {
        let mut durable = durable(2);
        assert_eq!(durable.take(9, Instant::now()).len(), 2);
        assert!(durable.take(9, Instant::now()).is_empty());
        durable.acknowledge(1);
        assert_eq!(durable.take(9, Instant::now()), [(3, 1)]);
        durable.forget(3);
        assert_eq!(durable.unacknowledged(), 1);
    }
}
