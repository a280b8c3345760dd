//! Waiting for a condition instead of a time.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What a check may answer: `bool`, `Option` (none: not yet) or `Result` (error: not yet, and why).
pub trait Outcome {
    /// What the check yields once it holds.
    type Value;

    /// The value, or what is still missing.
    fn into_met(self) -> Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();

    fn into_met(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("the condition is false".to_owned()) }
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn into_met(self) -> Result<T, String> {
        self.ok_or_else(|| "there is no value yet".to_owned())
    }
}

impl<T, E: Debug> Outcome for Result<T, E> {
    type Value = T;

    fn into_met(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Repeats `check` until it holds and returns what it yields: `eventually(deadline, || async { count().await == 3 })`.
///
/// # Panics
/// When it does not hold within `deadline`; the message has the place of the call and the last answer.
#[track_caller]
pub fn eventually<C, F>(
    deadline: Duration,
    mut check: C,
) -> impl Future<Output = <F::Output as Outcome>::Value>
where
    C: FnMut() -> F,
    F: Future<Output: Outcome>,
{
    let caller = Location::caller();
    async move {
        let until = Instant::now() + deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            let missing = match tokio::time::timeout_at(until, check()).await {
                Ok(outcome) => match outcome.into_met() {
                    Ok(value) => return value,
                    Err(missing) => missing,
                },
                Err(_) => "the check itself did not end".to_owned(),
            };
            if Instant::now() + pause > until {
                panic!("not within {deadline:?}, at {caller}: {missing}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
