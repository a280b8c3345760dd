//! The messages of one stream, found by sequence and by subject, and who is waiting for them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use domain::UnixNanos;
use tokio::time::Instant;

use super::{dedup::Dedup, durable::Durable};
use crate::{
    broker::{Backlog, DurableSpec, Outgoing, Published, Stored},
    manage::ManageError,
    metrics::{self, Eviction},
    streams::{Discard, Retention, StreamSpec, StreamState},
    subjects,
};

/// What one message takes besides its bytes: the entries of the indexes.
const ENTRY_BYTES: usize = 200;

#[derive(Debug)]
pub(super) struct State {
    spec: StreamSpec,
    next_sequence: u64,
    messages: BTreeMap<u64, Entry>,
    size_bytes: u64,
    subjects: HashMap<Arc<str>, Subject>,
    durables: Vec<Durable>,
    durable_names: HashMap<String, usize>,
    dedup: Dedup,
}

#[derive(Debug)]
struct Entry {
    message: Stored,
    stored_at: Instant,
    size_bytes: u64,
}

/// What is known of a subject that has messages.
#[derive(Debug)]
struct Subject {
    sequences: BTreeSet<u64>,
    /// The durable consumers that want it, by index.
    durables: Vec<usize>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Published(Published),
    WrongLastSequence,
    Full,
}

impl State {
    pub(super) fn new(spec: StreamSpec) -> Self {
        Self {
            spec,
            next_sequence: 1,
            messages: BTreeMap::new(),
            size_bytes: 0,
            subjects: HashMap::new(),
            durables: Vec::new(),
            durable_names: HashMap::new(),
            dedup: Dedup::default(),
        }
    }

    /// Whether the stream was made for the wanted number of shards.
    pub(super) fn check_shards(&self, spec: &StreamSpec) -> Result<(), ManageError> {
        match (self.spec.shards, spec.shards) {
            (Some(existing), Some(wanted)) if existing != wanted => {
                let existing = existing.to_string();
                Err(ManageError::ShardCount { stream: spec.name.clone(), existing, wanted })
            }
            _ => Ok(()),
        }
    }

    /// Takes over new limits.
    pub(super) fn update(&mut self, spec: &StreamSpec) -> Result<(), ManageError> {
        self.check_shards(spec)?;
        if self.spec.subjects != spec.subjects {
            return Err(ManageError::Conflict {
                stream: spec.name.clone(),
                setting: "subjects",
                existing: self.spec.subjects.join(" "),
                wanted: spec.subjects.join(" "),
            });
        }
        self.spec = spec.clone();
        Ok(())
    }

    pub(super) fn publish(&mut self, outgoing: &Outgoing, now: Instant) -> Outcome {
        self.expire(now);
        if let Some(id) = &outgoing.message_id
            && let Some(sequence) = self.dedup.find(id, now, self.spec.duplicate_window)
        {
            return Outcome::Published(Published { sequence, duplicate: true });
        }
        if let Some(expected) = outgoing.expected_last
            && expected != self.last_sequence_of(&outgoing.subject).unwrap_or(0)
        {
            return Outcome::WrongLastSequence;
        }
        // Such streams never refuse, so that what is replaced may go first.
        if self.spec.one_per_subject
            && let Some(previous) = self.last_sequence_of(&outgoing.subject)
        {
            self.remove(previous);
        }
        let size_bytes = size_of(outgoing);
        if !self.make_room(size_bytes) {
            return Outcome::Full;
        }
        let sequence = self.store(outgoing, size_bytes, now);
        if let Some(id) = &outgoing.message_id {
            self.dedup.remember(id, sequence, now);
        }
        Outcome::Published(Published { sequence, duplicate: false })
    }

