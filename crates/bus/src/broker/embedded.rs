//! The bus in memory: the same semantics within one process, nothing to install. What it holds ends with the process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use domain::UnixNanos;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{Backlog, BrokerError, DurableSpec, Outgoing, PublishFailure, Published, Start, Stored};
use crate::{
    manage::ManageError,
    metrics,
    streams::{StreamKind, StreamSpec, StreamState},
};

mod dedup;
mod durable;
mod reader;
mod state;
mod work;

pub(crate) use reader::OrderedReader;
use state::{Outcome, State};
pub(crate) use work::WorkConsumer;

/// The streams of one process.
#[derive(Debug)]
pub(crate) struct Embedded {
    streams: RwLock<HashMap<StreamKind, Arc<Stream>>>,
    /// How long a publisher waits for room before its attempt counts as failed.
    publish_timeout: Duration,
}

/// One stream, shared by everyone who uses it.
#[derive(Debug)]
struct Stream {
    kind: StreamKind,
    created: UnixNanos,
    state: Mutex<State>,
    /// Something came that a reader may wait for.
    arrivals: Notify,
    /// Something left that a publisher may wait for.
    room: Notify,
}

impl Stream {
    /// The state, for a moment: nobody awaits while holding it. It stays usable after a panic, since every change to
    /// it is made in one go.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot_state(&self) -> StreamState {
        let mut state = self.lock();
        state.expire(Instant::now());
        state.stream_state(self.created)
    }
}

/// The stream was not made yet.
#[derive(Debug, thiserror::Error)]
#[error("the stream does not exist")]
struct StreamMissing;

impl Embedded {
    pub(crate) fn new(publish_timeout: Duration) -> Self {
        Self { streams: RwLock::default(), publish_timeout }
    }

    fn stream(&self, kind: StreamKind, operation: &'static str) -> Result<Arc<Stream>, BrokerError> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.get(&kind).cloned().ok_or_else(|| BrokerError::new(operation, kind.label(), StreamMissing))
    }

    pub(crate) fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), ManageError> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = streams.get(&spec.kind) else {
            let stream = Stream {
                kind: spec.kind,
                created: UnixNanos::now(),
                state: Mutex::new(State::new(spec.clone())),
                arrivals: Notify::new(),
                room: Notify::new(),
            };
            streams.insert(spec.kind, Arc::new(stream));
            return Ok(());
        };
        stream.lock().update(spec)?;
        stream.room.notify_waiters();
        Ok(())
    }

    pub(crate) fn check_stream(&self, spec: &StreamSpec) -> Result<(), ManageError> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let stream = streams.get(&spec.kind);
        stream.ok_or_else(|| ManageError::Missing { stream: spec.name.clone() })?.lock().check_shards(spec)
    }

    /// Stores a message; waits for room, up to the publish timeout, where the stream refuses when it is full.
    pub(crate) async fn publish(&self, outgoing: &Outgoing) -> Result<Published, PublishFailure> {
        let stream = self.stream(outgoing.stream, "publish").map_err(PublishFailure::Unavailable)?;
        let deadline = Instant::now() + self.publish_timeout;
        loop {
            let room = stream.room.notified();
            tokio::pin!(room);
            // Whoever leaves from here on is noticed, also before the wait begins.
            room.as_mut().enable();
            match stream.lock().publish(outgoing, Instant::now()) {
                Outcome::Full => {}
                Outcome::WrongLastSequence => return Err(PublishFailure::WrongLastSequence),
                Outcome::Published(published) => {
                    if !published.duplicate {
                        stream.arrivals.notify_waiters();
                    }
                    return Ok(published);
                }
            }
            if timeout_at(deadline, room).await.is_err() {
                metrics::embedded_refused(stream.kind);
                return Err(PublishFailure::Full);
            }
        }
    }

    pub(crate) fn last_message(
        &self,
        kind: StreamKind,
        subject: &str,
    ) -> Result<Option<Stored>, BrokerError> {
        let stream = self.stream(kind, "read the last message")?;
        let mut state = stream.lock();
        state.expire(Instant::now());
        Ok(state.last(subject))
    }

    pub(crate) fn message(&self, kind: StreamKind, sequence: u64) -> Result<Option<Stored>, BrokerError> {
        let stream = self.stream(kind, "read a message")?;
        let mut state = stream.lock();
        state.expire(Instant::now());
        Ok(state.get(sequence))
    }

    pub(crate) fn last_per_subject(&self, kind: StreamKind) -> Result<Vec<Stored>, BrokerError> {
        let stream = self.stream(kind, "read the last messages")?;
        let mut state = stream.lock();
        state.expire(Instant::now());
        let sequences = state.last_sequences();
        Ok(sequences.into_iter().filter_map(|sequence| state.get(sequence)).collect())
    }

    pub(crate) fn count_per_subject(&self, kind: StreamKind) -> Result<Vec<(String, u64)>, BrokerError> {
        let stream = self.stream(kind, "count the messages")?;
        let mut state = stream.lock();
        state.expire(Instant::now());
        Ok(state.counts())
    }

    pub(crate) fn stream_state(&self, kind: StreamKind) -> Result<StreamState, BrokerError> {
        Ok(self.stream(kind, "read the state")?.snapshot_state())
    }

    pub(crate) fn backlog(&self, spec: &DurableSpec) -> Result<Backlog, BrokerError> {
        let stream = self.stream(spec.stream, "read the backlog")?;
        let mut state = stream.lock();
        state.expire(Instant::now());
        Ok(state.backlog(spec))
    }

    pub(crate) fn read(&self, kind: StreamKind, start: Start) -> Result<OrderedReader, BrokerError> {
        Ok(OrderedReader::new(self.stream(kind, "read")?, start))
    }
}
