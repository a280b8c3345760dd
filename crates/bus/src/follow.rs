//! Reading everything: an ordered view of a whole stream that leaves no trace in it and misses nothing unnoticed.

use std::{marker::PhantomData, time::Duration};

use domain::{FeedEvent, RejectedTick, Snapshot, TickBatch, UnixNanos};
use opentelemetry::Context;
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::{
    BrokerError, Bus, Reconnections, Source, StreamKind, StreamState, Undecodable,
    broker::{OrderedReader, Read, Start},
    codec::{self, Payload},
    headers::HISTORY,
    metrics,
    retry::RetryDelays,
    work::source,
};

/// Where a follower starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowFrom {
    /// With the last message of each subject, then everything after them.
    LastPerSubject,
    /// With the first message after this sequence; 0: with the oldest there is.
    AfterSequence(u64),
    /// With the oldest message that was stored within this time before now, by the clock of this machine.
    Recent(Duration),
}

/// One message of a stream that is followed.
#[derive(Clone, Debug)]
pub struct Followed<T> {
    /// Where it stands in the stream.
    pub stream_sequence: u64,
    /// What it says.
    pub content: T,
    /// Whether its ticks come from the live feed; events are always live.
    pub source: Source,
    /// How many messages wait behind it; 0: this is the newest.
    pub pending: u64,
    /// Of a snapshot: which history it is of, where its publisher said so.
    pub history: Option<String>,
    /// The trace of whoever published it.
    pub context: Context,
}

/// What a follower has to tell besides messages. After each of them the next call goes on.
#[derive(Debug, Error)]
pub enum FollowError {
    /// Messages left the stream before they were read. The next call goes on behind them.
    #[error("messages {first} to {last} of {stream} are gone")]
    Gone {
        /// The stream, e.g. `LF_TICKS`.
        stream: String,
        /// The first message that is gone.
        first: u64,
        /// The last message that is gone.
        last: u64,
    },
    /// The stream was made anew: its sequences are not those known before. The next call starts with its oldest
    /// message.
    #[error(
        "{stream} was made anew: message {known} was known of the one before, {last} is its last one now"
    )]
    Restarted {
        /// The stream, e.g. `LF_TICKS`.
        stream: String,
        /// The last message that was known.
        known: u64,
        /// The last message that is there.
        last: u64,
    },
    /// One message cannot be decoded. The next call goes on behind it.
    #[error("message {} cannot be decoded", .content.stream_sequence)]
    Undecodable {
        /// The message and the reason.
        #[source]
        content: Undecodable,
        /// How many messages wait behind it.
        pending: u64,
    },
    /// The broker cannot be reached or gives nothing. The next call waits a little and goes on where this one ended.
    #[error("the stream cannot be read")]
    Broker(#[from] BrokerError),
}

/// Follows a stream. One per process is enough; subscribers are served from memory.
#[derive(Debug)]
pub struct Follower<T> {
    bus: Bus,
    stream: StreamKind,
    /// Where to attach the next time.
    start: Start,
    /// When the stream was created that was read last. Another time is another stream, whatever its sequences say.
    created: Option<UnixNanos>,
    attached: Option<Attached>,
    delays: RetryDelays,
    reconnections: Reconnections,
    failed: bool,
    /// How often in a row the stream ended before what was read from it.
    short: u32,
    content: PhantomData<T>,
}

/// How often the same stream may end before what was read from it until that is believed: for some seconds a new leader
/// in a cluster may not have taken up yet what the one before had, and only a broker that lost data stays there.
const SHORT_MAX: u32 = 8;

/// Follows `LF_TICKS`, backfills included.
pub type TickFollower = Follower<TickBatch>;
/// Follows `LF_EVENTS`.
pub type EventFollower = Follower<FeedEvent>;
/// Follows `LF_REJECTS`.
pub type RejectFollower = Follower<RejectedTick>;
/// Follows `LF_SNAPSHOTS`.
pub type SnapshotFollower = Follower<Snapshot>;

#[derive(Debug)]
struct Attached {
    reader: OrderedReader,
    /// The last message that was read, or the one that counts as read.
    last: u64,
    /// From this sequence on no message may be missing: before it, only the last of each subject comes.
    gapless_from: u64,
    /// Found when attaching, to be told first.
    found: Option<FollowError>,
    /// Read already, and to be given out next.
    held: Option<Read>,
    /// What came up to here came, or was there before the first message.
    seen: u64,
    /// When to look whether messages wait, while nothing comes.
    look_at: Instant,
    /// Whether messages waited the last time.
    waiting: bool,
}

