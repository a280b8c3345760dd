//! A worker of one shard: it recovers, works, and starts over.

use std::{
    future::Future,
    sync::Mutex,
    time::{Duration, Instant},
};

use bus::{Bus, Failures, PublishError, Reporter, StreamKind, Work};
use domain::{RoleStatus, Shard, UnixNanos};
use metrics::gauge;
use runtime::{Backoff, ErrorChain, Latch, RoleContext};
use store::{Store, StoreError};
use thiserror::Error;
use tracing::warn;

use crate::{Config, ledger::Ledger, metrics as names, owner::Owner};

/// What it is called in statuses.
const ROLE: &str = "snapshotter";
/// A worker that has written its shard for so long was healthy: the next failure is a first one.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// A fenced writer never waits longer than this many times its first wait.
const FENCED_WAITS_MAX: u32 = 16;
/// How often it is asked whether somebody who started later writes the shard, and whether the broker came back empty.
const LOOKS_EVERY: Duration = Duration::from_secs(2);

/// Why a snapshotter has to start over.
#[derive(Debug, Error)]
pub enum Error {
    /// Another process writes the shard.
    #[error("shard is owned by {owner}, which started later")]
    Fenced {
        /// Who.
        owner: String,
    },
    /// The broker came back empty: what only the database knows has to be published again.
    #[error("the stream of snapshots was made anew")]
    Remade,
    /// The bus does not do what it is asked.
    #[error("the bus failed")]
    Bus(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database cannot be read at start.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// A message cannot be dealt with.
    #[error("panicked: {0}")]
    Panicked(String),
    /// Shutdown was requested while the database was away.
    #[error(
        "stopped while the database was away: {in_hand} ticks in hand and {waiting} messages were not stored"
    )]
    Stopped {
        /// Ticks of the batch that could not be written.
        in_hand: usize,
        /// Messages behind it.
        waiting: u64,
    },
}

impl Error {
    /// Whether a message is at fault, rather than the broker or the database.
    pub(crate) fn is_of_message(&self) -> bool {
        match self {
            Self::Panicked(_) => true,
            Self::Bus(source) => matches!(source.downcast_ref(), Some(PublishError::TooLarge { .. })),
            Self::Store(error) => error.is_of_rows(),
            Self::Fenced { .. } | Self::Remade | Self::Stopped { .. } => false,
        }
    }
}

pub(crate) fn bus_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Bus(Box::new(error))
}

/// What a worker is made of.
pub(crate) struct Worker {
    pub(crate) config: Config,
    pub(crate) shard: Shard,
    pub(crate) instance: String,
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) context: RoleContext,
    pub(crate) latch: Latch,
    pub(crate) reporter: Reporter,
    /// What it failed at, across its recoveries.
    pub(crate) failures: Mutex<Failures>,
}

/// Writes what `shard` brings until shutdown is requested; it goes on after every failure, with backoff.
///
/// The latch of the shard is registered before this returns, so that the process is not ready before the work begins.
pub fn run(
    config: Config,
    shard: Shard,
    bus: Bus,
    store: Store,
    context: RoleContext,
) -> impl Future<Output = Result<(), Error>> + Send {
    let latch = context.readiness.latch(&format!("snapshotter-{shard}"));
    let instance = RoleStatus::worker_instance(&context.instance, shard);
    let reporter = Reporter::new(ROLE, instance.clone());
    let failures = Mutex::new(Failures::new(config.deliveries_max));
    let worker = Worker { config, shard, instance, bus, store, context, latch, reporter, failures };
    async move {
        let label = shard.to_string();
        let complete = |status: &mut RoleStatus| {
            status.ready = worker.latch.is_ready();
            if let Some(messages) = status.backlog_messages {
                gauge!(names::BACKLOG, "shard" => label.clone()).set(messages as f64);
            }
        };
        tokio::select! {
            outcome = worker.work() => outcome,
            never = worker.reporter.keep(&worker.bus, Some((Work::Ticks, shard)), complete) => match never {},
        }
    }
}