    fn store(&mut self, outgoing: &Outgoing, size_bytes: u64, now: Instant) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let key = match self.subjects.get_key_value(&outgoing.subject) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::clone(&outgoing.subject),
        };
        let durables = &self.durables;
        let subject = self.subjects.entry(Arc::clone(&key)).or_insert_with(|| Subject {
            sequences: BTreeSet::new(),
            durables: (0..durables.len()).filter(|index| wants(durables, *index, &key)).collect(),
        });
        subject.sequences.insert(sequence);
        for index in &subject.durables {
            if let Some(durable) = self.durables.get_mut(*index) {
                durable.add(sequence);
            }
        }
        let message = Stored {
            subject: key,
            sequence,
            headers: Arc::new(outgoing.headers.clone()),
            payload: outgoing.payload.clone(),
        };
        self.messages.insert(sequence, Entry { message, stored_at: now, size_bytes });
        self.size_bytes += size_bytes;
        sequence
    }

    /// Whether `size_bytes` more fit, after dropping the oldest where that is the policy.
    fn make_room(&mut self, size_bytes: u64) -> bool {
        while self.size_bytes.saturating_add(size_bytes) > self.spec.size_bytes_max {
            let oldest = self.messages.first_key_value().map(|(sequence, _)| *sequence);
            match (self.spec.discard, oldest) {
                (Discard::Old, Some(oldest)) => {
                    self.remove(oldest);
                    metrics::embedded_evicted(self.spec.kind, Eviction::Bytes);
                }
                // One message that alone exceeds the limit is stored all the same: the limit is then too small to
                // mean anything, and refusing for ever would stop the product.
                (_, None) => return true,
                (Discard::New, Some(_)) => return false,
            }
        }
        true
    }

    /// Drops what is too old.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(age_max) = self.spec.age_max else { return };
        while let Some((sequence, entry)) = self.messages.first_key_value()
            && now.saturating_duration_since(entry.stored_at) >= age_max
        {
            let sequence = *sequence;
            self.remove(sequence);
            metrics::embedded_evicted(self.spec.kind, Eviction::Age);
        }
    }

    fn remove(&mut self, sequence: u64) -> bool {
        let Some(entry) = self.messages.remove(&sequence) else {
            return false;
        };
        self.size_bytes = self.size_bytes.saturating_sub(entry.size_bytes);
        if let Some(subject) = self.subjects.get_mut(&entry.message.subject) {
            subject.sequences.remove(&sequence);
            for index in &subject.durables {
                if let Some(durable) = self.durables.get_mut(*index) {
                    durable.forget(sequence);
                }
            }
            if subject.sequences.is_empty() {
                self.subjects.remove(&entry.message.subject);
            }
        }
        true
    }

    pub(super) fn get(&self, sequence: u64) -> Option<Stored> {
        self.messages.get(&sequence).map(|entry| entry.message.clone())
    }

    /// The first message after `sequence`.
    pub(super) fn first_after(&self, sequence: u64) -> Option<Stored> {
        let mut later = self.messages.range(sequence.saturating_add(1)..);
        later.next().map(|(_, entry)| entry.message.clone())
    }

    /// The last message that is older than `age`; all of them may be younger.
    pub(super) fn older_than(&self, age: Duration, now: Instant) -> u64 {
        let is_young = |entry: &Entry| now.saturating_duration_since(entry.stored_at) <= age;
        let young = self.messages.iter().rev().take_while(|(_, entry)| is_young(entry)).last();
        young.map_or(self.last_sequence(), |(sequence, _)| sequence.saturating_sub(1))
    }

    pub(super) fn last(&self, subject: &str) -> Option<Stored> {
        self.get(self.last_sequence_of(subject)?)
    }

    /// The last sequence of every subject, in stream order.
    pub(super) fn last_sequences(&self) -> BTreeSet<u64> {
        self.subjects.values().filter_map(|subject| subject.sequences.last().copied()).collect()
    }

    /// How many messages each subject has.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        let count =
            |(name, subject): (&Arc<str>, &Subject)| (name.to_string(), subject.sequences.len() as u64);
        self.subjects.iter().map(count).collect()
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    fn last_sequence_of(&self, subject: &str) -> Option<u64> {
        self.subjects.get(subject).and_then(|subject| subject.sequences.last().copied())
    }

    pub(super) fn stream_state(&self, created: UnixNanos) -> StreamState {
        StreamState {
            created,
            messages: self.messages.len() as u64,
            size_bytes: self.size_bytes,
            size_bytes_max: self.spec.size_bytes_max,
            first_sequence: self.messages.first_key_value().map_or(self.next_sequence, |(first, _)| *first),
            last_sequence: self.last_sequence(),
            replicas: 1,
        }
    }

    /// The durable consumer of this name, made when there is none.
    pub(super) fn durable(&mut self, spec: &DurableSpec) -> &mut Durable {
        let index = match self.durable_names.get(&spec.name) {
            Some(index) => *index,
            None => self.add_durable(spec),
        };
        // The index is of this vector, which never shrinks.
        &mut self.durables[index]
    }

    fn add_durable(&mut self, spec: &DurableSpec) -> usize {
        let index = self.durables.len();
        let oldest = self.messages.first_key_value().map_or(self.next_sequence, |(first, _)| *first);
        let mut durable = Durable::new(spec, oldest.saturating_sub(1));
        for (name, subject) in &mut self.subjects {
            if durable.wants(name) {
                subject.durables.push(index);
                subject.sequences.iter().for_each(|sequence| durable.add(*sequence));
            }
        }
        self.durables.push(durable);
        self.durable_names.insert(spec.name.clone(), index);
        index
    }

    pub(super) fn backlog(&self, spec: &DurableSpec) -> Backlog {
        if let Some(durable) = self.durable_names.get(&spec.name).and_then(|index| self.durables.get(*index))
        {
            return Backlog {
                pending: durable.pending() as u64,
                unacknowledged: durable.unacknowledged() as u64,
                done: durable.done(),
            };
        }
        let wanted = |name: &str| spec.filters.iter().any(|filter| subjects::matches(filter, name));
        let waiting = self.subjects.iter().filter(|(name, _)| wanted(name));
        Backlog {
            pending: waiting.map(|(_, subject)| subject.sequences.len() as u64).sum(),
            unacknowledged: 0,
            done: 0,
        }
    }

    /// Whether acknowledging made room.
    pub(super) fn acknowledge(&mut self, spec: &DurableSpec, sequences: impl Iterator<Item = u64>) -> bool {
        let mut room = false;
        for sequence in sequences {
            let known = self.durable(spec).acknowledge(sequence);
            if known && self.spec.retention == Retention::WorkQueue {
                room |= self.remove(sequence);
            }
        }
        room
    }
}

fn wants(durables: &[Durable], index: usize, subject: &str) -> bool {
    durables.get(index).is_some_and(|durable| durable.wants(subject))
}

fn size_of(outgoing: &Outgoing) -> u64 {
    let bytes = outgoing.payload.len() + outgoing.subject.len() + outgoing.headers.size_bytes();
    (bytes + outgoing.message_id.as_ref().map_or(0, String::len) + ENTRY_BYTES) as u64
}
