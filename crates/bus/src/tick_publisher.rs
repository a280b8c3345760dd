//! Publishing validated ticks, fenced: of two owners of a shard only one can go on.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{Gap, Instrument, Position, RefusedTrades, Shard, Snapshot, Tick, TickBatch, UnixNanos};
use futures::future::try_join_all;

use crate::{
    BrokerError, Bus, Owner, PublishError, Source, StreamKind,
    broker::{Broker, Outgoing, PublishFailure, Published, Stored},
    fail_point,
    headers::{self, OWNER, PREVIOUS, RAW_EPOCH},
    metrics::{self, Refusal},
    publish::outgoing,
    work::source,
};

mod gaps;

/// How often one call repeats a publish whose refusal was explained. Each repetition knows more than the one
/// before, so that more are needed only while somebody else keeps writing.
const ATTEMPTS_MAX: usize = 5;
/// How many subjects are published to at the same time: far below what a connection may have in flight.
const SUBJECTS_AT_ONCE_MAX: usize = 64;

/// Publishes the ticks of one shard. Each publish names the last message of its subject that it knows of, and is
/// refused when there is another.
#[derive(Debug)]
pub struct TickPublisher {
    bus: Bus,
    shard: Shard,
    /// The last message of each subject of ticks and gaps, as far as is known.
    last: HashMap<Arc<str>, u64>,
    /// When `LF_RAW` was created, which is its identity; unknown before the first recovery.
    raw_epoch: Option<UnixNanos>,
    /// The last position of each product that was published.
    positions: HashMap<Instrument, Position>,
    /// When `LF_TICKS` was created, in which the last messages stand; unknown before the first recovery.
    ticks_epoch: Option<UnixNanos>,
    message_bytes: MessageBytes,
}

/// Where a shard stands, as its own output says.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest live batch of each product of the shard that is still in `LF_TICKS`.
    pub batches: Vec<RecoveredBatch>,
    /// The snapshot of each product of the shard.
    pub snapshots: Vec<Snapshot>,
    /// The gap of each product of the shard that was announced last, where an owner of the shard announced it.
    pub gaps: Vec<Gap>,
    /// The faulty trades of each product of the shard that were refused last, once for each reason, whenever that was: of a
    /// round that was delivered again it was before the batch of that round.
    pub refused: Vec<RecoveredRefusals>,
}

/// Faulty trades that were refused.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredRefusals {
    /// Their product.
    pub instrument: Instrument,
    /// Which.
    pub trades: RefusedTrades,
    /// When the last of them was received, by the ingestor's clock.
    pub received: UnixNanos,
}

/// The newest batch of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredBatch {
    /// Where it stands in `LF_TICKS`.
    pub stream_sequence: u64,
    /// The batch.
    pub batch: TickBatch,
    /// Whether its raw sequence is of the `LF_RAW` that exists now: in one that was made anew since it means nothing.
    pub raw_is_current: bool,
}

impl Bus {
    /// The publisher of validated ticks of `shard`. Recover before the first publish.
    pub fn tick_publisher(&self, shard: Shard) -> TickPublisher {
        TickPublisher {
            bus: self.clone(),
            shard,
            last: HashMap::new(),
            positions: HashMap::new(),
            raw_epoch: None,
            ticks_epoch: None,
            message_bytes: MessageBytes::default(),
        }
    }
}

impl TickPublisher {
    /// Finds out where the shard stands. To be called before the first publish, and again after
    /// [`PublishError::needs_recovery`] and after each error of the reader of raw ticks: `LF_RAW` may have been made anew
    /// then. What is published from now on says from which `LF_RAW` it was made, so that a reader of raw ticks from before
    /// this call is not to be used after it.
    pub async fn recover(&mut self) -> Result<Recovered, BrokerError> {
        // First: when the stream is made anew after this, what is published names the old one and deceives nobody.
        self.ticks_epoch = Some(self.bus.broker.stream_state(StreamKind::Ticks).await?.created);
        // Before the ticks: what was published before a gap is then among them.
        let gaps = self.bus.newest_gaps().await?;
        self.last = gaps.iter().map(|(stored, _)| (Arc::clone(&stored.subject), stored.sequence)).collect();
        // What somebody else tells of gaps says nothing about what this shard told last.
        let gaps = gaps.into_iter().filter(|(stored, _)| owner_of(stored).is_some()).map(|(_, gap)| gap);
        let stored = self.bus.broker.last_per_subject(StreamKind::Ticks).await?;
        self.last.extend(stored.iter().map(|stored| (Arc::clone(&stored.subject), stored.sequence)));
        let batches = self.bus.newest_batches(&stored);
        let position = |batch: &TickBatch| Some((batch.instrument.clone(), last_position(batch)?));
        self.positions = batches.iter().filter_map(|newest| position(&newest.batch)).collect();
        let batches = batches.into_iter();
        let snapshots = self.bus.last_snapshots().await?.into_iter();
        let mut refused = self.bus.last_refused().await?;
        refused.retain(|refused| self.owns(&refused.instrument));
        // Last, so that as little as possible can happen to the stream before it is read.
        let raw_epoch = self.bus.broker.stream_state(StreamKind::Raw).await?.created;
        self.raw_epoch = Some(raw_epoch);
        Ok(Recovered {
            batches: batches
                .filter(|newest| self.owns(&newest.batch.instrument))
                .map(|newest| RecoveredBatch {
                    stream_sequence: newest.stream_sequence,
                    raw_is_current: newest.raw_epoch == Some(raw_epoch),
                    batch: newest.batch,
                })
                .collect(),
            snapshots: snapshots.filter(|snapshot| self.owns(&snapshot.instrument)).collect(),
            gaps: gaps.filter(|gap| self.owns(&gap.instrument)).collect(),
            refused,
        })
    }

