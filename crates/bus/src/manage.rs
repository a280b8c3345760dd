//! Making the streams, and finding out what they hold.

use domain::UnixNanos;
use thiserror::Error;

use crate::{Broker, BrokerError, Bus, StreamKind, StreamState, streams};

/// Why the streams are not as they have to be.
#[derive(Debug, Error)]
pub enum ManageError {
    /// A setting that cannot be changed differs from what exists.
    #[error("stream {stream} exists with {setting} {existing}, but {wanted} is configured")]
    Conflict {
        /// The name of the stream.
        stream: String,
        /// The setting, e.g. `retention`.
        setting: &'static str,
        /// What exists.
        existing: String,
        /// What is configured.
        wanted: String,
    },
    /// The stream was made for another number of shards.
    #[error(
        "stream {stream} was made for {existing} shards, but {wanted} are configured; \
         changing the count needs a drained pipeline"
    )]
    ShardCount {
        /// The name of the stream.
        stream: String,
        /// The count that exists.
        existing: String,
        /// The count that is configured.
        wanted: u16,
    },
    /// The broker did not carry it out.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl ManageError {
    /// Whether trying again may help; a conflict stays until someone resolves it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Broker(_))
    }
}

impl Bus {
    /// Creates the streams, or updates their limits. Idempotent, and safe while others do the same.
    pub async fn ensure_streams(&self) -> Result<(), ManageError> {
        let substrate = match &self.broker {
            Broker::Embedded(_) => streams::Substrate::Memory,
            Broker::JetStream(_) => streams::Substrate::Disk,
        };
        for kind in StreamKind::ALL {
            let spec = streams::spec(&self.config, &self.subjects, substrate, kind);
            self.broker.ensure_stream(&spec).await?;
        }
        Ok(())
    }

    /// What is known of a stream at this moment.
    pub async fn stream_state(&self, stream: StreamKind) -> Result<StreamState, BrokerError> {
        self.broker.stream_state(stream).await
    }

    /// When `LF_RAW` was created. When this changes, raw sequences have started anew.
    pub async fn raw_stream_created(&self) -> Result<UnixNanos, BrokerError> {
        Ok(self.broker.stream_state(StreamKind::Raw).await?.created)
    }

    /// The name of a stream, e.g. `LF_TICKS`.
    pub fn stream_name(&self, stream: StreamKind) -> String {
        streams::name(&self.config, stream)
    }
}
