//! Making the streams, and finding out what they hold.

use futures::future::try_join_all;
use thiserror::Error;

use crate::{
    Broker, BrokerError, Bus, StreamKind, StreamState,
    streams::{self, StreamSpec},
};

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
    /// The stream was not made yet. Whoever writes to it makes it, so that waiting helps.
    #[error("stream {stream} does not exist yet")]
    Missing {
        /// The name of the stream.
        stream: String,
    },
    /// The stream was made for another number of shards.
    #[error(
        "stream {stream} was made for {existing} shards, but {wanted} are configured; \
         `ledgerflux reshard` changes the count"
    )]
    ShardCount {
        /// The name of the stream.
        stream: String,
        /// The count that exists.
        existing: String,
        /// The count that is configured.
        wanted: u16,
    },
    /// The stream is being rewritten for another number of shards. It passes, or is to be finished.
    #[error(
        "stream {stream} is being rewritten from {from} to {to} shards; \
         when nobody is at it, run `ledgerflux reshard {to}` again"
    )]
    Resharding {
        /// The name of the stream.
        stream: String,
        /// The count before.
        from: String,
        /// The count that will be.
        to: String,
    },
    /// The broker did not carry it out.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl ManageError {
    /// Whether trying again may help; a conflict stays until someone resolves it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Resharding { .. } | Self::Broker(_))
    }
}

impl Bus {
    /// Creates the streams, or updates their limits: for roles that write to them.
    ///
    /// Idempotent, and safe while others do the same: of those who create a stream at the same time one wins, and the
    /// others compare. Where nothing has to be changed it only asks, and takes two round trips, so that it may be called
    /// at each recovery: a broker that lost everything has its streams again then.
    pub async fn ensure_streams(&self) -> Result<(), ManageError> {
        let [raw, others @ ..] = self.stream_specs();
        // Alone, because it carries the shard count: under another one nothing else may be touched.
        self.broker.ensure_stream(&raw).await?;
        try_join_all(others.iter().map(|spec| self.broker.ensure_stream(spec))).await?;
        Ok(())
    }

    /// Looks whether all streams exist and were made for the configured shard count, and changes nothing: for roles
    /// that only read.
    pub async fn check_streams(&self) -> Result<(), ManageError> {
        let [raw, others @ ..] = self.stream_specs();
        self.broker.check_stream(&raw).await?;
        try_join_all(others.iter().map(|spec| self.broker.check_stream(spec))).await?;
        Ok(())
    }

    /// What each stream is to be; `LF_RAW` first.
    fn stream_specs(&self) -> [StreamSpec; StreamKind::ALL.len()] {
        let substrate = match &self.broker {
            Broker::Embedded(_) => streams::Substrate::Memory,
            Broker::JetStream(_) => streams::Substrate::Disk,
        };
        StreamKind::ALL.map(|kind| streams::spec(&self.config, &self.subjects, substrate, kind))
    }

    /// What is known of a stream at this moment.
    pub async fn stream_state(&self, stream: StreamKind) -> Result<StreamState, BrokerError> {
        self.broker.stream_state(stream).await
    }

    /// The name of a stream, e.g. `LF_TICKS`.
    pub fn stream_name(&self, stream: StreamKind) -> String {
        streams::name(&self.config, stream)
    }
}
