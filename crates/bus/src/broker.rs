//! The one interface to both substrates: a few operations on bytes. What they mean to the domain is written once,
//! above.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use thiserror::Error;

use crate::{
    headers::Headers,
    manage::ManageError,
    streams::{StreamKind, StreamSpec, StreamState},
};

pub(crate) mod embedded;
pub(crate) mod jetstream;

/// An operation that the broker did not carry out. Trying again may help.
#[derive(Debug, Error)]
#[error("cannot {operation} on {stream}")]
pub struct BrokerError {
    operation: &'static str,
    stream: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl BrokerError {
    pub(crate) fn new(
        operation: &'static str,
        stream: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { operation, stream: stream.into(), source: source.into() }
    }
}

/// Why a message was not stored.
#[derive(Debug)]
pub(crate) enum PublishFailure {
    /// The last message of the subject is not the expected one.
    WrongLastSequence,
    /// The stream is full and refuses new messages.
    Full,
    /// The message is larger than the broker takes.
    TooLarge(BrokerError),
    /// No acknowledgement; the message may be stored all the same.
    Unavailable(BrokerError),
}

/// A message to be published.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) stream: StreamKind,
    pub(crate) subject: Arc<str>,
    pub(crate) headers: Headers,
    pub(crate) payload: Bytes,
    /// A second message with this id within the stream's window is not stored.
    pub(crate) message_id: Option<String>,
    /// The sequence that the last message of the subject must have; 0: there must be none.
    pub(crate) expected_last: Option<u64>,
}

/// The acknowledgement of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Where it stands, or where the message with the same id stands.
    pub(crate) sequence: u64,
    /// Whether the broker had it already.
    pub(crate) duplicate: bool,
}

/// A message as the broker holds it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) subject: Arc<str>,
    pub(crate) sequence: u64,
    pub(crate) headers: Arc<Headers>,
    pub(crate) payload: Bytes,
}

/// A durable consumer of a shard.
#[derive(Clone, Debug)]
pub(crate) struct DurableSpec {
    pub(crate) stream: StreamKind,
    pub(crate) name: String,
    pub(crate) filters: Vec<String>,
    pub(crate) ack_wait: Duration,
    pub(crate) unacknowledged_max: usize,
}

/// A message that a durable consumer was given.
#[derive(Debug)]
pub(crate) struct WorkMessage {
    pub(crate) stored: Stored,
    /// How often it was delivered, this time included, since the consumer was reset.
    pub(crate) deliveries: u64,
    pub(crate) receipt: Receipt,
}

/// What acknowledges a message.
#[derive(Debug)]
pub(crate) enum Receipt {
    /// Its sequence.
    Embedded(u64),
    /// The subject that the server listens on.
    JetStream(async_nats::Subject),
}

/// How far behind a durable consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) pending: u64,
    pub(crate) unacknowledged: u64,
    /// Everything up to this message is acknowledged or gone; 0 for a consumer that does not exist yet.
    pub(crate) done: u64,
}

/// Where an ordered reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the last message of each subject, then with everything after them.
    LastPerSubject,
    /// With the first message after this sequence.
    After(u64),
    /// With the oldest message that is at most this old.
    Recent(Duration),
}

/// A message of an ordered reader.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) stored: Stored,
    /// How many messages wait behind it.
    pub(crate) pending: u64,
}

/// The substrate.
#[derive(Clone, Debug)]
pub(crate) enum Broker {
    Embedded(Arc<embedded::Embedded>),
    JetStream(Box<jetstream::JetStream>),
}

