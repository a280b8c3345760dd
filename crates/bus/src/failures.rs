//! Which message a worker fails at again and again, so that it does not block its shard for ever.

use domain::{RejectReason, RejectedTick, UnixNanos};

use crate::{Bus, Delivery, PublishError, StreamKind, metrics, subjects::Parsed};

/// Remembers what a worker failed at, across its recoveries.
///
/// After a failure the messages in hand come one at a time, so that the one at fault is found; one at which the worker has
/// failed alone as often as allowed is spent, and is to be given up. Only failures that come from what a message holds are to
/// be counted: a broker or database that is away says nothing about a message.
#[derive(Debug)]
pub struct Failures {
    deliveries_max: u32,
    /// From this message...
    apart_from: u64,
    /// ...to this one they come one at a time; 0: together.
    apart_until: u64,
    /// The message that the worker failed at alone, how often, and why the last time.
    at: Option<(u64, u32, String)>,
}

impl Failures {
    /// A message is spent after `deliveries_max` failures.
    pub fn new(deliveries_max: u32) -> Self {
        Self { deliveries_max, apart_from: 0, apart_until: 0, at: None }
    }

    /// How many messages to fetch, where `max` are allowed.
    pub fn fetch_max(&self, max: usize) -> usize {
        if self.is_apart() { 1 } else { max }
    }

    /// Whether messages come one at a time, because it is not known at which of several the worker failed.
    pub fn is_apart(&self) -> bool {
        self.apart_until > 0
    }

    /// Why this message is to be given up; `None` while it may be tried.
    pub fn spent(&self, stream_sequence: u64) -> Option<String> {
        let (at, count, why) = self.at.as_ref()?;
        (*at == stream_sequence && *count >= self.deliveries_max)
            .then(|| format!("{count} attempts failed, the last one with: {why}"))
    }

    /// The worker failed at the messages from `first` to `last`, because of what one of them holds.
    pub fn failed(&mut self, first: u64, last: u64, why: String) {
        self.apart_from = first;
        self.apart_until = self.apart_until.max(last);
        if first != last {
            return;
        }
        let before = self.at.take().filter(|(at, ..)| *at == first).map_or(0, |(_, count, _)| count);
        self.at = Some((first, before.saturating_add(1), why));
    }

    /// The worker is done with everything up to `last`.
    pub fn passed(&mut self, last: u64) {
        // Before the first one lies only another stream: this one was made anew.
        if last >= self.apart_until || last < self.apart_from {
            self.apart_until = 0;
        }
        if self.at.as_ref().is_some_and(|(at, ..)| *at <= last) {
            self.at = None;
        }
    }
}

impl Bus {
    /// Files a message that its worker gives up on: each of its ticks as a reject of its own, or the bytes when it cannot
    /// be read. Done twice, it is filed once. The message is to be acknowledged afterwards.
    pub async fn reject_message(
        &self,
        delivery: &Delivery,
        reason: RejectReason,
        why: &str,
        source: &str,
    ) -> Result<(), PublishError> {
        let (prefix, kind) = match self.subjects.parse(&delivery.subject) {
            Some(Parsed::Tick(..) | Parsed::Fill(..)) => ("ticks/", StreamKind::Ticks),
            _ => ("", StreamKind::Raw),
        };
        let reject = |index: usize| RejectedTick {
            instrument: None,
            tick: None,
            raw: Vec::new(),
            raw_length: 0,
            reason,
            detail: format!("message {} on {}: {why}", delivery.stream_sequence, delivery.subject),
            source: source.to_owned(),
            time: UnixNanos::now(),
            identity: format!("{prefix}{}/{index}", delivery.stream_sequence),
        };
        match &delivery.content {
            Ok(batch) => {
                for (index, tick) in batch.ticks.iter().enumerate() {
                    let (instrument, tick) = (Some(tick.instrument.clone()), Some(tick.clone()));
                    self.publish_reject(&RejectedTick { instrument, tick, ..reject(index) }).await?;
                }
            }
            Err(what) => {
                let (raw, raw_length) = (RejectedTick::clip(&what.raw), what.raw.len() as u64);
                self.publish_reject(&RejectedTick { raw, raw_length, ..reject(0) }).await?;
            }
        }
        metrics::given_up(kind);
        let (sequence, subject) = (delivery.stream_sequence, &delivery.subject);
        tracing::error!(sequence, subject, why, "the message is given up and filed among the rejects");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_at_fault_is_found_and_spent_and_nobody_else() {
        let mut failures = Failures::new(3);
        assert_eq!(failures.fetch_max(256), 256);
        failures.failed(5, 9, "boom".into());
        assert_eq!(failures.spent(5), None, "it may have been any of them");
        for good in [5, 6] {
            assert_eq!(failures.fetch_max(256), 1);
            failures.passed(good);
        }
        for attempt in 1..=3 {
            assert_eq!(failures.spent(7), None, "attempt {attempt}");
            failures.failed(7, 7, format!("boom {attempt}"));
        }
        assert!(failures.spent(7).unwrap().contains("boom 3"));
        assert_eq!(failures.spent(8), None);
        failures.passed(7);
        assert_eq!((failures.spent(7), failures.fetch_max(256)), (None, 1), "two are left of that round");
        failures.passed(8);
        failures.passed(9);
        assert_eq!(failures.fetch_max(256), 256);
        failures.failed(100, 150, "boom".into());
        failures.passed(3);
        assert_eq!(failures.fetch_max(256), 256, "the stream was made anew");
    }

    #[test]
    fn failures_of_different_messages_do_not_add_up() {
        let mut failures = Failures::new(2);
        failures.failed(1, 1, "a".into());
        failures.failed(2, 2, "b".into());
        failures.failed(1, 1, "a".into());
        assert_eq!((failures.spent(1), failures.spent(2)), (None, None));
    }
}
