//! Trying again: delays that grow and spread, and a loop that keeps the log short and readiness honest.

mod backoff;

use std::error::Error;
use std::future::Future;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::{ErrorChain, Latch, LogGate, Shutdown, metrics};

pub use backoff::Backoff;

/// How often an unchanged failure is told again, so that whoever reads the end of the log sees it.
const SAME_FAILURE_PERIOD: Duration = Duration::from_secs(60);

/// How often a failure that differs from the last one is told.
const NEW_FAILURE_PERIOD: Duration = Duration::from_secs(1);

/// Tries `operation` (named `name`, in words such as `connect to NATS at …`) until it succeeds or the shutdown is
/// requested, which gives `None` and drops an attempt under way.
///
/// Meanwhile `latch` waits with the reason. A failure is logged when it differs from the one before, at most once per
/// second, and once per minute while it stays the same. After success the latch still waits: the caller knows what
/// else it takes to be ready.
pub async fn retry_until_shutdown<T, E, F>(
    name: &str,
    backoff: Backoff,
    latch: &Latch,
    shutdown: &Shutdown,
    operation: impl FnMut() -> F,
) -> Option<T>
where
    E: Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    // Every failure is retried, so that an error cannot come out.
    retry_while(name, backoff, latch, shutdown, |_| true, operation).await.ok().flatten()
}

/// Like [`retry_until_shutdown`], but an error for which `is_retryable` says no ends it: trying again would not help.
///
/// # Errors
/// The first error that is not worth another attempt.
pub async fn retry_while<T, E, F>(
    name: &str,
    mut backoff: Backoff,
    latch: &Latch,
    shutdown: &Shutdown,
    is_retryable: impl Fn(&E) -> bool,
    mut operation: impl FnMut() -> F,
) -> Result<Option<T>, E>
where
    E: Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    let mut failures = Failures::new(name);
    loop {
        match shutdown.run_until(operation()).await {
            None => return Ok(None),
            Some(Ok(value)) => {
                failures.tell_recovery();
                latch.set_waiting("starting");
                return Ok(Some(value));
            }
            Some(Err(error)) if !is_retryable(&error) => {
                latch.set_waiting(format!("{name}: {}", ErrorChain(&error)));
                return Err(error);
            }
            Some(Err(error)) => {
                let delay = backoff.next_delay();
                let why = ErrorChain(&error).to_string();
                latch.set_waiting(format!("{name}: {why}"));
                failures.tell(why, delay);
                if shutdown.run_until(tokio::time::sleep(delay)).await.is_none() {
                    return Ok(None);
                }
            }
        }
    }
}

/// The failures of one operation, and which of them have been told.
struct Failures<'a> {
    name: &'a str,
    count: u64,
    last_told: Option<String>,
    same: LogGate,
    new: LogGate,
}

impl<'a> Failures<'a> {
    fn new(name: &'a str) -> Failures<'a> {
        let (same, new) = (LogGate::new(SAME_FAILURE_PERIOD), LogGate::new(NEW_FAILURE_PERIOD));
        Failures { name, count: 0, last_told: None, same, new }
    }

    fn tell(&mut self, why: String, delay: Duration) {
        self.count += 1;
        ::metrics::counter!(metrics::RUNTIME_RETRIES_TOTAL, "operation" => self.name.to_owned()).increment(1);
        let now = Instant::now();
        if self.is_to_be_told(&why, now) {
            warn!(error = %why, operation = self.name, attempts = self.count, retry_in = ?delay, "failed, trying again");
            self.last_told = Some(why);
        }
    }

    fn is_to_be_told(&self, why: &str, now: Instant) -> bool {
        let changed = self.last_told.as_deref() != Some(why);
        let period_over = self.same.pass(now).is_some();
        (changed || period_over) && self.new.pass(now).is_some()
    }

    fn tell_recovery(&self) {
        if self.count > 0 {
            info!(operation = self.name, attempts = self.count + 1, "succeeded after failures");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::Readiness;

    #[derive(Debug, thiserror::Error, PartialEq)]
    #[error("refused")]
    struct Refused;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(10), Duration::from_secs(1))
    }

    #[tokio::test(start_paused = true)]
    async fn it_tries_until_success_and_the_latch_tells_why() {
        let readiness = Readiness::new();
        let latch = readiness.latch("bus");
        let attempts = Cell::new(0);
        let shutdown = Shutdown::new();
        let result = retry_until_shutdown("connect", backoff(), &latch, &shutdown, async || {
            attempts.set(attempts.get() + 1);
            match attempts.get() {
                5 => Ok(attempts.get()),
                1 => Err(Refused),
                _ => {
                    assert_eq!(readiness.report().waiting[0].reason, "connect: refused");
                    Err(Refused)
                }
            }
        });
        assert_eq!(result.await, Some(5));
        assert!(!readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_ends_the_delay_and_an_attempt_under_way() {
        let readiness = Readiness::new();
        let latch = readiness.latch("bus");
        for hangs in [false, true] {
            let shutdown = Shutdown::new();
            let result = retry_until_shutdown("connect", backoff(), &latch, &shutdown, async || {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Err::<(), _>(Refused)
            });
            let stop = async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                shutdown.request();
            };
            assert_eq!(tokio::join!(result, stop).0, None);
        }
    }

    #[tokio::test]
    async fn an_error_that_no_attempt_can_mend_comes_out_at_once() {
        let readiness = Readiness::new();
        let latch = readiness.latch("bus");
        let result: Result<Option<()>, _> =
            retry_while("connect", backoff(), &latch, &Shutdown::new(), |_| false, async || Err(Refused))
                .await;
        assert_eq!(result, Err(Refused));
        assert_eq!(readiness.report().waiting[0].reason, "connect: refused");
    }

    #[test]
    fn a_failure_is_told_when_it_changes_and_once_per_period() {
        let mut failures = Failures::new("connect");
        let start = Instant::now();
        assert!(failures.is_to_be_told("refused", start));
        failures.last_told = Some("refused".to_owned());
        assert!(!failures.is_to_be_told("refused", start + Duration::from_secs(2)));
        assert!(failures.is_to_be_told("timed out", start + Duration::from_secs(3)));
        assert!(!failures.is_to_be_told("other", start + Duration::from_millis(3_100)), "too soon");
        assert!(failures.is_to_be_told("refused", start + SAME_FAILURE_PERIOD));
    }
}
