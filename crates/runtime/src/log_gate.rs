use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets a repeated log line through once per period and counts what it held back, so that the line that passes can say
/// how many it stands for.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use runtime::LogGate;
/// let gate = LogGate::new(Duration::from_secs(10));
/// if let Some(swallowed) = gate.pass(Instant::now()) {
///     tracing::warn!(swallowed, "the frame is not understood");
/// }
/// ```
#[derive(Debug)]
pub struct LogGate {
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_passed: Option<Instant>,
    swallowed: u64,
}

impl LogGate {
    /// A gate that is open once per `period`.
    pub const fn new(period: Duration) -> LogGate {
        LogGate { period, state: Mutex::new(State { last_passed: None, swallowed: 0 }) }
    }

    /// `Some(how many were held back since the last one that passed)` when the line is to be written.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = state.last_passed.is_none_or(|last| now.saturating_duration_since(last) >= self.period);
        if open {
            state.last_passed = Some(now);
            Some(std::mem::take(&mut state.swallowed))
        } else {
            state.swallowed += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_period_passes_and_tells_how_many_it_stands_for() {
        let gate = LogGate::new(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(gate.pass(start), Some(0));
        assert_eq!(gate.pass(start + Duration::from_secs(1)), None);
        assert_eq!(gate.pass(start + Duration::from_secs(9)), None);
        assert_eq!(gate.pass(start + Duration::from_secs(10)), Some(2));
        assert_eq!(gate.pass(start + Duration::from_secs(25)), Some(0));
    }
}
