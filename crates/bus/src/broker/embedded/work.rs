//! Taking work from a durable consumer of the embedded bus.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Embedded, Stream};
use crate::broker::{BrokerError, DurableSpec, Receipt, WorkMessage};

/// A durable consumer in use. Its position belongs to the stream and outlives this handle.
#[derive(Debug)]
pub(crate) struct WorkConsumer {
    broker: Arc<Embedded>,
    spec: DurableSpec,
    /// The reset by which this handle reads.
    epoch: u64,
}

/// Somebody else reads with the same consumer since.
#[derive(Debug, thiserror::Error)]
#[error("the consumer was reset by another reader")]
struct Replaced;

impl WorkConsumer {
    pub(crate) fn new(broker: Arc<Embedded>, spec: DurableSpec) -> Self {
        Self { broker, spec, epoch: 0 }
    }

    fn stream(&self) -> Result<Arc<Stream>, BrokerError> {
        self.broker.stream(self.spec.stream, "read work")
    }

    /// Whoever read with it before is cut off in any case.
    pub(crate) fn reset(&mut self) -> Result<u64, BrokerError> {
        let stream = self.stream()?;
        let mut state = stream.lock();
        let durable = state.durable(&self.spec);
        durable.update(&self.spec);
        durable.reset();
        self.epoch = durable.epoch();
        Ok(durable.acknowledged())
    }

    pub(crate) async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<WorkMessage>, BrokerError> {
        let stream = self.stream()?;
        let until = Instant::now() + wait;
        loop {
            let arrival = stream.arrivals.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            let now = Instant::now();
            let (messages, due) = self.take(&stream, max, now)?;
            if !messages.is_empty() || now >= until {
                return Ok(messages);
            }
            let wake = due.map_or(until, |due| due.min(until));
            // The end of the wait is no failure: either something is due, or the caller's time is over.
            let _ = timeout_at(wake, arrival).await;
        }
    }

    fn take(
        &self,
        stream: &Stream,
        max: usize,
        now: Instant,
    ) -> Result<(Vec<WorkMessage>, Option<Instant>), BrokerError> {
        let mut state = stream.lock();
        state.expire(now);
        let durable = state.durable(&self.spec);
        if durable.epoch() != self.epoch {
            return Err(BrokerError::new("read work", self.spec.stream.label(), Replaced));
        }
        let given = durable.take(max, now);
        let due = durable.next_deadline();
        let messages = given
            .into_iter()
            .filter_map(|(sequence, deliveries)| {
                let stored = state.get(sequence)?;
                Some(WorkMessage { stored, deliveries, receipt: Receipt::Embedded(sequence) })
            })
            .collect();
        Ok((messages, due))
    }

    pub(crate) fn ack(&self, receipts: &[&Receipt]) -> Result<(), BrokerError> {
        let stream = self.stream()?;
        let sequences = receipts.iter().filter_map(|receipt| match receipt {
            Receipt::Embedded(sequence) => Some(*sequence),
            Receipt::JetStream(_) => None,
        });
        if stream.lock().acknowledge(&self.spec, sequences) {
            stream.room.notify_waiters();
        }
        // Whoever waits because too much is unacknowledged may go on.
        stream.arrivals.notify_waiters();
        Ok(())
    }
}
