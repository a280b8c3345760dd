//! The bus on a nats-server with JetStream.

use std::{collections::HashMap, future::ready, sync::Arc, time::Duration};

use async_nats::{
    connection::State as ConnectionState,
    jetstream::{
        Context, ErrorCode,
        context::{ConsumerInfoError, ConsumerInfoErrorKind, ContextBuilder, PublishErrorKind},
        message::PublishMessage,
        stream::{LastRawMessageErrorKind, Stream},
    },
};
use domain::{BATCH_BYTES_MAX, UnixNanos};
use futures::TryStreamExt as _;
use tokio::{sync::watch, time::timeout};

use super::{Backlog, BrokerError, DurableSpec, Outgoing, PublishFailure, Published, Start, Stored};
use crate::{
    Config, ConnectError, metrics, streams,
    streams::{StreamKind, StreamState},
};

mod connection;
mod durable;
mod manage;
mod nodes;
mod reader;
mod reshard;
mod wire;
mod work;

use connection::{Disorder, Observer, reconnect_delay};
use nodes::{Choice, Silence};
pub(crate) use reader::OrderedReader;
pub(crate) use reshard::ShardRecord;
use wire::{from_stream, to_wire};
use work::Making;
pub(crate) use work::WorkConsumer;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer of a cluster is waited for at most: what is asked before it has a leader is never answered, and asked
/// again it is.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(3);
/// Room for the headers of a message.
const HEADER_BYTES_MAX: usize = 4096;
/// The most publishes of one connection that may wait for their acknowledgement: far above one per product.
const PUBLISHES_IN_FLIGHT_MAX: usize = 4096;
/// After so long without a message it is asked whether there still is one.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// A connection without a sign of life for two of these is given up: a half-open one within seconds.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// A connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct JetStream {
    client: async_nats::Client,
    context: Context,
    names: Arc<HashMap<StreamKind, String>>,
    /// How often a lost connection came back. What was on its way then is lost, so that readers start anew.
    reconnects: watch::Receiver<u64>,
    silence: Arc<Silence>,
    making: Arc<Making>,
}