impl Worker {
    /// How this worker signs what it says.
    pub(crate) fn source(&self) -> String {
        format!("snapshotter/{}", self.instance)
    }

    async fn recover(&self) -> Result<(Owner<'_>, Ledger<'_>), Error> {
        let owner = Owner::recover(self).await?;
        Ok((owner, Ledger::recover(self).await?))
    }

    /// The shutdown was requested, and the time for the drain is over: a write that hangs is given up.
    async fn drain_is_over(&self) {
        self.context.shutdown.requested().await;
        tokio::time::sleep(self.config.drain_max).await;
    }

    /// Two who read the work of a shard take it from each other, so whoever started earlier gives way.
    pub(crate) async fn refuse_successor(&self) -> Result<(), Error> {
        match self.bus.successor(ROLE, self.shard).await.map_err(bus_error)? {
            Some(owner) => Err(Error::Fenced { owner: owner.to_string() }),
            None => Ok(()),
        }
    }

    /// Returns once there is somebody who started later, or another `LF_SNAPSHOTS` than the one that was created at
    /// `snapshots_of`.
    async fn await_change(&self, snapshots_of: UnixNanos) -> Error {
        loop {
            tokio::time::sleep(LOOKS_EVERY).await;
            // Whatever else fails is noticed by the work.
            if let Err(error @ Error::Fenced { .. }) = self.refuse_successor().await {
                return error;
            }
            let snapshots = self.bus.stream_state(StreamKind::Snapshots).await;
            if snapshots.is_ok_and(|state| state.created != snapshots_of) {
                return Error::Remade;
            }
        }
    }

    async fn work(&self) -> Result<(), Error> {
        let mut fenced_wait = self.config.fenced_wait;
        let mut backoff = Backoff::new(Duration::from_millis(100), self.config.retry_delay_max);
        loop {
            let mut reconnections = self.bus.reconnections();
            // A database or broker that does not answer must not keep a process that is to end.
            let Some(recovered) = self.context.shutdown.run_until(Box::pin(self.recover())).await else {
                return Ok(());
            };
            let error = match recovered {
                Ok((mut owner, mut ledger)) => {
                    self.latch.set_ready();
                    let since = Instant::now();
                    let snapshots_of = owner.snapshots_of;
                    let outcome = tokio::select! {
                        outcome = owner.work() => outcome,
                        Err(failed) = ledger.work() => Err(failed),
                        changed = self.await_change(snapshots_of) => Err(changed),
                        () = self.drain_is_over() => Err(owner.stopped().await),
                    };
                    if since.elapsed() > HEALTHY_AFTER {
                        backoff.reset();
                        fenced_wait = self.config.fenced_wait;
                    }
                    match outcome {
                        // In memory, what is not recorded now ends with us.
                        Ok(()) if self.bus.is_embedded() => return ledger.finish().await,
                        Ok(()) => return Ok(()),
                        // On a broker of its own, what was not committed is delivered again. In memory it ends with us.
                        Err(error @ Error::Stopped { .. }) if !self.bus.is_embedded() => {
                            warn!(shard = %self.shard, %error, "the broker keeps it for the next start");
                            return Ok(());
                        }
                        Err(error @ Error::Stopped { .. }) => return Err(error),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let is_fenced = matches!(error, Error::Fenced { .. });
            let delay = if is_fenced { fenced_wait } else { backoff.next_delay() };
            if is_fenced {
                fenced_wait = (fenced_wait * 2).min(self.config.fenced_wait * FENCED_WAITS_MAX);
            }
            self.latch.set_waiting(ErrorChain(&error).to_string());
            warn!(shard = %self.shard, ?delay, error = %ErrorChain(&error), "the shard starts over");
            tokio::select! {
                () = tokio::time::sleep(delay), if is_fenced => {}
                again = reconnections.or_after(delay), if !is_fenced => if again {
                    backoff.reset();
                },
                () = self.context.shutdown.requested() => return Ok(()),
            }
        }
    }
}
