//! Which products have open gaps: kept in memory, so that the answer to a price asks no database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use domain::{EventKind, FeedEvent, Instrument};
use live::LiveFeed;
use runtime::Shutdown;
use store::Store;
use tokio::time::MissedTickBehavior;

/// How often the ledger is read.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a gap that was announced counts as open before the ledger has it.
const HEARD_FOR: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
struct Known {
    /// By the ledger.
    stored: BTreeSet<Instrument>,
    /// Announced, and perhaps not in the ledger yet.
    heard: BTreeMap<Instrument, Instant>,
}

/// The products with open gaps. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenGaps {
    known: Arc<RwLock<Known>>,
}

impl OpenGaps {
    /// Whether trades of a product are missing that may still come.
    pub(crate) fn has(&self, instrument: &Instrument) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.stored.contains(instrument) || known.heard.contains_key(instrument)
    }

    /// Keeps them up to date until shutdown: by the ledger each second, and at once by what is announced.
    pub(crate) async fn keep(self, store: Store, live: LiveFeed, shutdown: Shutdown) {
        let mut changes = live.event_changes();
        let mut next = *changes.borrow_and_update();
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_due = tokio::select! {
                _ = interval.tick() => true,
                // The sender lives in `live`, so it cannot be gone.
                _ = changes.changed() => {
                    let from = std::mem::replace(&mut next, *changes.borrow_and_update());
                    let events: Vec<_> = live.read(|state| state.events_since(from).cloned().collect());
                    self.hear(&events, Instant::now())
                }
                () = shutdown.requested() => return,
            };
            if is_due {
                self.refresh(&store).await;
            }
        }
    }

    /// Whether the ledger should be read: something was repaired, or given up.
    fn hear(&self, events: &[Arc<FeedEvent>], now: Instant) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_due = false;
        for event in events {
            match event.kind {
                EventKind::Gap(_) => _ = known.heard.insert(event.instrument.clone(), now),
                EventKind::Repaired(_) => {
                    known.heard.remove(&event.instrument);
                    is_due = true;
                }
                _ => {}
            }
        }
        is_due
    }

    async fn refresh(&self, store: &Store) {
        match store.open_gaps().await {
            Ok(open) => {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.stored = open.into_iter().map(|open| open.instrument).collect();
                known.heard.retain(|_, at| at.elapsed() < HEARD_FOR);
            }
            // What was known stays: readiness tells of the database.
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the open gaps were not read");
            }
        }
    }
}
