//! Reading a whole stream in order with an ephemeral consumer.

use std::time::Duration;

use async_nats::{
    datetime::{self, DateTime},
    jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use domain::UnixNanos;
use tokio::sync::watch;

use super::{
    JetStream,
    connection::{Disorder, next_message},
    wire::from_delivery,
};
use crate::{
    StreamKind, StreamState,
    broker::{BrokerError, Read, Start},
};

/// How many messages the server may send ahead.
const AHEAD_MESSAGES_MAX: usize = 1000;
/// How many bytes the server may send ahead: what one reader holds in memory at most.
const AHEAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long one request for messages stands before it is renewed.
const REQUEST_EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it is there; twice without it is an error. A reader is on one node of a cluster, and when
/// that one dies nothing else tells whoever is connected to another one.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// After how long the server forgets a reader that went away without a word.
const INACTIVE_AFTER: Duration = Duration::from_secs(60);

/// Follows a stream from a sequence on. The server forgets it when it goes away.
pub(crate) struct OrderedReader {
    broker: JetStream,
    kind: StreamKind,
    name: String,
    state: StreamState,
    initial_pending: u64,
    messages: pull::Stream,
    reconnects: watch::Receiver<u64>,
    /// How many messages the consumer gave so far; the next one must be the next.
    delivered: u64,
}

impl std::fmt::Debug for OrderedReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OrderedReader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OrderedReader {
    pub(super) async fn new(broker: &JetStream, kind: StreamKind, start: Start) -> Result<Self, BrokerError> {
        let operation = "read";
        let mut reconnects = broker.reconnects.clone();
        reconnects.mark_unchanged();
        let stream = broker.stream(kind, operation).await?;
        let deliver_policy = match start {
            Start::LastPerSubject => DeliverPolicy::LastPerSubject,
            Start::After(0) => DeliverPolicy::All,
            Start::After(after) => DeliverPolicy::ByStartSequence { start_sequence: after.saturating_add(1) },
            Start::Recent(age) => DeliverPolicy::ByStartTime {
                start_time: long_ago(age).map_err(|error| broker.error(operation, kind, error))?,
            },
        };
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            // A start at the last of each subject needs a filter, though it is everything.
            filter_subject: ">".into(),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE_AFTER,
            ..pull::Config::default()
        };
        let consumer: PullConsumer =
            stream.create_consumer(config).await.map_err(|error| broker.error(operation, kind, error))?;
        let info = consumer.cached_info();
        let (name, initial_pending) = (info.name.clone(), info.num_pending);
        // After the consumer was made: what is behind this state was certainly seen by it. (In a cluster its node may be a
        // moment behind; then it comes a moment later.)
        let state = broker.stream_state(kind).await?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(AHEAD_MESSAGES_MAX)
            .max_bytes_per_batch(AHEAD_BYTES_MAX)
            .expires(REQUEST_EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| broker.error(operation, kind, error))?;
        Ok(Self {
            broker: broker.clone(),
            kind,
            name,
            state,
            initial_pending,
            messages,
            reconnects,
            delivered: 0,
        })
    }

    pub(crate) fn initial_pending(&self) -> u64 {
        self.initial_pending
    }

    pub(crate) fn state(&self) -> StreamState {
        self.state
    }

    pub(crate) async fn next(&mut self) -> Result<Read, BrokerError> {
        let next = next_message(&mut self.messages, &mut self.reconnects).await;
        let message = next.map_err(|error| self.error(error))?;
        let info = message.info().map_err(|error| self.error(error))?;
        let (sequence, pending, found) = (info.stream_sequence, info.pending, info.consumer_sequence);
        let expected = self.delivered + 1;
        if found != expected {
            return Err(self.error(Disorder::Skipped { expected, found }));
        }
        self.delivered = found;
        let (message, _) = message.split();
        Ok(Read { stored: from_delivery(message, sequence), pending })
    }

    /// How many messages wait now, by asking the server.
    pub(super) async fn pending_now(&self) -> Result<u64, BrokerError> {
        let stream = self.broker.stream(self.kind, "read").await?;
        let info = stream.consumer_info(&self.name).await.map_err(|error| self.error(error))?;
        Ok(info.num_pending)
    }

    /// Tells the server at once that the reader is not needed any more; otherwise it notices after a while.
    pub(super) async fn close(self) {
        let Ok(stream) = self.broker.stream(self.kind, "close").await else {
            return;
        };
        if let Err(error) = stream.delete_consumer(&self.name).await {
            tracing::debug!(%error, consumer = self.name, "the reader is left to the server");
        }
    }

    fn error(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BrokerError {
        self.broker.error("read", self.kind, source)
    }
}

/// The time that lies so far back; at most the beginning of all times.
fn long_ago(age: Duration) -> Result<DateTime, async_nats::Error> {
    let now = i128::from(UnixNanos::now().nanos());
    let age = i128::try_from(age.as_nanos()).unwrap_or(i128::MAX);
    datetime::from_nanos(now.saturating_sub(age).max(0))
}
