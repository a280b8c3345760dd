//! Taking work from a durable consumer on the server.

use std::{
    collections::HashSet,
    error::Error,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{
    Subject,
    jetstream::{
        AckKind,
        consumer::{DeliverPolicy, PullConsumer, pull},
        message::Acker,
        stream::{ConsumerError, ConsumerResetErrorKind, Stream},
    },
};
use futures::FutureExt as _;
use tokio::{sync::watch, time::timeout};

use super::{
    JetStream,
    connection::{Disorder, next_message},
    durable::{config, delete, refuse_conflicts},
    is_consumer_missing,
    wire::from_delivery,
};
use crate::{
    broker::{BrokerError, DurableSpec, Receipt, WorkMessage},
    streams::StreamKind,
};

/// How many messages the server may send ahead of what is being worked on.
const AHEAD_MESSAGES_MAX: usize = 1000;
/// How many bytes the server may send ahead: what one worker holds in memory at most.
const AHEAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long one request for messages stands before it is renewed. An owner that hangs swallows messages of `LF_TICKS` until
/// its request is used up or ends, whoever has taken its place: resetting the consumer does not end it. On a quiet shard
/// that was 18 s with 30 s here, and is 5 s; on a busy one the request is used up sooner.
const REQUEST_EXPIRES: Duration = Duration::from_secs(5);
/// How often the server says that it is there; twice without it is an error. At most half of the above.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The consumers that this process makes, and of which it does not know yet that they are made. Nobody from before reads with
/// them, and to make them anew once more would help nobody: in a cluster one of whose nodes has just died a new consumer may
/// take seconds to elect its leader, longer than an answer is waited for, and each further one as long.
#[derive(Debug, Default)]
pub(super) struct Making(Mutex<HashSet<String>>);

impl Making {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A durable consumer in use.
pub(crate) struct WorkConsumer {
    broker: JetStream,
    spec: DurableSpec,
    consumer: Option<PullConsumer>,
    messages: Option<pull::Stream>,
    reconnects: watch::Receiver<u64>,
    /// The number of the last delivery of the consumer that came here. One that is missing was lost on its way, or
    /// somebody else has it; either way nothing must overtake it.
    delivered: u64,
}

impl std::fmt::Debug for WorkConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkConsumer").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl WorkConsumer {
    pub(crate) fn new(broker: JetStream, spec: DurableSpec) -> Self {
        Self {
            reconnects: broker.reconnects.clone(),
            broker,
            spec,
            consumer: None,
            messages: None,
            delivered: 0,
        }
    }

    pub(crate) async fn reset(&mut self, anew: bool) -> Result<u64, BrokerError> {
        let (broker, kind) = (self.broker.clone(), self.spec.stream);
        broker.ask("reset the consumer", kind, self.reset_now(anew)).await
    }

    async fn reset_now(&mut self, anew: bool) -> Result<u64, BrokerError> {
        // What the server has sent ahead comes again.
        self.messages = None;
        self.consumer = None;
        self.reconnects.mark_unchanged();
        let kind = self.spec.stream;
        let operation = "reset the consumer";
        let stream = self.broker.stream(kind, operation).await?;
        let existing = match stream.consumer_info(&self.spec.name).await {
            Ok(info) => Some(info),
            Err(error) if is_consumer_missing(&error) => None,
            Err(error) => return Err(self.broker.error(operation, kind, error)),
        };
        if let Some(existing) = &existing {
            refuse_conflicts(&self.spec, &existing.config)
                .map_err(|conflict| self.broker.error(operation, kind, conflict))?;
        }
        let anew = (anew || kind == StreamKind::Raw) && !self.broker.making.lock().contains(&self.spec.name);
        let consumer = match existing {
            None => self.make(&stream, DeliverPolicy::All).await.map_err(Into::into),
            // Of a work queue nothing is lost when its consumer is made anew, since what was acknowledged is no longer
            // there. And whoever read with it before is cut off: an owner who hangs would otherwise go on taking messages.
            Some(_) if anew && kind == StreamKind::Raw => {
                self.make_anew(&stream, DeliverPolicy::All).await.map_err(Into::into)
            }
            // Elsewhere the consumer is the only one who knows what was acknowledged. What it says goes over to the new one;
            // what was acknowledged out of order comes again, which the sink's keys make harmless.
            Some(existing) if anew => {
                let start_sequence = existing.ack_floor.stream_sequence.saturating_add(1);
                let behind = DeliverPolicy::ByStartSequence { start_sequence };
                self.make_anew(&stream, behind).await.map_err(Into::into)
            }
            Some(existing) => self.set_back(&stream, existing.config.deliver_policy).await,
        };
        let consumer = consumer.map_err(|error| self.broker.error(operation, kind, error))?;
        self.broker.making.lock().remove(&self.spec.name);
        let info = consumer.cached_info();
        self.delivered = info.delivered.consumer_sequence;
        let floor = info.ack_floor.stream_sequence;
        self.consumer = Some(consumer);
        Ok(floor)
    }

    async fn make_anew(
        &self,
        stream: &Stream<()>,
        from: DeliverPolicy,
    ) -> Result<PullConsumer, ConsumerError> {
        delete(stream, &self.spec.name).await?;
        self.make(stream, from).await
    }

    async fn make(&self, stream: &Stream<()>, from: DeliverPolicy) -> Result<PullConsumer, ConsumerError> {
        self.broker.making.lock().insert(self.spec.name.clone());
        stream.create_consumer(config(&self.spec, from)).await
    }

    async fn set_back(
        &self,
        stream: &Stream<()>,
        from: DeliverPolicy,
    ) -> Result<PullConsumer, Box<dyn Error + Send + Sync>> {
        let mut consumer: PullConsumer = stream.create_consumer(config(&self.spec, from)).await?;
        match consumer.reset(None).await {
            // Servers before 2.14 cannot: what was not acknowledged then comes when its time is over.
            Err(error) if error.kind() != ConsumerResetErrorKind::NotFound => Err(error.into()),
            _ => Ok(consumer),
        }
    }

    pub(crate) async fn fetch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<WorkMessage>, BrokerError> {
        let messages = match self.messages.take() {
            Some(messages) => messages,
            None => self.request().await?,
        };
        // Back in its place before the wait, which may be cancelled: what the server has sent ahead must not be lost.
        let messages = self.messages.insert(messages);
        let Ok(first) = timeout(wait, next_message(messages, &mut self.reconnects)).await else {
            return Ok(Vec::new());
        };
        let mut arrived = vec![first];
        while arrived.len() < max {
            // Only what has already come; the budget of the task must not make it look like less.
            let next = next_message(messages, &mut self.reconnects);
            match tokio::task::unconstrained(next).now_or_never() {
                Some(next) => arrived.push(next),
                None => break,
            }
            if arrived.last().is_some_and(Result::is_err) {
                break;
            }
        }
        arrived.into_iter().map(|next| self.accept(next)).collect()
    }

    async fn request(&self) -> Result<pull::Stream, BrokerError> {
        let Some(consumer) = &self.consumer else {
            return Err(self.error(Disorder::Ended));
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

    fn accept(
        &mut self,
        next: Result<async_nats::jetstream::Message, Box<dyn Error + Send + Sync>>,
    ) -> Result<WorkMessage, BrokerError> {
        let message = next.map_err(|error| self.error(error))?;
        let info = message.info().map_err(|error| self.error(error))?;
        let (sequence, deliveries) = (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(1));
        let (expected, found) = (self.delivered + 1, info.consumer_sequence);
        if found != expected {
            return Err(self.error(Disorder::Skipped { expected, found }));
        }
        self.delivered = found;
        let mut message = message.message;
        // A message with delivery information has a subject to answer on: the information is read from it.
        let reply = message.reply.take().ok_or_else(|| self.error(Disorder::Ended))?;
        let receipt = Receipt::JetStream(reply);
        Ok(WorkMessage { stored: from_delivery(message, sequence), deliveries, receipt })
    }

    pub(crate) async fn ack(&self, receipts: &[&Receipt]) -> Result<(), BrokerError> {
        let replies = receipts.iter().filter_map(|receipt| match receipt {
            Receipt::JetStream(reply) => Some(reply.clone()),
            Receipt::Embedded(_) => None,
        });
        let mut replies: Vec<Subject> = replies.collect();
        let Some(last) = replies.pop() else { return Ok(()) };
        // They travel in order on one connection, so that the confirmation of the last one covers all. One that a
        // broken connection swallowed comes again, which is harmless.
        let (operation, kind) = ("acknowledge", self.spec.stream);
        let confirmed = async {
            for reply in replies {
                let sent = self.broker.client.publish(reply, AckKind::Ack.into()).await;
                sent.map_err(|error| self.broker.error(operation, kind, error))?;
            }
            let last = Acker::new(self.broker.context.clone(), Some(last));
            last.double_ack().await.map_err(|error| self.broker.error(operation, kind, error))
        };
        self.broker.ask(operation, kind, confirmed).await
    }

    fn error(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> BrokerError {
        self.broker.error("fetch", self.spec.stream, source)
    }
}
