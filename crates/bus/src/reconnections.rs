//! Hearing of a lost connection that is back, so that nobody waits longer than the outage lasts.

use std::{future::pending, time::Duration};

use tokio::sync::watch;

use crate::{Broker, Bus};

/// Tells when the connection to the broker was lost and is back. To be made before whatever may fail for want of it.
#[derive(Clone, Debug)]
pub struct Reconnections(Option<watch::Receiver<u64>>);

impl Reconnections {
    pub(crate) fn of(mut count: watch::Receiver<u64>) -> Self {
        count.mark_unchanged();
        Self(Some(count))
    }

    /// Returns once the connection was lost and came back since this was made or last returned; at once when that has
    /// happened already, never on the embedded bus. May be cancelled.
    pub async fn next(&mut self) {
        if let Some(count) = &mut self.0
            && count.changed().await.is_ok()
        {
            return;
        }
        pending().await
    }

    /// Waits before the next attempt, but not on after the connection came back. Returns whether it did.
    pub async fn or_after(&mut self, delay: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.next() => true,
            () = tokio::time::sleep(delay) => false,
        }
    }
}

impl Bus {
    /// Tells of connections that come back from now on.
    pub fn reconnections(&self) -> Reconnections {
        match &self.broker {
            Broker::Embedded(_) => Reconnections(None),
            Broker::JetStream(broker) => broker.reconnections(),
        }
    }
}
