//! What is asked again. Every method of `MarketDataService` only reads, so that any of them may be.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use metrics::counter;
use tokio::time::{Instant, Sleep, sleep};
use tower::retry::{
    Policy,
    budget::{Budget, TpsBudget},
};

use super::{answer::Answer, call::Call, pool::Member};
use crate::metrics as names;

/// How often a call is sent at most.
const ATTEMPTS_MAX: usize = 4;
/// How long is waited before the second attempt with the same instance; each time twice as long. Another instance is asked at
/// once.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// Retries are at most a fifth of the calls of the last 10 s, and 20 a second: where query is overloaded they would make it
/// worse.
const BUDGET_TTL: Duration = Duration::from_secs(10);
const BUDGET_PER_SECOND: u32 = 20;
const BUDGET_SHARE: f32 = 0.2;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The call did not reach an instance, or its answer did not come to its end.
    Unreachable { member: Option<SocketAddr>, cause: String },
    /// There was no answer in time.
    OutOfTime,
}

impl Failure {
    /// An instance did not answer; others are asked first from now on.
    pub(super) fn of(member: &Member, cause: String) -> Self {
        member.set_down(true);
        Self::Unreachable { member: Some(member.address), cause }
    }

    /// As it stands in labels.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::OutOfTime => "timeout",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { member: Some(member), cause } => write!(formatter, "{member}: {cause}"),
            Self::Unreachable { member: None, cause } => formatter.write_str(cause),
            Self::OutOfTime => formatter.write_str("no answer in time"),
        }
    }
}

/// The policy. All clones share one budget.
#[derive(Clone, Debug)]
pub(super) struct Retries(Arc<TpsBudget>);

impl Default for Retries {
    fn default() -> Self {
        Self(Arc::new(TpsBudget::new(BUDGET_TTL, BUDGET_PER_SECOND, BUDGET_SHARE)))
    }
}

impl Policy<Call, Answer, Failure> for Retries {
    type Future = Sleep;

    fn retry(&mut self, call: &mut Call, outcome: &mut Result<Answer, Failure>) -> Option<Sleep> {
        let (cause, member) = match outcome {
            Ok(answer) if answer.is_unavailable => ("unavailable", Some(answer.member)),
            Err(Failure::Unreachable { member, .. }) => ("unreachable", *member),
            _ => {
                self.0.deposit();
                return None;
            }
        };
        let is_elsewhere_next =
            member.is_some_and(|member| !call.tried.contains(&member)) && cause == "unreachable";
        call.tried.extend(member);
        let earlier = u32::try_from(call.tried.len()).unwrap_or(u32::MAX).saturating_sub(1).min(8);
        let delay =
            if is_elsewhere_next && earlier == 0 { Duration::ZERO } else { DELAY_MIN * 2_u32.pow(earlier) };
        let is_late = Instant::now() + delay >= call.deadline;
        if call.tried.len() >= ATTEMPTS_MAX || is_late || !self.0.withdraw() {
            return None;
        }
        counter!(names::FORWARD_RETRIES, "cause" => cause).increment(1);
        Some(sleep(delay))
    }

    fn clone_request(&mut self, call: &Call) -> Option<Call> {
        Some(call.clone())
    }
}
