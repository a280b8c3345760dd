//! What a role says of itself, again and again, whatever else it is busy with.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{RoleStatus, Shard, UnixNanos};

use crate::{Bus, StreamKind, Work};

/// How often a role speaks.
const INTERVAL: Duration = Duration::from_secs(1);

/// The status of one role, kept up to date by the role and published once a second beside its work. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    status: RoleStatus,
    speaks: Option<While>,
}

/// Until when the status is published.
#[derive(Clone, Copy, Debug)]
enum While {
    Ever,
    /// As long as `LF_SNAPSHOTS` is the one that was created then.
    SnapshotsAreOf(UnixNanos),
}

impl Reporter {
    /// The status of `role`, not ready and silent until [`Reporter::speak`].
    pub fn new(role: &str, instance: String) -> Self {
        let status = RoleStatus {
            role: role.to_owned(),
            instance,
            time: UnixNanos::new(0),
            ready: false,
            feed_state: None,
            heartbeat_age: None,
            product_states: Vec::new(),
            progress: Vec::new(),
            backlog_messages: None,
            ticks: 0,
            rejected: 0,
            duplicates: 0,
        };
        Self { state: Arc::new(Mutex::new(State { status, speaks: None })) }
    }

    /// Changes what is said.
    pub fn update(&self, change: impl FnOnce(&mut RoleStatus)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).status);
    }

    /// From now on the status is published. Others may wait for a role's first word.
    pub fn speak(&self) {
        self.set(While::Ever);
    }

    /// The same, for as long as `LF_SNAPSHOTS` is the one that was created at `created`. In one that was made anew there is
    /// nothing of what a word of this role says is published: it is silent until it says this again.
    pub fn speak_of_snapshots(&self, created: UnixNanos) {
        self.set(While::SnapshotsAreOf(created));
    }

    fn set(&self, speaks: While) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).speaks = Some(speaks);
    }

    /// Publishes the status once a second, with the backlog of `worker` where there is one and what `complete` adds. To be
    /// run beside the work and dropped with it. A status that cannot be published is missing: that says enough.
    pub async fn keep(
        &self,
        bus: &Bus,
        worker: Option<(Work, Shard)>,
        complete: impl Fn(&mut RoleStatus),
    ) -> Infallible {
        loop {
            if let Some((mut status, speaks)) = self.said() {
                if let Some((work, shard)) = worker {
                    status.backlog_messages = bus.lag(work, shard).await.ok().map(|lag| lag.pending_messages);
                    self.update(|kept| kept.backlog_messages = status.backlog_messages);
                }
                status.time = UnixNanos::now();
                complete(&mut status);
                // Last, so that as little as possible can happen to the stream in between.
                if !holds(speaks, bus).await {
                    tracing::debug!(role = status.role, "the status is kept back: the snapshots are others");
                } else if let Err(error) = bus.publish_status(&status).await {
                    tracing::debug!(role = status.role, %error, "the status was not published");
                }
                tokio::time::sleep(INTERVAL).await;
            } else {
                tokio::time::sleep(INTERVAL / 50).await;
            }
        }
    }

    fn said(&self) -> Option<(RoleStatus, While)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.speaks.map(|speaks| (state.status.clone(), speaks))
    }
}

async fn holds(speaks: While, bus: &Bus) -> bool {
    match speaks {
        While::Ever => true,
        While::SnapshotsAreOf(created) => {
            bus.stream_state(StreamKind::Snapshots).await.is_ok_and(|state| state.created == created)
        }
    }
}
