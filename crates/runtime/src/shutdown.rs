use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What a process exits with when a second signal cuts its drain short: 128 + SIGINT, as shells report it.
const EXIT_CODE_CUT_SHORT: i32 = 130;

/// Tells every part of the process to drain and end. Cheap to clone; once requested it stays requested.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// One that only [`Shutdown::request`] triggers.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// One that the first SIGINT or SIGTERM triggers; the second ends the process at once with code 130.
    ///
    /// # Errors
    /// When the signal handlers or their thread cannot be set up.
    pub fn from_signals() -> std::io::Result<Shutdown> {
        let shutdown = Shutdown::new();
        let requested = shutdown.clone();
        // A thread and a runtime of its own: the second signal must work even when every worker thread is stuck.
        let signals = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = signals.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            signals.block_on(async move {
                let mut next = async || {
                    tokio::select! {
                        _ = interrupt.recv() => "SIGINT",
                        _ = terminate.recv() => "SIGTERM",
                    }
                };
                let name = next().await;
                info!(signal = name, "shutting down; a second signal ends the process at once");
                requested.request();
                let name = next().await;
                warn!(signal = name, "second signal, ending at once");
                std::process::exit(EXIT_CODE_CUT_SHORT);
            });
        })?;
        Ok(shutdown)
    }

    /// Asks everybody to drain and end.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns once somebody asked. Safe to drop and call again.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// One that is triggered with this one and can be triggered alone, to stop a part of the process.
    pub fn child(&self) -> Shutdown {
        Shutdown { token: self.token.child_token() }
    }

    /// The output of `future`, or `None` when the shutdown is requested first; `future` is dropped then.
    pub async fn run_until<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token.run_until_cancelled(future).await
    }
}

/// One step of the written order in which a process drains: waits for `future` and says so when it takes longer than
/// `deadline`. Returns the output, or `None` when the step was abandoned.
pub async fn drain_step<F: Future>(name: &str, deadline: Duration, future: F) -> Option<F::Output> {
    match tokio::time::timeout(deadline, future).await {
        Ok(output) => Some(output),
        Err(_) => {
            warn!(step = name, deadline = ?deadline, "a step of the shutdown did not finish in time and was abandoned");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_clones_and_children_but_not_the_parent() {
        let shutdown = Shutdown::new();
        let child = shutdown.child();
        child.request();
        assert!(child.is_requested() && !shutdown.is_requested());

        let other = shutdown.child();
        shutdown.clone().request();
        other.requested().await;
        assert!(shutdown.is_requested());
        assert_eq!(shutdown.run_until(std::future::pending::<()>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_step_is_abandoned_at_its_deadline() {
        assert_eq!(drain_step("quick", Duration::from_secs(1), async { 7 }).await, Some(7));
        assert_eq!(drain_step("stuck", Duration::from_secs(1), std::future::pending::<()>()).await, None);
    }
}