    /// Publishes ticks of the live feed and returns the sequence of the message in `LF_TICKS`.
    ///
    /// After [`PublishError::is_retryable`] the same batch is to be published again, before any other of its product.
    /// May be cancelled: a message that was stored all the same is recognised later.
    pub async fn publish(&mut self, batch: &TickBatch) -> Result<u64, PublishError> {
        let subject = self.bus.subjects.tick(&batch.instrument);
        self.publish_on(&subject, batch).await
    }

    /// The same for ticks that were fetched afterwards.
    pub async fn publish_fill(&mut self, batch: &TickBatch) -> Result<u64, PublishError> {
        let subject = self.bus.subjects.fill(&batch.instrument);
        self.publish_on(&subject, batch).await
    }

    /// How large the messages are that were published lately, in bytes: rises at once with larger ones, and falls slowly. 0
    /// before the first one.
    pub fn message_bytes(&self) -> u64 {
        self.message_bytes.0.load(Ordering::Relaxed)
    }

    fn owns(&self, instrument: &Instrument) -> bool {
        self.bus.shards().shard_of(instrument) == self.shard
    }

    /// Publishes what a worker has in hand: batches of one product in the order given, different products at the same time.
    /// Returns when all of them are stored. After any error the position has to be recovered: some may be stored.
    pub async fn publish_all(&mut self, batches: &[(Source, TickBatch)]) -> Result<(), PublishError> {
        let mut lanes: Vec<(String, Vec<&TickBatch>)> = Vec::new();
        let mut by_subject: HashMap<String, usize> = HashMap::new();
        for (source, batch) in batches {
            let subject = match source {
                Source::Live => self.bus.subjects.tick(&batch.instrument),
                Source::Fill => self.bus.subjects.fill(&batch.instrument),
            };
            let lane = *by_subject.entry(subject).or_insert_with_key(|subject| {
                lanes.push((subject.clone(), Vec::new()));
                lanes.len() - 1
            });
            lanes[lane].1.push(batch);
        }
        for lanes in lanes.chunks(SUBJECTS_AT_ONCE_MAX) {
            let stored =
                try_join_all(lanes.iter().map(|(subject, batches)| self.publish_lane(subject, batches)))
                    .await?;
            self.last.extend(stored);
        }
        for (source, batch) in batches {
            self.note(*source, batch);
        }
        Ok(())
    }

    async fn publish_lane(
        &self,
        subject: &str,
        batches: &[&TickBatch],
    ) -> Result<(Arc<str>, u64), PublishError> {
        let (key, mut last) = match self.last.get_key_value(subject) {
            Some((key, last)) => (Arc::clone(key), *last),
            None => (Arc::from(subject), 0),
        };
        // Backfilled ticks have no position; live ones are on a subject of their own.
        let mut position = batches.first().and_then(|batch| self.positions.get(&batch.instrument)).copied();
        for batch in batches {
            last = self.publish_after(subject, batch, last, position).await?;
            position = last_position(batch);
        }
        Ok((key, last))
    }

    fn note(&mut self, source: Source, batch: &TickBatch) {
        if let (Source::Live, Some(position)) = (source, last_position(batch)) {
            self.positions.insert(batch.instrument.clone(), position);
        }
    }

    async fn publish_on(&mut self, subject: &str, batch: &TickBatch) -> Result<u64, PublishError> {
        let (key, last) = self.publish_lane(subject, &[batch]).await?;
        self.last.insert(key, last);
        self.note(source(&self.bus, subject), batch);
        Ok(last)
    }

    /// Publishes one batch behind message `last` of its subject.
    async fn publish_after(
        &self,
        subject: &str,
        batch: &TickBatch,
        last: u64,
        position: Option<Position>,
    ) -> Result<u64, PublishError> {
        let mut message = outgoing(StreamKind::Ticks, subject, batch, &headers::current_context(), None);
        message.headers.set(OWNER, self.bus.owner.to_string());
        if let Some(epoch) = self.raw_epoch {
            message.headers.set(RAW_EPOCH, epoch.nanos().to_string());
        }
        if let (Some(epoch), true) = (self.ticks_epoch, last > 0) {
            let position = position.filter(|_| source(&self.bus, subject) == Source::Live);
            let position = position.map(|at| format!("/{}/{}", at.run, at.sequence)).unwrap_or_default();
            message.headers.set(PREVIOUS, format!("{last}/{}{position}", epoch.nanos()));
        }
        message.expected_last = Some(last);
        let published = self.publish_fenced(&mut message).await.inspect_err(|error| {
            if let PublishError::Fenced { by, .. } = error {
                tracing::error!(subject, %by, own = %self.bus.owner, "fenced by an owner who started later");
            }
        })?;
        fail_point::pass("normalizer-half-published");
        self.message_bytes.note(message.subject.len() + message.headers.size_bytes() + message.payload.len());
        metrics::published(StreamKind::Ticks, message.payload.len(), batch.ticks.len(), published.duplicate);
        Ok(published.sequence)
    }

