//! A worker of one shard: it recovers, works, and starts over; it gives way to whoever started later.

use std::{
    future::Future,
    sync::Mutex,
    time::{Duration, Instant},
};

use bus::{Bus, Failures, PublishError, Reporter, Work};
use domain::{RoleStatus, Shard, TickBatch};
use metrics::{counter, gauge};
use runtime::{Backoff, ErrorChain, Latch, RoleContext};
use thiserror::Error;
use tracing::warn;

use crate::{
    Config,
    metrics::{self as names, LegLabels},
    owner::Owner,
};

/// A worker that has owned its shard for so long was healthy: the next failure is a first one.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// A fenced owner never waits longer than this many times its first wait.
const FENCED_WAITS_MAX: u32 = 16;

/// Why a normalizer cannot go on.
#[derive(Debug, Error)]
pub enum Error {
    /// Another process owns the shard.
    #[error("shard is owned by {owner}, which started later")]
    Fenced {
        /// Who.
        owner: String,
    },
    /// This process has just taken the shard over and must recover again.
    #[error("took the shard over from {owner}")]
    TakenOver {
        /// From whom.
        owner: String,
    },
    /// The bus does not do what it is asked.
    #[error("the bus failed")]
    Bus(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The rules cannot deal with a message.
    #[error("panicked: {0}")]
    Panicked(String),
}

impl Error {
    /// Whether a message is at fault, rather than the broker or another owner.
    pub(crate) fn is_of_message(&self) -> bool {
        match self {
            Self::Panicked(_) => true,
            Self::Bus(source) => matches!(source.downcast_ref(), Some(PublishError::TooLarge { .. })),
            Self::Fenced { .. } | Self::TakenOver { .. } => false,
        }
    }
}

pub(crate) fn bus_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Bus(Box::new(error))
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Fenced { by, .. } => Self::Fenced { owner: by.to_string() },
            PublishError::TakenOver { from, .. } => Self::TakenOver { owner: from.to_string() },
            PublishError::UnknownOwner { .. } => Self::TakenOver { owner: "somebody unknown".into() },
            PublishError::Unrecovered { .. } => {
                Self::TakenOver { owner: "an earlier publish of its own".into() }
            }
            other => bus_error(other),
        }
    }
}

/// What a worker is made of, whoever owns the shard at the moment.
pub(crate) struct Worker {
    pub(crate) config: Config,
    pub(crate) shard: Shard,
    pub(crate) instance: String,
    pub(crate) bus: Bus,
    pub(crate) context: RoleContext,
    pub(crate) latch: Latch,
    pub(crate) reporter: Reporter,
    /// What it failed at, whoever owned the shard meanwhile.
    pub(crate) failures: Mutex<Failures>,
    pub(crate) legs: LegLabels,
}

/// Owns `shard` until shutdown is requested: it goes on after every failure, with backoff, and gives way when another
/// process that started later owns the shard.
///
/// The latch of the shard is registered before this returns, so that the process is not ready before the work begins.
pub fn run(
    config: Config,
    shard: Shard,
    bus: Bus,
    context: RoleContext,
) -> impl Future<Output = Result<(), Error>> + Send {
    let latch = context.readiness.latch(&format!("normalizer-{shard}"));
    let instance = RoleStatus::worker_instance(&context.instance, shard);
    let reporter = Reporter::new("normalizer", instance.clone());
    let failures = Mutex::new(Failures::new(config.deliveries_max));
    let legs = LegLabels::default();
    let worker = Worker { config, shard, instance, bus, context, latch, reporter, failures, legs };
    async move {
        worker.reporter.speak();
        let label = shard.to_string();
        let complete = |status: &mut RoleStatus| {
            status.ready = worker.latch.is_ready();
            if let Some(messages) = status.backlog_messages {
                gauge!(names::BACKLOG, "shard" => label.clone()).set(messages as f64);
            }
        };
        tokio::select! {
            outcome = worker.work() => outcome,
            never = worker.reporter.keep(&worker.bus, Some((Work::Raw, shard)), complete) => match never {},
        }
    }
}

