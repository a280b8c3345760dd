//! What tests need from the outside world: a real nats-server, a real PostgreSQL, a running `ledgerflux`.
//!
//! It is a dev-dependency only and knows nothing of the domain. Everything it starts listens on a random loopback
//! port and ends when its handle is dropped, also when a test panics, and even when the test process is killed.
//! Entry types: [`NatsServer`], [`NatsCluster`], [`Postgres`], [`Process`], [`Proxy`], [`TlsMaterial`], and [`eventually`] to wait for a condition
//! instead of a time.
//!
//! Because only tests use it, its functions panic with a clear message instead of returning errors that every test
//! would have to unwrap.

mod child;
mod eventually;
mod nats;
mod postgres;
mod process;
mod proxy;
mod scratch;
mod tls;
mod tools;

pub use eventually::{Outcome, eventually};
pub use nats::{NatsCluster, NatsServer};
pub use postgres::Postgres;
pub use process::{Process, ProcessBuilder};
pub use proxy::{Fault, Proxy, Toward};
pub use rustix::process::Signal;
pub use scratch::Scratch;
pub use tls::TlsMaterial;
pub use tools::{tool, workspace_root};

/// Unwraps a result of the harness; the whole chain of causes stands in the panic.
#[track_caller]
fn or_panic<T>(result: anyhow::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error:#}"),
    }
}
