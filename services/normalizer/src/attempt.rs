//! Not failing at one message for ever.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use bus::{Delivery, Failures};
use domain::RejectReason;
use futures::FutureExt as _;
use metrics::counter;
use runtime::ErrorChain;

use crate::{
    metrics as names,
    owner::Owner,
    worker::{Error, Worker, bus_error},
};

impl Worker {
    /// How many messages to fetch: one at a time while it is not known at which of several it failed.
    pub(crate) fn fetch_max(&self) -> usize {
        self.failures().fetch_max(self.config.fetch_messages_max)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner<'_> {
    /// One round; a message at which the worker has failed as often as it may is filed instead, so that the shard goes on.
    pub(crate) async fn attempt(&mut self, deliveries: Vec<Delivery>) -> Result<(), Error> {
        let is_apart = self.worker.failures().is_apart();
        // What is held back goes out in another round than the one that brought it, and a failure there would be laid at the
        // wrong door: while the message at fault is looked for, nothing is.
        self.state.set_merge_wait(if is_apart { Duration::ZERO } else { self.worker.config.merge_wait });
        let in_hand = deliveries.iter().map(|delivery| delivery.stream_sequence).chain(self.held());
        let Some((first, last)) = in_hand.clone().min().zip(in_hand.max()) else { return Ok(()) };
        let spent = self.worker.failures().spent(first);
        if let (Some(why), [delivery]) = (spent, deliveries.as_slice()) {
            self.give_up(delivery, &why).await?;
            self.reader.ack(&deliveries).await.map_err(bus_error)?;
            self.worker.failures().passed(last);
            return Ok(());
        }
        // After a panic nothing of this owner is used again: the worker recovers anew.
        let outcome = AssertUnwindSafe(self.round(deliveries)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|panic| Err(Error::Panicked(message(panic.as_ref()))));
        match &outcome {
            Ok(()) => self.worker.failures().passed(last),
            Err(error) if error.is_of_message() => {
                self.worker.failures().failed(first, last, ErrorChain(error).to_string());
            }
            Err(_) => {}
        }
        outcome
    }

    async fn give_up(&self, delivery: &Delivery, why: &str) -> Result<(), Error> {
        let (reason, ticks) =
            (RejectReason::Unprocessable, delivery.content.as_ref().map_or(1, |batch| batch.ticks.len()));
        let labels = [("shard", self.worker.shard.to_string()), ("reason", reason.as_str().to_owned())];
        counter!(names::REJECTS, &labels).increment(ticks as u64);
        self.worker.reporter.update(|status| status.rejected += ticks as u64);
        let rejected = self.worker.bus.reject_message(delivery, reason, why, &self.source);
        rejected.await.map_err(bus_error)
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (None, Some(message)) => message.clone(),
        (None, None) => "no message".to_owned(),
    }
}