impl Worker {
    async fn work(&self) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_millis(100), self.config.retry_delay_max);
        let mut fenced_wait = self.config.fenced_wait;
        loop {
            if !self.await_snapshotter().await {
                return Ok(());
            }
            let since = Instant::now();
            let mut reconnections = self.bus.reconnections();
            // A broker that does not answer must not keep a process that is to end.
            let Some(recovered) = self.context.shutdown.run_until(Box::pin(Owner::recover(self))).await
            else {
                return Ok(());
            };
            let error = match recovered {
                Ok(mut owner) => match owner.work().await {
                    Ok(()) => {
                        self.tell_what_is_left().await;
                        return Ok(());
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if since.elapsed() > HEALTHY_AFTER {
                backoff.reset();
                fenced_wait = self.config.fenced_wait;
            }
            let delay = match &error {
                Error::TakenOver { .. } => Duration::ZERO,
                Error::Fenced { .. } => {
                    let delay = fenced_wait;
                    fenced_wait = (fenced_wait * 2).min(self.config.fenced_wait * FENCED_WAITS_MAX);
                    delay
                }
                Error::Bus(_) | Error::Panicked(_) => backoff.next_delay(),
            };
            if matches!(error, Error::TakenOver { .. } | Error::Fenced { .. }) {
                counter!(names::OWNERSHIP_CHANGES, "shard" => self.shard.to_string()).increment(1);
            }
            let is_fenced = matches!(error, Error::Fenced { .. });
            self.latch.set_waiting(ErrorChain(&error).to_string());
            warn!(shard = %self.shard, ?delay, error = %ErrorChain(&error), "the shard is left and recovered again");
            tokio::select! {
                // With another owner, the broker has nothing to do.
                () = tokio::time::sleep(delay), if is_fenced => {}
                again = reconnections.or_after(delay), if !is_fenced => if again {
                    backoff.reset();
                },
                () = self.context.shutdown.requested() => return Ok(()),
            }
        }
    }

    /// A broker of its own keeps what the drain did not get to. In memory it ends with the process, and not silently.
    async fn tell_what_is_left(&self) {
        let waiting = match self.bus.lag(Work::Raw, self.shard).await {
            Ok(lag) => lag.pending_messages + lag.unacknowledged,
            Err(_) => 0,
        };
        if self.bus.is_embedded() && waiting > 0 {
            warn!(shard = %self.shard, messages = waiting, "raw messages in memory were not normalised before the end");
        }
    }

    /// Positions are recovered from what is published. On a broker that is new or came back empty, the snapshotter of the
    /// shard must first have published what only the database still knows; its first word says so. Where ticks of the
    /// shard are there already, nothing is missing, and a snapshotter that is away keeps nobody waiting. Returns `false`
    /// when shutdown is requested.
    async fn await_snapshotter(&self) -> bool {
        let mut told = false;
        while !self.snapshotter_spoke().await && !self.has_published().await {
            if !told {
                told = true;
                let shard = self.shard;
                self.latch.set_waiting(format!(
                    "the snapshotter of shard {shard} has not yet published what is stored"
                ));
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                () = self.context.shutdown.requested() => return false,
            }
        }
        true
    }

    async fn snapshotter_spoke(&self) -> bool {
        let of_shard = |status: &RoleStatus| {
            status.role == "snapshotter" && status.worker_shard() == Some(self.shard.get())
        };
        self.bus.statuses().await.is_ok_and(|statuses| statuses.iter().any(of_shard))
    }

    async fn has_published(&self) -> bool {
        let owned = |batch: &TickBatch| self.bus.shards().shard_of(&batch.instrument) == self.shard;
        self.bus.last_batches().await.is_ok_and(|batches| batches.iter().any(|(_, batch)| owned(batch)))
    }
}
