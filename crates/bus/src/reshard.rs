//! Changing the number of shards of streams that hold data.
//!
//! What waits to be read moves to the subjects of the new shards, in stream order; what was read stays where it is until it
//! ages out. The events of gaps are read from the oldest on again: each ledger took those of its own shard, and to take one twice
//! changes nothing. While this goes on `LF_RAW` says so, and no role starts. Each message is published anew before it is deleted: an
//! interruption loses nothing, and doubles at most one message, which the normalizer or the sink's key recognises. Run again,
//! it goes on where it was; run again for another count, it finishes what was begun first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{Shard, ShardCount, UnixNanos};
use thiserror::Error;

use crate::{
    BrokerError, Bus, Config, PublishError, StreamKind, Subjects, Work,
    broker::{
        Broker, Outgoing, PublishFailure, Stored,
        jetstream::{JetStream, ShardRecord},
    },
    headers::PREVIOUS,
    subjects::Parsed,
};

/// A role says each second how it is doing; one that is silent for so long is not at work.
const SILENT_FOR: Duration = Duration::from_secs(3);
/// Who must not be at work meanwhile: those who write to or take from the sharded streams.
const WORKERS: [&str; 3] = ["ingestor", "normalizer", "snapshotter"];
/// How often the limit of `LF_RAW` is doubled to make room for what moves.
const DOUBLINGS_MAX: u32 = 4;

/// Why the number of shards was not changed.
#[derive(Debug, Error)]
pub enum ReshardError {
    /// The bus in memory is made anew by each start, for whatever count.
    #[error("the bus is in memory, and is made for the configured count at each start")]
    Embedded,
    /// Roles are at work. Nothing was changed.
    #[error("stop these first, they are at work: {}", .0.join(", "))]
    AtWork(Vec<String>),
    /// A message could not be moved. What was moved stays moved; run it again.
    #[error("a message could not be moved; nothing is lost, run it again")]
    Publish(#[source] PublishError),
    /// The broker did not carry it out. What was done stays done; run it again.
    #[error("it is not finished; run it again")]
    Broker(#[from] BrokerError),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resharded {
    /// The number of shards before, where the stream said it.
    pub before: Option<u16>,
    /// The number of shards now.
    pub after: u16,
    /// Messages of `LF_RAW` that went to another shard.
    pub raw_messages: u64,
    /// Messages of `LF_TICKS` that went to another shard.
    pub tick_messages: u64,
}

impl Bus {
    /// Changes the streams to the shard count of this bus. No ingestor, normalizer or snapshotter may be at work; one that is
    /// suspended cannot be seen and must not come back. Where the streams have that count already, it changes nothing.
    ///
    /// May be cancelled or interrupted at any moment, and run again, also for another count: what was begun is finished
    /// first. What has moved stands behind what has not, so only the count that it moved for gives back the order of a product.
    pub async fn reshard(&self) -> Result<Resharded, ReshardError> {
        let Broker::JetStream(broker) = &self.broker else { return Err(ReshardError::Embedded) };
        let after = self.config.shards.get();
        let before = broker.shard_record().await?;
        let mut done = Resharded { before: before.count, after, raw_messages: 0, tick_messages: 0 };
        if before == (ShardRecord { count: Some(after), resharding: None }) {
            return Ok(done);
        }
        // First, so that nobody starts while it is looked who is at work.
        let first = before.resharding.unwrap_or(after);
        broker.set_shard_record(&ShardRecord { resharding: Some(first), ..before.clone() }).await?;
        let at_work = self.at_work().await?;
        if !at_work.is_empty() {
            broker.set_shard_record(&before).await?;
            return Err(ReshardError::AtWork(at_work));
        }
        let begun = ShardCount::new(first.into()).ok().filter(|begun| *begun != self.config.shards);
        if let Some(begun) = begun {
            self.with_shards(begun).move_to_shards(broker, &mut done).await?;
            broker.set_shard_record(&ShardRecord { count: Some(first), resharding: Some(after) }).await?;
        }
        self.move_to_shards(broker, &mut done).await?;
        broker.set_shard_record(&ShardRecord { count: Some(after), resharding: None }).await?;
        Ok(done)
    }

    /// Everything that waits, from the shards that the record names to those of this bus.
    async fn move_to_shards(&self, broker: &JetStream, done: &mut Resharded) -> Result<(), ReshardError> {
        let before = broker.shard_record().await?.count.unwrap_or(0);
        let mover = Mover { bus: self, broker };
        done.raw_messages += mover.move_raw().await?;
        done.tick_messages += mover.move_ticks(before).await?;
        mover.read_gaps_again().await
    }

    /// This participant, with another shard count.
    fn with_shards(&self, shards: ShardCount) -> Self {
        let config = Config { shards, ..self.config.as_ref().clone() };
        let subjects = Subjects::new(&config.prefix, shards);
        Self { config: Arc::new(config), subjects, ..self.clone() }
    }

    /// The shard count that the streams were made for; `None` when they do not say it.
    pub async fn recorded_shards(&self) -> Result<Option<ShardCount>, BrokerError> {
        match &self.broker {
            Broker::Embedded(_) => Ok(Some(self.config.shards)),
            Broker::JetStream(broker) => {
                Ok(broker.shard_record().await?.count.and_then(|count| ShardCount::new(count.into()).ok()))
            }
        }
    }

    /// Who spoke within the last seconds.
    async fn at_work(&self) -> Result<Vec<String>, BrokerError> {
        let before: BTreeMap<_, _> = self.spoken().await?.collect();
        tokio::time::sleep(SILENT_FOR).await;
        let speaks = |(who, time): &(String, UnixNanos)| before.get(who) != Some(time);
        Ok(self.spoken().await?.filter(speaks).map(|(who, _)| who).collect())
    }

    async fn spoken(&self) -> Result<impl Iterator<Item = (String, UnixNanos)>, BrokerError> {
        let statuses = self.statuses().await?.into_iter();
        let workers = statuses.filter(|status| WORKERS.contains(&status.role.as_str()));
        Ok(workers.map(|status| (format!("{} {}", status.role, status.instance), status.time)))
    }
}

struct Mover<'a> {
    bus: &'a Bus,
    broker: &'a JetStream,
}

impl Mover<'_> {
    /// Everything in `LF_RAW` waits to be read.
    async fn move_raw(&self) -> Result<u64, ReshardError> {
        for shard in all_shards() {
            // The normalizers make theirs anew; those of shards that are no more would stay for ever.
            self.broker.delete_durable(&self.bus.durable(Work::Raw, shard)).await?;
        }
        self.move_all(StreamKind::Raw, 0, |_, _| true).await
    }