impl Attached {
    /// The next message that was not read yet: on a node of a cluster that is behind, a reader begins where that node ends.
    ///
    /// A reader may look alive (the server says that it is there, no request fails) and never give anything again: while
    /// nothing comes, the stream itself is asked.
    async fn unread(&mut self, bus: &Bus, stream: StreamKind) -> Result<Read, BrokerError> {
        let look_every = bus.config.stalled_after / 2;
        loop {
            let look_at = self.look_at;
            let look = async {
                sleep_until(look_at).await;
                bus.broker.stream_state(stream).await
            };
            tokio::select! {
                biased;
                read = self.reader.next() => {
                    let read = read?;
                    self.seen = self.seen.max(read.stored.sequence);
                    self.waiting = false;
                    self.look_at = Instant::now() + look_every;
                    if read.stored.sequence > self.last {
                        return Ok(read);
                    }
                }
                state = look => {
                    self.look_at = Instant::now() + look_every;
                    // What cannot be asked is not known to wait.
                    let waits = state.is_ok_and(|state| state.messages > 0 && state.last_sequence > self.seen);
                    if waits && self.waiting {
                        return Err(BrokerError::new("read", stream.label(), "nothing comes though messages wait"));
                    }
                    self.waiting = waits;
                }
            }
        }
    }
}

impl Bus {
    /// Follows the validated ticks of every product.
    pub fn follow_ticks(&self, from: FollowFrom) -> TickFollower {
        Follower::new(self, StreamKind::Ticks, from)
    }

    /// Follows what happens to the feeds.
    pub fn follow_events(&self, from: FollowFrom) -> EventFollower {
        Follower::new(self, StreamKind::Events, from)
    }

    /// Follows what is refused.
    pub fn follow_rejects(&self, from: FollowFrom) -> RejectFollower {
        Follower::new(self, StreamKind::Rejects, from)
    }

    /// Follows the snapshot of every product. A snapshot that was replaced before it was read is skipped, and that is
    /// no gap: [`FollowError::Gone`] does not happen here.
    pub fn follow_snapshots(&self, from: FollowFrom) -> SnapshotFollower {
        Follower::new(self, StreamKind::Snapshots, from)
    }
}

#[allow(private_bounds, reason = "the kinds of content are the public aliases")]
impl<T: Payload> Follower<T> {
    fn new(bus: &Bus, stream: StreamKind, from: FollowFrom) -> Self {
        let start = match from {
            FollowFrom::LastPerSubject => Start::LastPerSubject,
            FollowFrom::AfterSequence(after) => Start::After(after),
            FollowFrom::Recent(age) => Start::Recent(age),
        };
        Self {
            bus: bus.clone(),
            stream,
            start,
            created: None,
            attached: None,
            delays: bus.retry_delays(),
            reconnections: bus.reconnections(),
            failed: false,
            short: 0,
            content: PhantomData,
        }
    }

    /// Attaches to the stream where that has not been done, and returns how many messages waited at that moment;
    /// with 0 the follower is at the end of the stream before its first message.
    pub async fn attach(&mut self) -> Result<u64, FollowError> {
        if let Some(attached) = &self.attached {
            return Ok(attached.reader.initial_pending());
        }
        if self.failed && self.reconnections.or_after(self.delays.next_delay()).await {
            self.delays.reset();
        }
        self.failed = true;
        let reader = self.bus.broker.read(self.stream, self.start).await?;
        self.refuse_short(reader.state())?;
        self.failed = false;
        let pending = reader.initial_pending();
        self.attached = Some(self.attached(reader));
        Ok(pending)
    }

    fn refuse_short(&mut self, state: StreamState) -> Result<(), BrokerError> {
        let is_short = matches!(self.start, Start::After(after) if state.last_sequence < after);
        // Of one copy nobody else has more: what is gone is lost.
        if !is_short || state.replicas == 1 || self.created != Some(state.created) {
            self.short = 0;
            return Ok(());
        }
        self.short += 1;
        if self.short > SHORT_MAX {
            return Ok(());
        }
        Err(BrokerError::new("read", self.stream.label(), "the stream ends before what was read from it"))
    }

    /// When the stream was created that is followed: another time is another stream, in which no sequence of the one
    /// before means anything. Unknown before the first attach.
    pub fn stream_created(&self) -> Option<UnixNanos> {
        self.created
    }

