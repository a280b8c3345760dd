use crate::{Latch, Readiness, Shutdown};

/// What every role's `run` gets from the process it runs in.
#[derive(Clone, Debug)]
pub struct RoleContext {
    /// The name of this process, unique to this start of it; see [`crate::host::instance`].
    pub instance: String,
    /// Where the role registers a latch for each thing that must be up before it can do its job.
    pub readiness: Readiness,
    /// When requested, the role drains and returns.
    pub shutdown: Shutdown,
}

impl RoleContext {
    /// A context for one process.
    pub fn new(readiness: Readiness, shutdown: Shutdown) -> RoleContext {
        RoleContext { instance: crate::host::instance(), readiness, shutdown }
    }

    /// The context of the role (or part of a role) `name`: its latches are told as `name.latch`, because several roles
    /// may share a process and each of them waits for its own bus.
    pub fn scoped(&self, name: &str) -> RoleContext {
        RoleContext { readiness: self.readiness.scoped(name), ..self.clone() }
    }

    /// Short for `readiness.latch(name)`.
    pub fn latch(&self, name: &str) -> Latch {
        self.readiness.latch(name)
    }
}
