//! Rewriting streams for another shard count: one message at a time, slowly and surely.

use async_nats::jetstream::{
    consumer::DeliverPolicy,
    stream::{Config, RawMessageErrorKind},
};

use super::{
    JetStream,
    durable::{self, config},
    is_consumer_missing,
    manage::{RESHARDING, SHARDS},
    wire::from_stream,
};
use crate::{
    broker::{BrokerError, DurableSpec, Stored},
    streams::StreamKind,
};

/// What `LF_RAW` says about shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardRecord {
    /// The count that the streams were made for; `None` when something else made the stream.
    pub(crate) count: Option<u16>,
    /// A change that was begun: to this count.
    pub(crate) resharding: Option<u16>,
}

impl JetStream {
    pub(crate) async fn shard_record(&self) -> Result<ShardRecord, BrokerError> {
        let config = self.raw_config("read the shard count").await?;
        let number = |key: &str| config.metadata.get(key).and_then(|text| text.parse().ok());
        Ok(ShardRecord { count: number(SHARDS), resharding: number(RESHARDING) })
    }

    pub(crate) async fn set_shard_record(&self, record: &ShardRecord) -> Result<(), BrokerError> {
        let operation = "write the shard count";
        let mut config = self.raw_config(operation).await?;
        for (key, number) in [(SHARDS, record.count), (RESHARDING, record.resharding)] {
            match number {
                Some(number) => config.metadata.insert(key.to_owned(), number.to_string()),
                None => config.metadata.remove(key),
            };
        }
        self.update_raw(operation, config).await
    }

    /// Lets `LF_RAW` hold twice as much, until a role sets its limit again.
    pub(crate) async fn double_raw_limit(&self) -> Result<(), BrokerError> {
        let operation = "raise the limit";
        let mut config = self.raw_config(operation).await?;
        config.max_bytes = config.max_bytes.saturating_mul(2);
        self.update_raw(operation, config).await
    }

    async fn raw_config(&self, operation: &'static str) -> Result<Config, BrokerError> {
        let stream = self.stream(StreamKind::Raw, operation).await?;
        let info = stream.get_info().await.map_err(|error| self.error(operation, StreamKind::Raw, error))?;
        Ok(info.config)
    }

    async fn update_raw(&self, operation: &'static str, config: Config) -> Result<(), BrokerError> {
        let updated = self.context.update_stream(config).await;
        updated.map(drop).map_err(|error| self.error(operation, StreamKind::Raw, error))
    }

    /// The first message behind `after`.
    pub(crate) async fn next_after(
        &self,
        kind: StreamKind,
        after: u64,
    ) -> Result<Option<Stored>, BrokerError> {
        let operation = "read the next message";
        let stream = self.stream(kind, operation).await?;
        match stream.get_first_raw_message_by_subject(">", after.saturating_add(1)).await {
            Ok(message) => Ok(Some(from_stream(message))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.error(operation, kind, error)),
        }
    }

    pub(crate) async fn delete(&self, kind: StreamKind, sequence: u64) -> Result<(), BrokerError> {
        let operation = "delete a message";
        let deleted = self.stream(kind, operation).await?.delete_message(sequence).await;
        deleted.map(drop).map_err(|error| self.error(operation, kind, error))
    }

    /// Up to which message a durable consumer has everything acknowledged; `None` when there is no such consumer.
    pub(crate) async fn acknowledged(&self, spec: &DurableSpec) -> Result<Option<u64>, BrokerError> {
        let operation = "read what is acknowledged";
        let stream = self.stream(spec.stream, operation).await?;
        match stream.consumer_info(&spec.name).await {
            Ok(info) => Ok(Some(info.ack_floor.stream_sequence)),
            Err(error) if is_consumer_missing(&error) => Ok(None),
            Err(error) => Err(self.error(operation, spec.stream, error)),
        }
    }

    /// Makes a durable consumer that is to get what comes behind `after`.
    pub(crate) async fn make_durable(&self, spec: &DurableSpec, after: u64) -> Result<(), BrokerError> {
        let operation = "make a consumer";
        let stream = self.stream(spec.stream, operation).await?;
        let behind = DeliverPolicy::ByStartSequence { start_sequence: after.saturating_add(1) };
        let made = stream.create_consumer(config(spec, behind)).await;
        made.map(drop).map_err(|error| self.error(operation, spec.stream, error))
    }

    pub(crate) async fn delete_durable(&self, spec: &DurableSpec) -> Result<(), BrokerError> {
        let operation = "delete a consumer";
        let stream = self.stream(spec.stream, operation).await?;
        let deleted = durable::delete(&stream, &spec.name).await;
        deleted.map_err(|error| self.error(operation, spec.stream, error))
    }
}
