//! Following the sequence of one product: what is new, what was seen, what came too late, and when it starts anew.

use std::{collections::BTreeSet, time::Duration};

use crate::{FeedSession, Position, Tick, UnixNanos};

/// A lower sequence on a new feed session starts a new run when its event time is newer by more than this.
pub const NEW_RUN_AFTER: Duration = Duration::from_secs(5);
/// How many of the newest sequences are remembered to tell a duplicate from a tick that came late.
pub const RECENT_SEQUENCES_MAX: usize = 4096;

/// What a tick is, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It follows what was seen.
    Next(Position),
    /// It follows, and the exchange's sequence has started anew with it.
    NewRun {
        /// The last position of the run before.
        previous: Position,
        /// Its own position.
        first: Position,
    },
    /// It was seen before.
    Duplicate,
    /// It was not seen before, but its place has passed.
    Late,
}

/// The sequence of one product.
#[derive(Clone, Debug, Default)]
pub struct ProductTracker {
    last: Option<Last>,
    session: Option<String>,
    /// The newest sequences of this run that were accepted since this tracker started.
    recent: BTreeSet<u64>,
    /// Sequences up to this one may have been accepted before this tracker started, or have left `recent`.
    floor: u64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    position: Position,
    event_time: UnixNanos,
}

impl ProductTracker {
    /// A tracker that goes on after `position`, whose tick had `event_time`. Everything up to it counts as seen.
    ///
    /// `session` is the feed session of that tick, where known: ticks of the same session can start no new run.
    pub fn recovered(position: Position, event_time: UnixNanos, session: Option<&FeedSession>) -> Self {
        Self {
            last: Some(Last { position, event_time }),
            session: session.map(|session| session.id.clone()),
            recent: BTreeSet::new(),
            floor: position.sequence,
        }
    }

    /// The newest position.
    pub fn position(&self) -> Option<Position> {
        self.last.map(|last| last.position)
    }

    /// Judges a live tick of `session` and, when it follows, moves on to it.
    pub fn observe(&mut self, tick: &Tick, session: &FeedSession) -> Verdict {
        let verdict = self.judge(tick, session);
        match verdict {
            Verdict::Next(position) => self.accept(position, tick.event_time, session),
            Verdict::NewRun { first, .. } => {
                self.recent.clear();
                self.floor = 0;
                self.accept(first, tick.event_time, session);
            }
            Verdict::Duplicate | Verdict::Late => {}
        }
        verdict
    }

    /// Judges a live tick of `session`. Changes nothing. A tick without a sequence is `Late`: validation has refused it
    /// before.
    pub fn judge(&self, tick: &Tick, session: &FeedSession) -> Verdict {
        let Some(sequence) = tick.sequence else {
            return Verdict::Late;
        };
        let Some(last) = self.last else {
            return Verdict::Next(Position { run: 0, sequence });
        };
        if sequence > last.position.sequence {
            if self.is_of_an_earlier_run(last, tick, session) {
                return Verdict::Late;
            }
            return Verdict::Next(Position { run: last.position.run, sequence });
        }
        if self.starts_anew(last, tick, session) {
            let first = Position { run: last.position.run.saturating_add(1), sequence };
            return Verdict::NewRun { previous: last.position, first };
        }
        if sequence <= self.floor || self.recent.contains(&sequence) {
            Verdict::Duplicate
        } else {
            Verdict::Late
        }
    }

    /// Of two ingestors one may still bring what it had read before the sequence started anew, when the other is already
    /// past that. Time never goes back within a product.
    fn is_of_an_earlier_run(&self, last: Last, tick: &Tick, session: &FeedSession) -> bool {
        last.position.run > 0
            && tick.event_time < last.event_time
            && self.session.as_deref() != Some(session.id.as_str())
    }

    fn starts_anew(&self, last: Last, tick: &Tick, session: &FeedSession) -> bool {
        let new_session = self.session.as_deref() != Some(session.id.as_str());
        new_session && tick.event_time.saturating_since(last.event_time) > NEW_RUN_AFTER
    }

    fn accept(&mut self, position: Position, event_time: UnixNanos, session: &FeedSession) {
        let event_time = match self.last {
            Some(last) if last.position.run == position.run => last.event_time.max(event_time),
            _ => event_time,
        };
        self.last = Some(Last { position, event_time });
        if self.session.as_deref() != Some(session.id.as_str()) {
            self.session = Some(session.id.clone());
        }
        self.recent.insert(position.sequence);
        if self.recent.len() > RECENT_SEQUENCES_MAX
            && let Some(oldest) = self.recent.pop_first()
        {
            self.floor = self.floor.max(oldest);
        }
    }
}

#[cfg(test)]
mod tests;