    /// Of `LF_TICKS` only what its snapshotter has not acknowledged moves.
    async fn move_ticks(&self, before: u16) -> Result<u64, ReshardError> {
        let after = self.bus.config.shards.get();
        let last = self.bus.stream_state(StreamKind::Ticks).await?.last_sequence;
        let mut acknowledged = BTreeMap::new();
        for shard in all_shards() {
            let spec = self.bus.durable(Work::Ticks, shard);
            match self.broker.acknowledged(&spec).await? {
                Some(floor) => _ = acknowledged.insert(shard.get(), floor),
                // Of a shard that there was, whose snapshotter never ran.
                None if shard.get() < before => _ = acknowledged.insert(shard.get(), 0),
                // What a shard of this number may have had once was settled when it was taken away. It is noted now that the
                // new one begins here, so that an interruption does not blur what is unread.
                None if shard.get() < after => {
                    self.broker.make_durable(&spec, last).await?;
                    acknowledged.insert(shard.get(), last);
                }
                None => {}
            }
        }
        let from = acknowledged.values().min().copied().unwrap_or(0);
        let unread =
            |shard: u16, sequence: u64| acknowledged.get(&shard).is_some_and(|floor| sequence > *floor);
        let moved = self.move_all(StreamKind::Ticks, from, unread).await?;
        for shard in all_shards().filter(|shard| shard.get() >= after) {
            self.broker.delete_durable(&self.bus.durable(Work::Ticks, shard)).await?;
        }
        Ok(moved)
    }

    /// A ledger has acknowledged the gaps of products that were not its own and may be so now: none may go by what was
    /// acknowledged before.
    async fn read_gaps_again(&self) -> Result<(), ReshardError> {
        for shard in all_shards() {
            self.broker.delete_durable(&self.bus.durable(Work::Gaps, shard)).await?;
        }
        Ok(())
    }

    /// Moves the messages behind `after` for which `is_unread` and whose product has another shard now; what is published
    /// meanwhile stands behind the last one that is looked at.
    async fn move_all(
        &self,
        stream: StreamKind,
        after: u64,
        is_unread: impl Fn(u16, u64) -> bool,
    ) -> Result<u64, ReshardError> {
        let state = self.bus.stream_state(stream).await?;
        let (mut at, mut moved) = (after.max(state.first_sequence.saturating_sub(1)), 0);
        while at < state.last_sequence
            && let Some(message) = self.broker.next_after(stream, at).await?
        {
            at = message.sequence;
            if at > state.last_sequence {
                break;
            }
            if let Some((shard, subject)) = self.destination(&message)
                && is_unread(shard, at)
            {
                self.publish(stream, subject, &message, state.created).await?;
                self.broker.delete(stream, at).await?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// The shard of a message and the subject that it belongs on now, when that is another one.
    fn destination(&self, message: &Stored) -> Option<(u16, String)> {
        let subjects = self.bus.subjects();
        let (shard, subject) = match subjects.parse(&message.subject)? {
            Parsed::Raw(shard, instrument) => (shard, subjects.raw(&instrument)),
            Parsed::RawFill(shard, instrument) => (shard, subjects.raw_fill(&instrument)),
            Parsed::Tick(shard, instrument) => (shard, subjects.tick(&instrument)),
            Parsed::Fill(shard, instrument) => (shard, subjects.fill(&instrument)),
            _ => return None,
        };
        (subject != *message.subject).then_some((shard, subject))
    }

    async fn publish(
        &self,
        stream: StreamKind,
        subject: String,
        message: &Stored,
        epoch: UnixNanos,
    ) -> Result<(), ReshardError> {
        let mut headers = message.headers.without_those_of_the_broker();
        // It stood on another subject.
        headers.remove(PREVIOUS);
        let (sequence, shards) = (message.sequence, self.bus.config.shards);
        let outgoing = Outgoing {
            stream,
            subject: Arc::from(subject.as_str()),
            headers,
            payload: message.payload.clone(),
            message_id: Some(format!("reshard/{}/{sequence}/{shards}", epoch.nanos())),
            expected_last: None,
        };
        let mut doublings = 0;
        loop {
            match self.bus.broker.publish(&outgoing).await {
                Ok(_) => return Ok(()),
                // It refuses while it is full, and this one leaves it only when it is there twice.
                Err(PublishFailure::Full) if stream == StreamKind::Raw && doublings < DOUBLINGS_MAX => {
                    doublings += 1;
                    self.broker.double_raw_limit().await?;
                }
                Err(failure) => return Err(ReshardError::Publish(failure.into_error(&subject))),
            }
        }
    }
}

/// Every shard that there can be, whatever the count.
fn all_shards() -> impl Iterator<Item = Shard> {
    let most = ShardCount::new(u64::from(domain::SHARDS_MAX));
    most.into_iter().flat_map(|count| count.shards().collect::<Vec<_>>())
}