    /// Waits for the next message. Strictly increasing in `stream_sequence`, except after [`FollowError::Restarted`].
    /// May be cancelled without losing anything.
    pub async fn next(&mut self) -> Result<Followed<T>, FollowError> {
        self.attach().await?;
        let Some(attached) = &mut self.attached else {
            return Err(self.detached());
        };
        if let Some(found) = attached.found.take() {
            return Err(self.told(found));
        }
        let read = match attached.held.take() {
            Some(read) => read,
            None => match attached.unread(&self.bus, self.stream).await {
                Ok(read) => read,
                Err(error) => {
                    self.detach();
                    return Err(error.into());
                }
            },
        };
        self.accept(read)
    }

    fn attached(&mut self, reader: OrderedReader) -> Attached {
        let state = reader.state();
        let known = self.created.replace(state.created);
        let mut attached = Attached {
            last: 0,
            gapless_from: state.last_sequence,
            found: None,
            held: None,
            seen: if reader.initial_pending() == 0 { state.last_sequence } else { 0 },
            look_at: Instant::now() + self.bus.config.stalled_after / 2,
            waiting: false,
            reader,
        };
        let after = match self.start {
            Start::LastPerSubject => return attached,
            Start::After(after) => after,
            Start::Recent(_) => {
                attached.gapless_from = 0;
                return attached;
            }
        };
        attached.last = after;
        attached.gapless_from = after;
        let stream = self.bus.stream_name(self.stream);
        let remade = after > 0 && known.is_some_and(|known| known != state.created);
        if remade || state.last_sequence < after {
            attached.found = Some(FollowError::Restarted { stream, known: after, last: state.last_sequence });
        } else if !self.stream.is_one_per_subject()
            && after > 0
            && state.first_sequence > after.saturating_add(1)
        {
            let last = state.first_sequence.saturating_sub(1);
            attached.found = Some(FollowError::Gone { stream, first: after.saturating_add(1), last });
        }
        attached
    }

    /// Something found while attaching changes where the follower stands.
    fn told(&mut self, found: FollowError) -> FollowError {
        match &found {
            FollowError::Restarted { .. } => {
                self.attached = None;
                self.start = Start::After(0);
            }
            FollowError::Gone { first, last, .. } => {
                metrics::follower_missed(self.stream, last.saturating_sub(*first).saturating_add(1));
                if let Some(attached) = &mut self.attached {
                    attached.last = *last;
                }
            }
            FollowError::Undecodable { .. } | FollowError::Broker(_) => {}
        }
        found
    }

    fn accept(&mut self, read: Read) -> Result<Followed<T>, FollowError> {
        let Some(attached) = &mut self.attached else {
            return Err(self.detached());
        };
        let sequence = read.stored.sequence;
        let next = attached.last.saturating_add(1);
        // The oldest message of a stream that is read from its start has nothing before it. Where each message replaces
        // another one, what is missing was replaced.
        let gapless = !self.stream.is_one_per_subject() && attached.last >= attached.gapless_from;
        if gapless && sequence > next && attached.last > 0 {
            attached.held = Some(read);
            let stream = self.bus.stream_name(self.stream);
            return Err(self.told(FollowError::Gone { stream, first: next, last: sequence - 1 }));
        }
        attached.last = sequence;
        self.delays.reset();
        let pending = read.pending;
        match codec::decode(&read.stored) {
            Ok(content) => Ok(Followed {
                stream_sequence: sequence,
                content,
                source: source(&self.bus, &read.stored.subject),
                pending,
                history: read.stored.headers.get(HISTORY).map(str::to_owned),
                context: read.stored.headers.trace_context(),
            }),
            Err(content) => {
                metrics::undecodable(self.stream);
                Err(FollowError::Undecodable { content, pending })
            }
        }
    }

    /// Without a reader there is no message; the next call makes one.
    fn detached(&self) -> FollowError {
        BrokerError::new("read", self.stream.label(), "the reader is not attached").into()
    }

    /// Forgets the reader; the next one starts behind what was read.
    fn detach(&mut self) {
        if let Some(attached) = self.attached.take() {
            self.failed = true;
            // Before the first message of a start that names none, everything is still to come.
            if attached.last > 0 || matches!(self.start, Start::After(_)) {
                self.start = Start::After(attached.last);
            }
        }
    }
}
