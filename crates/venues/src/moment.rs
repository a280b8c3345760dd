//! The time as the core gets it.

use std::time::Duration;

use domain::UnixNanos;

/// Now, by two clocks: deadlines must not move when somebody sets the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock: what receive times are taken from.
    pub wall: UnixNanos,
    /// Time since an arbitrary, fixed start that never goes back: what deadlines are measured in.
    pub uptime: Duration,
}

impl Moment {
    /// This moment and `by` later on both clocks.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self { wall: self.wall.saturating_add(by), uptime: self.uptime.saturating_add(by) }
    }
}