impl Broker {
    /// Creates the stream, or updates its limits. What cannot be updated is an error that names both values.
    pub(crate) async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), ManageError> {
        match self {
            Self::Embedded(broker) => broker.ensure_stream(spec),
            Self::JetStream(broker) => broker.ensure_stream(spec).await,
        }
    }

    /// Whether the stream exists, for the wanted shard count. Changes nothing.
    pub(crate) async fn check_stream(&self, spec: &StreamSpec) -> Result<(), ManageError> {
        match self {
            Self::Embedded(broker) => broker.check_stream(spec),
            Self::JetStream(broker) => broker.check_stream(spec).await,
        }
    }

    /// Publishes and waits for the acknowledgement, but not for ever.
    pub(crate) async fn publish(&self, outgoing: &Outgoing) -> Result<Published, PublishFailure> {
        match self {
            Self::Embedded(broker) => broker.publish(outgoing).await,
            Self::JetStream(broker) => broker.publish(outgoing).await,
        }
    }

    /// The last message of a subject, from where it is authoritative.
    pub(crate) async fn last_message(
        &self,
        stream: StreamKind,
        subject: &str,
    ) -> Result<Option<Stored>, BrokerError> {
        match self {
            Self::Embedded(broker) => broker.last_message(stream, subject),
            Self::JetStream(broker) => {
                broker.ask("read the last message", stream, broker.last_message(stream, subject)).await
            }
        }
    }

    /// One message; `None` when it is not in the stream.
    pub(crate) async fn message(
        &self,
        stream: StreamKind,
        sequence: u64,
    ) -> Result<Option<Stored>, BrokerError> {
        match self {
            Self::Embedded(broker) => broker.message(stream, sequence),
            Self::JetStream(broker) => broker.message(stream, sequence).await,
        }
    }

    /// The last message of each subject that is in the stream now, in stream order.
    pub(crate) async fn last_per_subject(&self, stream: StreamKind) -> Result<Vec<Stored>, BrokerError> {
        match self {
            Self::Embedded(broker) => broker.last_per_subject(stream),
            Self::JetStream(broker) => {
                // It carries the messages of a whole stream.
                let reading = Box::pin(broker.last_per_subject(stream));
                broker.ask("read the last messages", stream, reading).await
            }
        }
    }

    /// How many messages each subject of the stream has.
    pub(crate) async fn count_per_subject(
        &self,
        stream: StreamKind,
    ) -> Result<Vec<(String, u64)>, BrokerError> {
        match self {
            Self::Embedded(broker) => broker.count_per_subject(stream),
            Self::JetStream(broker) => {
                broker.ask("count the messages", stream, broker.count_per_subject(stream)).await
            }
        }
    }

    pub(crate) async fn stream_state(&self, stream: StreamKind) -> Result<StreamState, BrokerError> {
        match self {
            Self::Embedded(broker) => broker.stream_state(stream),
            Self::JetStream(broker) => {
                broker.ask("read the state", stream, broker.stream_state(stream)).await
            }
        }
    }

    /// How far behind a durable consumer is. One that does not exist yet has everything before it.
    pub(crate) async fn backlog(&self, spec: &DurableSpec) -> Result<Backlog, BrokerError> {
        match self {
            Self::Embedded(broker) => broker.backlog(spec),
            Self::JetStream(broker) => {
                broker.ask("read the backlog", spec.stream, broker.backlog(spec)).await
            }
        }
    }

    /// A handle to a durable consumer. Nothing is asked of the broker before it is reset for the first time.
    pub(crate) fn work_consumer(&self, spec: DurableSpec) -> WorkConsumer {
        match self {
            Self::Embedded(broker) => {
                WorkConsumer::Embedded(embedded::WorkConsumer::new(Arc::clone(broker), spec))
            }
            Self::JetStream(broker) => {
                WorkConsumer::JetStream(Box::new(jetstream::WorkConsumer::new(broker.as_ref().clone(), spec)))
            }
        }
    }

    /// Reads a whole stream in order, without acknowledgements.
    pub(crate) async fn read(&self, stream: StreamKind, start: Start) -> Result<OrderedReader, BrokerError> {
        Ok(match self {
            Self::Embedded(broker) => OrderedReader::Embedded(broker.read(stream, start)?),
            Self::JetStream(broker) => {
                let reader = broker.ask("read", stream, broker.read(stream, start)).await?;
                OrderedReader::JetStream(Box::new(reader))
            }
        })
    }

    /// Whether the broker can be reached at this moment, as far as is known.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::JetStream(broker) => broker.is_connected(),
        }
    }
}

/// A durable consumer in use.
#[derive(Debug)]
pub(crate) enum WorkConsumer {
    Embedded(embedded::WorkConsumer),
    JetStream(Box<jetstream::WorkConsumer>),
}

impl WorkConsumer {
    /// Creates the consumer where it is missing, and makes what was not acknowledged come next, in stream order. With
    /// `anew` it is made anew, so that nobody who read with it before takes anything any more. Returns the sequence up to
    /// which everything was acknowledged.
    pub(crate) async fn reset(&mut self, anew: bool) -> Result<u64, BrokerError> {
        match self {
            Self::Embedded(consumer) => consumer.reset(),
            Self::JetStream(consumer) => consumer.reset(anew).await,
        }
    }

    /// Waits up to `wait` for a message and returns it together with what else is there, up to `max`.
    pub(crate) async fn fetch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<WorkMessage>, BrokerError> {
        match self {
            Self::Embedded(consumer) => consumer.fetch(max, wait).await,
            Self::JetStream(consumer) => consumer.fetch(max, wait).await,
        }
    }

    /// Acknowledges; returns when the broker has confirmed the last of them.
    pub(crate) async fn ack(&self, receipts: &[&Receipt]) -> Result<(), BrokerError> {
        match self {
            Self::Embedded(consumer) => consumer.ack(receipts),
            Self::JetStream(consumer) => consumer.ack(receipts).await,
        }
    }
}

/// Reads a whole stream in order.
#[derive(Debug)]
pub(crate) enum OrderedReader {
    Embedded(embedded::OrderedReader),
    JetStream(Box<jetstream::OrderedReader>),
}

impl OrderedReader {
    /// How many messages waited when the reader was made.
    pub(crate) fn initial_pending(&self) -> u64 {
        match self {
            Self::Embedded(reader) => reader.initial_pending(),
            Self::JetStream(reader) => reader.initial_pending(),
        }
    }

    /// What the stream held just after the reader was made.
    pub(crate) fn state(&self) -> StreamState {
        match self {
            Self::Embedded(reader) => reader.state(),
            Self::JetStream(reader) => reader.state(),
        }
    }

    /// Waits for the next message. May be cancelled without losing one. After an error the reader is of no use.
    pub(crate) async fn next(&mut self) -> Result<Read, BrokerError> {
        match self {
            Self::Embedded(reader) => reader.next().await,
            Self::JetStream(reader) => reader.next().await,
        }
    }
}
