//! Noticing that a consumer gives nothing though messages wait for it.
//!
//! After a restart of the server, or when somebody paused it or took its place, a consumer may look alive (its heartbeats
//! come, no request fails) and never give anything again.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Bus, broker::DurableSpec};

/// Looks at the backlog of a consumer while nothing comes from it.
#[derive(Debug)]
pub(super) struct Stall {
    spec: DurableSpec,
    after: Duration,
    looked_at: Instant,
    /// Since when messages are known to wait though nothing came.
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    /// Whether any of them was never given to anybody.
    undelivered: bool,
}

impl Stall {
    pub(super) fn new(spec: DurableSpec, after: Duration) -> Self {
        Self { spec, after, looked_at: Instant::now(), waiting: None }
    }

    /// How often to look while nothing comes.
    pub(super) fn look_every(&self) -> Duration {
        self.after / 2
    }

    /// Something came, or the consumer was reset.
    pub(super) fn moved(&mut self) {
        self.waiting = None;
        self.looked_at = Instant::now();
    }

    /// Looks, when it is time to, and says whether the consumer is to be made anew. To be called after a fetch that gave
    /// nothing: what the server had sent ahead is taken by then.
    pub(super) async fn is_found(&mut self, bus: &Bus) -> bool {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked_at) < self.look_every() {
            return false;
        }
        self.looked_at = now;
        // What cannot be asked is not known to wait; the fetch itself notices a server that is away.
        let Ok(backlog) = bus.broker.backlog(&self.spec).await else { return false };
        if backlog.pending == 0 && backlog.unacknowledged == 0 {
            self.waiting = None;
            return false;
        }
        let undelivered = backlog.pending > 0;
        let waiting = *self.waiting.get_or_insert(Waiting { since: now, undelivered });
        if waiting.undelivered != undelivered {
            self.waiting = Some(Waiting { since: now, undelivered });
            return false;
        }
        // What somebody was given comes again by itself when the time to acknowledge it is over.
        let patience = if undelivered { self.after } else { self.after.saturating_add(self.spec.ack_wait) };
        let found = now.saturating_duration_since(waiting.since) >= patience;
        if found {
            let (consumer, pending) = (&self.spec.name, backlog.pending);
            let unacknowledged = backlog.unacknowledged;
            tracing::warn!(
                consumer,
                pending,
                unacknowledged,
                "nothing comes though messages wait; made anew"
            );
        }
        found
    }
}
