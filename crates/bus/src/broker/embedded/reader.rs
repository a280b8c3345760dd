//! Reading a whole stream of the embedded bus in order.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use super::{State, Stream};
use crate::{
    StreamState,
    broker::{BrokerError, Read, Start},
};

/// Follows a stream from a sequence on, without leaving a trace in it.
#[derive(Debug)]
pub(crate) struct OrderedReader {
    stream: Arc<Stream>,
    state: StreamState,
    /// The last message of each subject, as of the start.
    initial: VecDeque<u64>,
    after: u64,
    initial_pending: u64,
}

impl OrderedReader {
    pub(super) fn new(stream: Arc<Stream>, start: Start) -> Self {
        let mut locked = stream.lock();
        locked.expire(Instant::now());
        let state = locked.stream_state(stream.created);
        let (initial, after) = match start {
            Start::LastPerSubject => (locked.last_sequences().into_iter().collect(), state.last_sequence),
            Start::After(after) => (VecDeque::new(), after),
            Start::Recent(age) => (VecDeque::new(), locked.older_than(age, Instant::now())),
        };
        let initial_pending = pending(&initial, after, &locked);
        drop(locked);
        Self { stream, state, initial, after, initial_pending }
    }

    pub(crate) fn initial_pending(&self) -> u64 {
        self.initial_pending
    }

    pub(crate) fn state(&self) -> StreamState {
        self.state
    }

    pub(crate) async fn next(&mut self) -> Result<Read, BrokerError> {
        let stream = Arc::clone(&self.stream);
        loop {
            let arrival = stream.arrivals.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            if let Some(read) = self.take() {
                return Ok(read);
            }
            arrival.await;
        }
    }

    fn take(&mut self) -> Option<Read> {
        let mut locked = self.stream.lock();
        locked.expire(Instant::now());
        while let Some(sequence) = self.initial.pop_front() {
            // What is gone by now was replaced by a newer one of its subject, which comes later, or aged out.
            if let Some(stored) = locked.get(sequence) {
                return Some(Read { stored, pending: pending(&self.initial, self.after, &locked) });
            }
        }
        let stored = locked.first_after(self.after)?;
        self.after = stored.sequence;
        Some(Read { pending: pending(&self.initial, self.after, &locked), stored })
    }
}

fn pending(initial: &VecDeque<u64>, after: u64, state: &State) -> u64 {
    initial.len() as u64 + state.last_sequence().saturating_sub(after)
}
