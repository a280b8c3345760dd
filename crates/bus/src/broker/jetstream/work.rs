//! Taking work from a durable consumer on the server.

use std::time::Duration;

use async_nats::{
    Subject,
    jetstream::{
        AckKind,
        consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
        message::Acker,
        stream::ConsumerResetErrorKind,
    },
};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;

use super::{JetStream, from_delivery};
use crate::{
    broker::{BrokerError, DurableSpec, Receipt, WorkMessage},
    streams::StreamKind,
};

/// How many messages the server may send ahead of what is being worked on.
const AHEAD_MESSAGES_MAX: usize = 1000;
/// How many bytes the server may send ahead: what one worker holds in memory at most.
const AHEAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long one request for messages stands before it is renewed.
const REQUEST_EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it is there; twice without it is an error.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A durable consumer in use.
pub(crate) struct WorkConsumer {
    broker: JetStream,
    spec: DurableSpec,
    consumer: Option<PullConsumer>,
    messages: Option<pull::Stream>,
}

impl std::fmt::Debug for WorkConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkConsumer")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// The consumer was not reset yet, or its messages ended.
#[derive(Debug, thiserror::Error)]
#[error("the server ended the messages")]
struct Ended;

impl WorkConsumer {
    pub(crate) fn new(broker: JetStream, spec: DurableSpec) -> Self {
        Self {
            broker,
            spec,
            consumer: None,
            messages: None,
        }
    }

    pub(crate) async fn reset(&mut self) -> Result<(), BrokerError> {
        // What the server has sent ahead comes again.
        self.messages = None;
        self.consumer = None;
        let kind = self.spec.stream;
        let operation = "reset the consumer";
        let stream = self.broker.stream(kind, operation).await?;
        let config = self.config();
        let failed = |error| self.broker.error(operation, kind, error);
        let mut consumer: PullConsumer = stream.create_consumer(config.clone()).await.map_err(failed)?;
        match consumer.reset(None).await {
            Ok(_) => {}
            // Servers before 2.14 cannot reset. Of a work queue nothing is lost when its consumer is made anew, since what
            // was acknowledged is no longer there; elsewhere the order of redelivery does not matter.
            Err(error) if error.kind() == ConsumerResetErrorKind::NotFound => {
                if kind == StreamKind::Raw {
                    let deleted = stream.delete_consumer(&self.spec.name).await;
                    deleted.map_err(|error| self.broker.error(operation, kind, error))?;
                    consumer = stream.create_consumer(config).await.map_err(failed)?;
                }
            }
            Err(error) => return Err(self.broker.error(operation, kind, error)),
        }
        self.consumer = Some(consumer);
        Ok(())
    }

    fn config(&self) -> pull::Config {
        pull::Config {
            durable_name: Some(self.spec.name.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.spec.ack_wait,
            filter_subjects: self.spec.filters.clone(),
            max_ack_pending: i64::try_from(self.spec.unacknowledged_max).unwrap_or(i64::MAX),
            ..pull::Config::default()
        }
    }

    pub(crate) async fn fetch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<WorkMessage>, BrokerError> {
        let mut messages = match self.messages.take() {
            Some(messages) => messages,
            None => self.request().await?,
        };
        let Ok(first) = timeout(wait, messages.next()).await else {
            self.messages = Some(messages);
            return Ok(Vec::new());
        };
        let mut given = vec![self.message(first)?];
        while given.len() < max {
            // Only what has already come; the budget of the task must not make it look like less.
            match tokio::task::unconstrained(messages.next()).now_or_never() {
                Some(next) => given.push(self.message(next)?),
                None => break,
            }
        }
        self.messages = Some(messages);
        Ok(given)
    }

    async fn request(&self) -> Result<pull::Stream, BrokerError> {
        let Some(consumer) = &self.consumer else {
            return Err(self.error(Ended));
        };
        consumer
            .stream()
            .max_messages_per_batch(AHEAD_MESSAGES_MAX)
            .max_bytes_per_batch(AHEAD_BYTES_MAX)
            .expires(REQUEST_EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| self.error(error))
    }

    fn message(
        &self,
        next: Option<Result<async_nats::jetstream::Message, pull::MessagesError>>,
    ) -> Result<WorkMessage, BrokerError> {
        let message = next
            .ok_or_else(|| self.error(Ended))?
            .map_err(|error| self.error(error))?;
        let info = message.info().map_err(|error| self.error(error))?;
        let (sequence, deliveries) = (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(1));
        let mut message = message.message;
        // A message with delivery information has a subject to answer on: the information is read from it.
        let reply = message.reply.take().ok_or_else(|| self.error(Ended))?;
        let receipt = Receipt::JetStream(reply);
        Ok(WorkMessage {
            stored: from_delivery(message, sequence),
            deliveries,
            receipt,
        })
    }

    pub(crate) async fn ack(&self, receipts: &[&Receipt]) -> Result<(), BrokerError> {
        let replies = receipts.iter().filter_map(|receipt| match receipt {
            Receipt::JetStream(reply) => Some(reply.clone()),
            Receipt::Embedded(_) => None,
        });
        let mut replies: Vec<Subject> = replies.collect();
        let Some(last) = replies.pop() else { return Ok(()) };
        // They travel in order on one connection, so that the confirmation of the last one covers all. One that a broken
        // connection swallowed comes again, which is harmless.
        for reply in replies {
            let sent = self.broker.client.publish(reply, AckKind::Ack.into()).await;
            sent.map_err(|error| self.broker.error("acknowledge", self.spec.stream, error))?;
        }
        let last = Acker::new(self.broker.context.clone(), Some(last));
        let confirmed = last.double_ack().await;
        confirmed.map_err(|error| self.broker.error("acknowledge", self.spec.stream, error))
    }

    fn error(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BrokerError {
        self.broker.error("fetch", self.spec.stream, source)
    }
}