impl JetStream {
    pub(crate) async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let url = config.nats.clone().ok_or(ConnectError::NoServer)?;
        let (observer, reconnects) = Observer::new();
        let choice = Choice::default();
        let client = async_nats::ConnectOptions::new()
            .name("ledgerflux")
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(config.publish_timeout))
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(reconnect_delay)
            .reconnect_to_server_callback(move |nodes, _| ready(choice.next(&nodes)))
            .event_callback(move |event| {
                observer.observe(&event);
                ready(())
            })
            .connect(url.expose())
            .await
            .map_err(|source| ConnectError::Unreachable { url: url.clone(), source })?;
        let found = client.server_info().max_payload;
        let needed = BATCH_BYTES_MAX + HEADER_BYTES_MAX;
        if found < needed {
            return Err(ConnectError::PayloadLimit { url, found, needed });
        }
        let is_cluster = client.server_info().cluster.is_some();
        let timeout_max = if is_cluster { CLUSTER_TIMEOUT } else { config.publish_timeout };
        let context = ContextBuilder::new()
            .timeout(config.publish_timeout.min(timeout_max))
            .ack_timeout(config.publish_timeout)
            .max_ack_inflight(PUBLISHES_IN_FLIGHT_MAX)
            .backpressure_on_inflight(true)
            .build(client.clone());
        context.query_account().await.map_err(|source| ConnectError::NoJetStream { url, source })?;
        let names = StreamKind::ALL.into_iter().map(|kind| (kind, streams::name(config, kind))).collect();
        metrics::connected(true);
        let (names, silence, making) = (Arc::new(names), Arc::default(), Arc::default());
        Ok(Self { client, context, names, reconnects, silence, making })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == ConnectionState::Connected
    }

    fn name(&self, kind: StreamKind) -> &str {
        self.names.get(&kind).map_or(kind.label(), String::as_str)
    }

    async fn stream(&self, kind: StreamKind, operation: &'static str) -> Result<Stream<()>, BrokerError> {
        // Asks nothing of the server.
        let stream = self.context.get_stream_no_info(self.name(kind)).await;
        stream.map_err(|error| self.error(operation, kind, error))
    }

    fn error<E>(&self, operation: &'static str, kind: StreamKind, source: E) -> BrokerError
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        BrokerError::new(operation, self.name(kind), source)
    }

    pub(crate) async fn publish(&self, outgoing: &Outgoing) -> Result<Published, PublishFailure> {
        let mut message = PublishMessage::build()
            .payload(outgoing.payload.clone())
            .headers(to_wire(&outgoing.headers))
            .expected_stream(self.name(outgoing.stream));
        if let Some(id) = &outgoing.message_id {
            message = message.message_id(id);
        }
        if let Some(expected) = outgoing.expected_last {
            message = message.expected_last_subject_sequence(expected);
        }
        let acknowledged =
            async { self.context.send_publish(outgoing.subject.to_string(), message).await?.await };
        let outcome = match self.unless_lost(acknowledged).await {
            Err(lost) => Err(PublishFailure::Unavailable(self.error("publish", outgoing.stream, lost))),
            Ok(Ok(ack)) => Ok(Published { sequence: ack.sequence, duplicate: ack.duplicate }),
            Ok(Err(error)) => Err(self.publish_failure(outgoing.stream, error)),
        };
        self.heard(!matches!(outcome, Err(PublishFailure::Unavailable(_)))).await;
        outcome
    }

    fn publish_failure(
        &self,
        stream: StreamKind,
        error: async_nats::jetstream::context::PublishError,
    ) -> PublishFailure {
        let code = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>())
            .map(async_nats::jetstream::Error::error_code);
        match (error.kind(), code) {
            (PublishErrorKind::WrongLastSequence, _)
            | (_, Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)) => PublishFailure::WrongLastSequence,
            // Refused at the limit of bytes or messages, or of what the account may store.
            (
                _,
                Some(
                    ErrorCode::STREAM_STORE_FAILED
                    | ErrorCode::STORAGE_RESOURCES_EXCEEDED
                    | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
                ),
            ) => PublishFailure::Full,
            (PublishErrorKind::MaxPayloadExceeded, _)
            | (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => {
                PublishFailure::TooLarge(self.error("publish", stream, error))
            }
            _ => PublishFailure::Unavailable(self.error("publish", stream, error)),
        }
    }

    pub(crate) async fn last_message(
        &self,
        kind: StreamKind,
        subject: &str,
    ) -> Result<Option<Stored>, BrokerError> {
        let operation = "read the last message";
        let stream = self.stream(kind, operation).await?;
        // Not a direct get: that may be answered by a replica that is behind, and a fence must not look at the past.
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(from_stream(message))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.error(operation, kind, error)),
        }
    }

    pub(crate) async fn message(
        &self,
        kind: StreamKind,
        sequence: u64,
    ) -> Result<Option<Stored>, BrokerError> {
        let operation = "read a message";
        let stream = self.stream(kind, operation).await?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(from_stream(message))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.error(operation, kind, error)),
        }
    }

    pub(crate) async fn last_per_subject(&self, kind: StreamKind) -> Result<Vec<Stored>, BrokerError> {
        let mut reader = self.read(kind, Start::LastPerSubject).await?;
        let last_at_start = reader.state().last_sequence;
        let mut newest: HashMap<Arc<str>, Stored> = HashMap::new();
        let mut pending = reader.initial_pending();
        while pending > 0 {
            let Ok(read) = timeout(STALLED_AFTER, reader.next()).await else {
                // What waited may have aged out, and then nothing comes.
                pending = reader.pending_now().await?;
                continue;
            };
            let read = read?;
            // What came after the start is not needed, and on a busy stream it would never end.
            pending = if read.stored.sequence >= last_at_start { 0 } else { read.pending };
            newest.insert(Arc::clone(&read.stored.subject), read.stored);
        }
        reader.close().await;
        let mut newest: Vec<Stored> = newest.into_values().collect();
        newest.sort_by_key(|stored| stored.sequence);
        Ok(newest)
    }

    pub(crate) async fn stream_state(&self, kind: StreamKind) -> Result<StreamState, BrokerError> {
        let operation = "read the state";
        let stream = self.stream(kind, operation).await?;
        let info = stream.get_info().await.map_err(|error| self.error(operation, kind, error))?;
        // While none of the replicas leads, each answers for itself, and by one that is behind the stream would end before what
        // was read from it.
        let leader = info.cluster.as_ref().map(|cluster| cluster.leader.as_deref().unwrap_or_default());
        if leader == Some("") {
            return Err(self.error(operation, kind, Disorder::Leaderless));
        }
        let last_sequence = info.state.last_sequence;
        Ok(StreamState {
            created: UnixNanos::from_offset_date_time(info.created).unwrap_or(UnixNanos::MIN),
            messages: info.state.messages,
            size_bytes: info.state.bytes,
            size_bytes_max: u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX),
            first_sequence: if info.state.messages == 0 {
                last_sequence + 1
            } else {
                info.state.first_sequence
            },
            last_sequence,
            replicas: info.config.num_replicas,
        })
    }

    pub(crate) async fn backlog(&self, spec: &DurableSpec) -> Result<Backlog, BrokerError> {
        let operation = "read the backlog";
        let stream = self.stream(spec.stream, operation).await?;
        match stream.consumer_info(&spec.name).await {
            Ok(info) => Ok(Backlog {
                pending: info.num_pending,
                unacknowledged: info.num_ack_pending as u64,
                done: info.ack_floor.stream_sequence,
            }),
            Err(error) if is_consumer_missing(&error) => {
                let mut pending = 0;
                for filter in &spec.filters {
                    let counts = self.counts(operation, spec.stream, filter).await?;
                    pending += counts.into_iter().map(|(_, count)| count).sum::<u64>();
                }
                Ok(Backlog { pending, unacknowledged: 0, done: 0 })
            }
            Err(error) => Err(self.error(operation, spec.stream, error)),
        }
    }

    pub(crate) async fn count_per_subject(
        &self,
        kind: StreamKind,
    ) -> Result<Vec<(String, u64)>, BrokerError> {
        self.counts("count the messages", kind, ">").await
    }

    async fn counts(
        &self,
        operation: &'static str,
        kind: StreamKind,
        filter: &str,
    ) -> Result<Vec<(String, u64)>, BrokerError> {
        let stream = self.stream(kind, operation).await?;
        let subjects = stream.info_with_subjects(filter).await;
        let subjects = subjects.map_err(|error| self.error(operation, kind, error))?;
        let counts = subjects.map_ok(|(subject, count)| (subject, count as u64)).try_collect().await;
        counts.map_err(|error| self.error(operation, kind, error))
    }

    pub(crate) async fn read(&self, kind: StreamKind, start: Start) -> Result<OrderedReader, BrokerError> {
        OrderedReader::new(self, kind, start).await
    }
}

fn is_consumer_missing(error: &ConsumerInfoError) -> bool {
    error.kind() == ConsumerInfoErrorKind::NotFound
}
