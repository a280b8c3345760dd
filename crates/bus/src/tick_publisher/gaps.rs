//! Publishing gaps, fenced: who has lost the shard without knowing must not tell of trades that the new owner has.

use std::sync::Arc;

use domain::{FeedEvent, Instrument};
use futures::future::try_join_all;

use super::{SUBJECTS_AT_ONCE_MAX, TickPublisher};
use crate::{
    PublishError, StreamKind,
    headers::{self, OWNER},
    metrics,
    publish::outgoing,
};

impl TickPublisher {
    /// Publishes gaps, each of another product of the shard, unless somebody else has published ticks or gaps of that product
    /// since. Said twice, a gap is stored once.
    ///
    /// A raw message leaves its stream after what it brought was published: so who finds trades missing because somebody
    /// else has taken them off the raw stream finds here that they were published.
    pub async fn publish_gaps(&mut self, gaps: &[&FeedEvent]) -> Result<(), PublishError> {
        for gaps in gaps.chunks(SUBJECTS_AT_ONCE_MAX) {
            let stored = try_join_all(gaps.iter().map(|gap| self.publish_gap(gap))).await?;
            self.last.extend(stored);
        }
        Ok(())
    }

    async fn publish_gap(&self, gap: &FeedEvent) -> Result<(Arc<str>, u64), PublishError> {
        self.check_ticks(&gap.instrument).await?;
        let subject = self.bus.subjects.event(gap);
        let context = headers::current_context();
        let mut message = outgoing(StreamKind::Events, &subject, gap, &context, Some(gap.identity()));
        message.headers.set(OWNER, self.bus.owner.to_string());
        message.expected_last = Some(self.last.get(subject.as_str()).copied().unwrap_or_default());
        let published = self.publish_fenced(&mut message).await?;
        metrics::published(StreamKind::Events, message.payload.len(), 0, published.duplicate);
        Ok((message.subject, published.sequence))
    }

    /// Whether the last ticks of the product are those that are known of here, or have aged out.
    async fn check_ticks(&self, instrument: &Instrument) -> Result<(), PublishError> {
        let subject = self.bus.subjects.tick(instrument);
        let known = self.last.get(subject.as_str()).copied().unwrap_or_default();
        match self.bus.broker.last_message(StreamKind::Ticks, &subject).await {
            Ok(Some(last)) if last.sequence != known => Err(self.written_by(&last, subject)),
            Ok(_) => Ok(()),
            Err(source) => Err(PublishError::Unavailable { subject, source }),
        }
    }
}
