//! What the roles say of themselves, read once a second for every call, and this service's own part of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bus::{Bus, Lag, Work};
use domain::{FeedState, Instrument, RoleStatus, UnixNanos};
use live::LiveFeed;
use runtime::{Latch, RoleContext};
use store::Store;

/// How often it is read.
const INTERVAL: Duration = Duration::from_secs(1);
/// A role that has not said anything for longer than this is taken to be gone.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// How long the database may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// How far a worker of a shard is behind, by the broker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    pub(crate) role: &'static str,
    pub(crate) shard: u16,
    pub(crate) lag: Option<Lag>,
}

#[derive(Clone, Debug, Default)]
struct Said {
    statuses: Vec<RoleStatus>,
    hops: Vec<Hop>,
    /// Refused messages that are kept, by product; `None` before they were counted.
    rejects: Option<BTreeMap<Instrument, u64>>,
}

/// What must be up before this service can do its job.
pub(crate) struct Latches {
    database: Latch,
    stream: Latch,
}

impl Latches {
    /// Registers them.
    pub(crate) fn new(context: &RoleContext) -> Self {
        let latches = Self {
            database: context.readiness.latch("query-database"),
            stream: context.readiness.latch("query-stream"),
        };
        latches.stream.set_waiting("the stream has not been followed to its end yet");
        latches
    }
}

/// The newest statuses. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    said: Arc<RwLock<Arc<Said>>>,
}

impl Board {
    fn read(&self) -> Arc<Said> {
        Arc::clone(&self.said.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What each role said last, unless it is gone.
    pub(crate) fn statuses(&self, now: UnixNanos) -> Vec<RoleStatus> {
        let here = |status: &&RoleStatus| now.saturating_since(status.time) <= GONE_AFTER;
        self.read().statuses.iter().filter(here).cloned().collect()
    }

    /// How far each worker is behind.
    pub(crate) fn hops(&self) -> Vec<Hop> {
        self.read().hops.clone()
    }

    /// How many refused messages of a product are kept; `None` when that is not known.
    pub(crate) fn rejects(&self, instrument: &Instrument) -> Option<u64> {
        self.read().rejects.as_ref().map(|rejects| rejects.get(instrument).copied().unwrap_or(0))
    }

    /// How the feed of a product is doing; `None` when no ingestor tells. Of several, the best.
    pub(crate) fn feed_state(&self, instrument: &Instrument, now: UnixNanos) -> Option<FeedState> {
        let here = |status: &&RoleStatus| {
            status.role == "ingestor" && now.saturating_since(status.time) <= GONE_AFTER
        };
        let of_product = |status: &RoleStatus| {
            let own = status.product_states.iter().find(|(product, _)| product == instrument);
            own.map(|(_, state)| *state).or(status.feed_state)
        };
        let rank = |state: &FeedState| match state {
            FeedState::Live => 3,
            FeedState::Stale => 2,
            FeedState::Connecting => 1,
            FeedState::BackingOff => 0,
        };
        self.read().statuses.iter().filter(here).filter_map(of_product).max_by_key(rank)
    }

    fn set(&self, said: Said) {
        *self.said.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(said);
    }

    /// Keeps the board and the readiness of this service up to date until shutdown.
    pub(crate) async fn keep(
        self,
        bus: Bus,
        store: Store,
        live: LiveFeed,
        latches: Latches,
        context: RoleContext,
    ) {
        let Latches { database, stream } = latches;
        let mut health = live.health();
        loop {
            match health.borrow_and_update().waiting() {
                Some(reason) => stream.set_waiting(reason),
                None => stream.set_ready(),
            }
            ping(&store, &database).await;
            self.refresh(&bus).await;
            let status = own_status(&context, database.is_ready() && stream.is_ready());
            if let Err(error) = bus.publish_status(&status).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "the status was not published");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                // The sender lives in `live`, so it cannot be gone.
                _ = health.changed() => {}
                () = context.shutdown.requested() => return,
            }
        }
    }

    /// What cannot be read stays as it was and grows old.
    async fn refresh(&self, bus: &Bus) {
        let Ok(statuses) = bus.statuses().await else {
            return;
        };
        let mut hops = Vec::new();
        for shard in bus.shards().shards() {
            for (role, work) in [("normalizer", Work::Raw), ("snapshotter", Work::Ticks)] {
                hops.push(Hop { role, shard: shard.get(), lag: bus.lag(work, shard).await.ok() });
            }
        }
        let rejects = bus.reject_counts().await.ok().or_else(|| self.read().rejects.clone());
        self.set(Said { statuses, hops, rejects });
    }
}

async fn ping(store: &Store, latch: &Latch) {
    match tokio::time::timeout(PING_TIMEOUT, store.ping()).await {
        Ok(Ok(())) => latch.set_ready(),
        Ok(Err(error)) => latch.set_waiting(format!("the database does not answer: {error}")),
        Err(_) => latch.set_waiting(format!("the database did not answer within {PING_TIMEOUT:?}")),
    }
}

fn own_status(context: &RoleContext, ready: bool) -> RoleStatus {
    RoleStatus {
        role: "query".into(),
        instance: context.instance.clone(),
        time: UnixNanos::now(),
        ready,
        feed_state: None,
        heartbeat_age: None,
        product_states: Vec::new(),
        progress: Vec::new(),
        backlog_messages: None,
        ticks: 0,
        rejected: 0,
        duplicates: 0,
    }
}
