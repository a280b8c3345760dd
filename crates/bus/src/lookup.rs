//! One message of a stream, by the number under which somebody remembers it.

use domain::TickBatch;

use crate::{BrokerError, Bus, StreamKind, latest::decoded, subjects::Parsed};

/// A message of `LF_TICKS`.
#[derive(Clone, Debug, PartialEq)]
pub struct TickMessage {
    /// Where it stands in the stream.
    pub stream_sequence: u64,
    /// Its subject.
    pub subject: String,
    /// The shard that its subject is of.
    pub shard: u16,
    /// What it says.
    pub batch: TickBatch,
}

impl Bus {
    /// The message of `LF_TICKS` with this sequence; `None` when the stream does not have it any more. A stream that was
    /// made anew has other messages under the same sequences: compare what it says.
    pub async fn tick_message(&self, sequence: u64) -> Result<Option<TickMessage>, BrokerError> {
        // Sequences begin at 1, and a broker takes the question for 0 as a mistake.
        if sequence == 0 {
            return Ok(None);
        }
        let Some(stored) = self.broker.message(StreamKind::Ticks, sequence).await? else { return Ok(None) };
        let Some(Parsed::Tick(shard, _) | Parsed::Fill(shard, _)) = self.subjects.parse(&stored.subject)
        else {
            return Ok(None);
        };
        let found = |batch| TickMessage {
            stream_sequence: stored.sequence,
            subject: stored.subject.to_string(),
            shard,
            batch,
        };
        Ok(decoded(StreamKind::Ticks, &stored).map(found))
    }
}
