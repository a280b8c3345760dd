//! Publishing one message and waiting for its acknowledgement.

use std::sync::Arc;

use domain::{FeedEvent, RefusedTrades, RejectedTick, RoleStatus, Snapshot, TickBatch};
use opentelemetry::Context;

use crate::{
    Bus, PublishError, StreamKind,
    broker::Outgoing,
    codec::Payload,
    headers::{self, HISTORY, Headers, OWNER, REFUSED},
    metrics,
};

impl Bus {
    /// Publishes what was refused. Said twice, it is stored once. What is too large for the broker is filed without the tick
    /// and the bytes: it still says what happened to which one.
    pub async fn publish_reject(&self, reject: &RejectedTick) -> Result<(), PublishError> {
        self.file(reject, None).await
    }

    /// The same for a faulty trade, and says which trades of its product were refused lately, so that whoever takes over knows.
    /// Those before it must have been filed.
    pub async fn publish_faulty(
        &self,
        reject: &RejectedTick,
        refused: &RefusedTrades,
    ) -> Result<(), PublishError> {
        self.file(reject, Some(headers::refused_text(refused))).await
    }

    async fn file(&self, reject: &RejectedTick, refused: Option<String>) -> Result<(), PublishError> {
        let subject = self.subjects.reject(reject);
        let publish = async |reject: &RejectedTick| {
            let (context, id) = (headers::current_context(), Some(reject.identity.clone()));
            let mut outgoing = outgoing(StreamKind::Rejects, &subject, reject, &context, id);
            if let Some(refused) = &refused {
                outgoing.headers.set(REFUSED, refused.as_str());
            }
            self.send(&outgoing, 0).await
        };
        match publish(reject).await {
            Err(PublishError::TooLarge { .. }) if reject.tick.is_some() || !reject.raw.is_empty() => {
                publish(&RejectedTick { tick: None, raw: Vec::new(), ..reject.clone() }).await
            }
            published => published,
        }
    }

    /// Publishes what happened to a feed. Said twice, it is stored once.
    pub async fn publish_event(&self, event: &FeedEvent) -> Result<(), PublishError> {
        let subject = self.subjects.event(event);
        self.publish(StreamKind::Events, subject, event, Some(event.identity()), 0).await
    }

    /// Publishes how a role is doing; it replaces what the same instance said before.
    pub async fn publish_status(&self, status: &RoleStatus) -> Result<(), PublishError> {
        let subject = self.subjects.status(status);
        let mut outgoing = outgoing(StreamKind::Status, &subject, status, &headers::current_context(), None);
        outgoing.headers.set(OWNER, self.owner.to_string());
        self.send(&outgoing, 0).await
    }

    /// Publishes the state of a product; it replaces the one before.
    pub async fn publish_snapshot(&self, snapshot: &Snapshot) -> Result<(), PublishError> {
        self.publish_snapshot_of(None, snapshot).await
    }

    /// The same, and says of which history it is: the random id of the database that holds it.
    pub async fn publish_snapshot_of(
        &self,
        history: Option<&str>,
        snapshot: &Snapshot,
    ) -> Result<(), PublishError> {
        let subject = self.subjects.snapshot(&snapshot.instrument);
        let context = headers::current_context();
        let mut outgoing = outgoing(StreamKind::Snapshots, &subject, snapshot, &context, None);
        if let Some(history) = history {
            outgoing.headers.set(HISTORY, history);
        }
        self.send(&outgoing, 0).await
    }

    /// Publishes ticks that were fetched afterwards, for the normalizer. `id` tells one fetched range from another:
    /// the same ticks published again under the same id are stored once.
    pub async fn publish_raw_fill(&self, batch: &TickBatch, id: &str) -> Result<(), PublishError> {
        let subject = self.subjects.raw_fill(&batch.instrument);
        let id = format!("{}/{subject}/{id}", batch.session.id);
        self.publish(StreamKind::Raw, subject, batch, Some(id), batch.ticks.len()).await
    }

    async fn publish<T: Payload>(
        &self,
        stream: StreamKind,
        subject: String,
        content: &T,
        message_id: Option<String>,
        ticks: usize,
    ) -> Result<(), PublishError> {
        let outgoing = outgoing(stream, &subject, content, &headers::current_context(), message_id);
        self.send(&outgoing, ticks).await
    }

    async fn send(&self, outgoing: &Outgoing, ticks: usize) -> Result<(), PublishError> {
        let stream = outgoing.stream;
        match self.broker.publish(outgoing).await {
            Ok(published) => {
                metrics::published(stream, outgoing.payload.len(), ticks, published.duplicate);
                Ok(())
            }
            Err(failure) => {
                metrics::publish_failed(stream, failure.cause());
                Err(failure.into_error(&outgoing.subject))
            }
        }
    }
}

pub(crate) fn outgoing<T: Payload>(
    stream: StreamKind,
    subject: &str,
    content: &T,
    context: &Context,
    message_id: Option<String>,
) -> Outgoing {
    Outgoing {
        stream,
        subject: Arc::from(subject),
        headers: Headers::new(T::SCHEMA, context),
        payload: content.encode(),
        message_id,
        expected_last: None,
    }
}
