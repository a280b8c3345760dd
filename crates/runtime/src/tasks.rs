//! The tasks of a process: each has a name and a rule for its failure, and a panic is a failure like another.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::task::{Id, JoinSet};
use tracing::{Instrument, debug, error, error_span, warn};

use crate::{Backoff, ErrorChain, Shutdown, metrics, telemetry};

/// What a task's error may be: an error enum of a crate, or whatever turns into one.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// What to do when a task fails. A task that returns `Ok` has ended, not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Request the shutdown of the process; [`TaskSet::join`] then returns the failure.
    StopProcess,
    /// Only log it: the process does its job without the task.
    Log,
}

/// A task that failed for good.
#[derive(Debug, thiserror::Error)]
#[error("{task} failed")]
pub struct TaskFailure {
    /// The name of the task.
    pub task: String,
    /// Its error, or its panic as an error.
    #[source]
    pub source: TaskError,
}

/// What went wrong with a set of tasks; see [`TaskSet::join`].
#[derive(Debug)]
pub struct TaskFailures {
    /// The failures that stopped the process, in the order in which they happened.
    pub failed: Vec<TaskFailure>,
    /// The tasks that were cut at the deadline.
    pub unfinished: Vec<String>,
}

impl fmt::Display for TaskFailures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for failure in &self.failed {
            write!(formatter, "{separator}{}", ErrorChain(failure))?;
            separator = "; ";
        }
        if !self.unfinished.is_empty() {
            write!(formatter, "{separator}did not end in time: {}", self.unfinished.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for TaskFailures {}

/// A panic, as the error of its task.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
struct Panicked(String);

/// Owns the long-lived tasks of a process. Dropping it aborts them. It is not for a task per connection or request: a
/// set remembers each task until the next one is spawned.
#[derive(Debug)]
pub struct TaskSet {
    shutdown: Shutdown,
    running: JoinSet<Option<TaskFailure>>,
    names: HashMap<Id, Arc<str>>,
    failed: Vec<TaskFailure>,
}

impl TaskSet {
    /// An empty set; a task with [`OnFailure::StopProcess`] that fails requests `shutdown`.
    pub fn new(shutdown: Shutdown) -> TaskSet {
        TaskSet { shutdown, running: JoinSet::new(), names: HashMap::new(), failed: Vec::new() }
    }

    /// Runs `future` as the task `name`.
    pub fn spawn<E>(
        &mut self,
        name: &str,
        on_failure: OnFailure,
        future: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<TaskError> + Send,
    {
        let (task, shutdown) = (name.to_owned(), self.shutdown.clone());
        self.start(name, async move {
            let failure = run(&task, future).await.err()?;
            match on_failure {
                OnFailure::StopProcess => {
                    error!(error = %ErrorChain(&*failure.source), "a task failed, stopping the process");
                    shutdown.request();
                    Some(failure)
                }
                OnFailure::Log => {
                    error!(error = %ErrorChain(&*failure.source), "a task failed, going on without it");
                    None
                }
            }
        });
    }

    /// Runs the futures that `make` makes as the task `name`: after a failure the next one, after a delay of `backoff`,
    /// until one returns `Ok` or the shutdown is requested. One that ran for longer than the longest delay begins
    /// again at the shortest.
    pub fn spawn_restarting<E, F>(
        &mut self,
        name: &str,
        mut backoff: Backoff,
        mut make: impl FnMut() -> F + Send + 'static,
    ) where
        E: Into<TaskError> + Send,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let (task, shutdown) = (name.to_owned(), self.shutdown.clone());
        self.start(name, async move {
            loop {
                let started = Instant::now();
                let failure = run(&task, make()).await.err()?;
                if started.elapsed() > backoff.max() {
                    backoff.reset();
                }
                let delay = backoff.next_delay();
                warn!(error = %ErrorChain(&*failure.source), restart_in = ?delay, "a task failed, starting it again");
                // A shutdown does not wait for a task that would have to be started first.
                shutdown.run_until(tokio::time::sleep(delay)).await?;
                ::metrics::counter!(metrics::RUNTIME_TASK_RESTARTS_TOTAL, "task" => task.clone()).increment(1);
            }
        });
    }

    /// Returns once all tasks have ended, by themselves or after a shutdown. Safe to drop and call again.
    pub async fn finished(&mut self) {
        while let Some(ended) = self.running.join_next_with_id().await {
            self.forget(ended);
        }
    }

    /// Waits until all tasks have ended, but not longer than `deadline`, and aborts the rest. Call it after the shutdown
    /// is requested, or when the tasks end by themselves.
    ///
    /// # Errors
    /// When a task with [`OnFailure::StopProcess`] failed, or a task did not end in time.
    pub async fn join(mut self, deadline: Duration) -> Result<(), TaskFailures> {
        let _ = tokio::time::timeout(deadline, self.finished()).await;
        let mut unfinished: Vec<String> = self.names.values().map(ToString::to_string).collect();
        unfinished.sort();
        if !unfinished.is_empty() {
            warn!(tasks = unfinished.join(", "), ?deadline, "tasks did not end in time and were aborted");
        }
        self.running.shutdown().await;
        match (self.failed.is_empty(), unfinished.is_empty()) {
            (true, true) => Ok(()),
            _ => Err(TaskFailures { failed: self.failed, unfinished }),
        }
    }

    fn start(&mut self, name: &str, task: impl Future<Output = Option<TaskFailure>> + Send + 'static) {
        while let Some(ended) = self.running.try_join_next_with_id() {
            self.forget(ended);
        }
        // At the level of errors, so that the name is there whatever the log's filter is.
        let span = error_span!(target: telemetry::TASK_SPAN_TARGET, parent: None, "task", task = name);
        let handle = self.running.spawn(task.instrument(span));
        self.names.insert(handle.id(), Arc::from(name));
    }

    fn forget(&mut self, ended: Result<(Id, Option<TaskFailure>), tokio::task::JoinError>) {
        match ended {
            Ok((id, failure)) => {
                self.names.remove(&id);
                self.failed.extend(failure);
            }
            Err(error) => {
                self.names.remove(&error.id());
            }
        }
    }
}

/// Runs one future to its end; an error and a panic both are failures, and counted.
async fn run<E: Into<TaskError>>(
    task: &str,
    future: impl Future<Output = Result<(), E>>,
) -> Result<(), TaskFailure> {
    // Nothing of a future that panicked is used again: it is dropped.
    let source = match AssertUnwindSafe(future).catch_unwind().await {
        Ok(Ok(())) => {
            debug!("the task ended");
            return Ok(());
        }
        Ok(Err(error)) => error.into(),
        Err(panic) => Box::new(Panicked(panic_message(panic.as_ref()))),
    };
    ::metrics::counter!(metrics::RUNTIME_TASK_FAILURES_TOTAL, "task" => task.to_owned()).increment(1);
    Err(TaskFailure { task: task.to_owned(), source })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (None, Some(message)) => message.clone(),
        (None, None) => "no message".to_owned(),
    }
}

#[cfg(test)]
mod tests;
