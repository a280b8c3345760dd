//! What a role says of itself, again and again, whatever else it is busy with.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{RoleStatus, Shard, UnixNanos};

use crate::{Bus, Work};

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
    speaks: bool,
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
        Self { state: Arc::new(Mutex::new(State { status, speaks: false })) }
    }

    /// Changes what is said.
    pub fn update(&self, change: impl FnOnce(&mut RoleStatus)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).status);
    }

    /// From now on the status is published. Others may wait for a role's first word.
    pub fn speak(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).speaks = true;
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
            if let Some(mut status) = self.said() {
                if let Some((work, shard)) = worker {
                    status.backlog_messages = bus.lag(work, shard).await.ok().map(|lag| lag.pending_messages);
                    self.update(|kept| kept.backlog_messages = status.backlog_messages);
                }
                status.time = UnixNanos::now();
                complete(&mut status);
                if let Err(error) = bus.publish_status(&status).await {
                    tracing::debug!(role = status.role, %error, "the status was not published");
                }
                tokio::time::sleep(INTERVAL).await;
            } else {
                tokio::time::sleep(INTERVAL / 50).await;
            }
        }
    }

    fn said(&self) -> Option<RoleStatus> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.speaks.then(|| state.status.clone())
    }
}