    async fn publish_fenced(&self, message: &mut Outgoing) -> Result<Published, PublishError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.bus.broker.publish(message).await {
                Ok(published) => return Ok(published),
                Err(PublishFailure::WrongLastSequence) => match self.explain_refusal(message).await? {
                    Explained::RepeatAfter(sequence) => message.expected_last = Some(sequence),
                    Explained::Stored(sequence) => {
                        return Ok(Published { sequence, duplicate: true });
                    }
                },
                Err(failure) => {
                    metrics::publish_failed(message.stream, failure.cause());
                    return Err(failure.into_error(&message.subject));
                }
            }
        }
        Err(PublishError::UnknownOwner { subject: message.subject.to_string() })
    }

    /// A refusal is not yet a fence: what the last message of the subject is decides.
    async fn explain_refusal(&self, message: &Outgoing) -> Result<Explained, PublishError> {
        let subject = || message.subject.to_string();
        let last = last_message(&self.bus.broker, message)
            .await
            .map_err(|source| PublishError::Unavailable { subject: subject(), source })?;
        // In a cluster a message counts as soon as it is taken up, and can be read once enough replicas have it. Refused though
        // nothing has come since: one is on its way, most likely an earlier attempt of our own. It arrives or is dropped.
        if message.expected_last == Some(last.as_ref().map_or(0, |last| last.sequence)) {
            metrics::refused(Refusal::OnItsWay);
            let stream = self.bus.stream_name(message.stream);
            let source = BrokerError::new("publish", &stream, "another message of the subject is on its way");
            return Err(PublishError::Unavailable { subject: subject(), source });
        }
        let Some(last) = last else {
            metrics::refused(Refusal::AgedOut);
            return Ok(Explained::RepeatAfter(0));
        };
        if owner_of(&last) == Some(*self.bus.owner) && last.payload == message.payload {
            metrics::refused(Refusal::OwnAcknowledgementLost);
            return Ok(Explained::Stored(last.sequence));
        }
        // A snapshotter tells of gaps, too, and owns nothing by that. Who has the shard is seen at the ticks.
        if message.stream == StreamKind::Events && last.headers.get(OWNER).is_none() {
            metrics::refused(Refusal::Bystander);
            return Ok(Explained::RepeatAfter(last.sequence));
        }
        Err(self.written_by(&last, subject()))
    }

    /// The last message of a subject is not the one that is known of here: who wrote it decides.
    fn written_by(&self, last: &Stored, subject: String) -> PublishError {
        let own = *self.bus.owner;
        match owner_of(last) {
            // Stored by an earlier call whose acknowledgement was lost, and given up by its caller: what it held must not
            // be published again behind it.
            Some(owner) if owner == own => {
                metrics::refused(Refusal::OwnEarlierMessage);
                PublishError::Unrecovered { subject }
            }
            Some(owner) if owner > own => {
                metrics::refused(Refusal::Fenced);
                PublishError::Fenced { subject, by: owner }
            }
            Some(owner) => {
                metrics::refused(Refusal::TakenOver);
                PublishError::TakenOver { subject, from: owner }
            }
            None => {
                metrics::refused(Refusal::TakenOver);
                PublishError::UnknownOwner { subject }
            }
        }
    }
}

/// A moving average that follows larger messages faster than smaller ones.
#[derive(Debug, Default)]
struct MessageBytes(AtomicU64);

impl MessageBytes {
    fn note(&self, bytes: usize) {
        let (bytes, average) = (bytes as u64, self.0.load(Ordering::Relaxed));
        let next = match average {
            0 => bytes,
            // Rounded up, so that it arrives.
            _ if bytes > average => average + (bytes - average).div_ceil(16),
            _ => average - (average - bytes) / 256,
        };
        self.0.store(next, Ordering::Relaxed);
    }
}

fn last_position(batch: &TickBatch) -> Option<Position> {
    batch.ticks.last().and_then(Tick::position)
}

enum Explained {
    /// Nobody else wrote: publish again behind this message.
    RepeatAfter(u64),
    /// It is there already.
    Stored(u64),
}

fn owner_of(stored: &Stored) -> Option<Owner> {
    stored.headers.get(OWNER)?.parse().ok()
}

async fn last_message(broker: &Broker, message: &Outgoing) -> Result<Option<Stored>, BrokerError> {
    broker.last_message(message.stream, &message.subject).await
}
