//! Reading history for a subscriber, one bounded step at a time.

use std::{sync::Arc, time::Duration};

use domain::{Instrument, Position, Tick, UnixNanos};
use metrics::{counter, histogram};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use crate::{History, HistoryError, NotRecovered, Since, metrics as names};

/// The ticks of one read: a subscriber that does not take them costs no more than this.
pub(crate) const PAGE_TICKS: usize = 512;
/// How many runs a read may cross.
const RUNS_MAX: u32 = 64;
/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The history of a feed, and how much of it may be read at one time.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    history: Arc<dyn History>,
    places: Arc<Semaphore>,
}

/// Where to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The tick before was given, or the subscriber has it: it must be there.
    Exact(Position),
    /// Some tick at or before the first wanted one must be there, or the beginning may have been dropped.
    Search,
    /// The first wanted tick itself is known to be the first.
    First,
}

/// What a subscriber needs to know next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Where a time begins.
    Since(UnixNanos),
    /// The next ticks.
    Page {
        from: Position,
        anchor: Anchor,
        /// The newest position that is known.
        newest: Position,
        /// Before anything is given: what is stored must reach up to this position.
        reach: Option<Position>,
    },
}

/// The answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Since(Since),
    /// Some of the wanted ticks, in order, without a hole.
    Ticks(Vec<Tick>),
    /// What is stored does not reach far enough yet.
    Behind,
    /// It cannot be.
    Never(NotRecovered),
    /// History does not answer, now or ever.
    Failed(HistoryError),
}

impl Archive {
    pub(crate) fn new(history: Arc<dyn History>, reads_max: usize) -> Self {
        Self { history, places: Arc::new(Semaphore::new(reads_max.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    pub(crate) async fn ask(self, instrument: Instrument, question: Question) -> Answer {
        let Ok(_place) = self.places.acquire().await else {
            return Answer::Behind;
        };
        let started = Instant::now();
        let answer = match timeout(STEP_TIMEOUT, self.answer(&instrument, question)).await {
            Ok(answer) => answer.unwrap_or_else(Answer::Failed),
            Err(elapsed) => Answer::Failed(HistoryError::Unavailable(elapsed.into())),
        };
        histogram!(names::HISTORY_READ).record(started.elapsed());
        counter!(names::HISTORY_READS, "outcome" => answer.outcome()).increment(1);
        if let Answer::Ticks(ticks) = &answer {
            counter!(names::HISTORY_TICKS).increment(ticks.len() as u64);
        }
        answer
    }

    async fn answer(&self, instrument: &Instrument, question: Question) -> Result<Answer, HistoryError> {
        let history = &*self.history;
        let (from, anchor, newest, reach) = match question {
            Question::Since(time) => return Ok(Answer::Since(history.since(instrument, time).await?)),
            Question::Page { from, anchor, newest, reach } => (from, anchor, newest, reach),
        };
        if newest.run.saturating_sub(from.run) > RUNS_MAX {
            return Ok(Answer::Never(NotRecovered::TooManyRuns));
        }
        if let Some(reach) = reach {
            let last = Position { sequence: u64::MAX, ..reach };
            if history.newest(instrument, last).await?.is_none_or(|stored| stored < reach) {
                return Ok(Answer::Behind);
            }
        }
        let anchor = match anchor {
            Anchor::Exact(position) => position,
            Anchor::First => from,
            Anchor::Search => match self.at_or_before(instrument, from).await? {
                Some(position) => position,
                None => return Ok(Answer::Never(NotRecovered::NotStored { wanted: from })),
            },
        };
        self.page(instrument, anchor, from, newest.run).await
    }

    /// The newest stored tick at or before `from`, in its run or the run before.
    async fn at_or_before(
        &self,
        instrument: &Instrument,
        from: Position,
    ) -> Result<Option<Position>, HistoryError> {
        if let Some(found) = self.history.newest(instrument, from).await? {
            return Ok(Some(found));
        }
        match from.run.checked_sub(1) {
            Some(run) => self.history.newest(instrument, Position { run, sequence: u64::MAX }).await,
            None => Ok(None),
        }
    }

    /// The ticks from `from` on. The first tick that is read must be the anchor: when it is gone, so may be what follows it.
    async fn page(
        &self,
        instrument: &Instrument,
        anchor: Position,
        from: Position,
        last_run: u32,
    ) -> Result<Answer, HistoryError> {
        let mut ticks = self.history.ticks(instrument, anchor, PAGE_TICKS).await?;
        match ticks.first().and_then(Tick::position) {
            Some(first) if first == anchor => {}
            Some(_) => return Ok(Answer::Never(NotRecovered::NotStored { wanted: anchor })),
            None => {
                // Nothing of the run at or after it: not stored yet, unless something later is.
                let later = self.later_run(instrument, anchor.run, last_run).await?;
                return Ok(match later {
                    Some(_) => Answer::Never(NotRecovered::NotStored { wanted: anchor }),
                    None => Answer::Behind,
                });
            }
        }
        let mut run = anchor.run;
        while ticks.len() < PAGE_TICKS {
            let Some(next) = self.later_run(instrument, run, last_run).await? else {
                break;
            };
            // Only now that a later run has begun is the end of this one stored for certain.
            let end = ticks.last().and_then(Tick::position).filter(|last| last.run == run);
            let rest_from = end.map_or(Position { run, sequence: 0 }, Position::next);
            let room = PAGE_TICKS - ticks.len();
            let rest = self.history.ticks(instrument, rest_from, room).await?;
            if !rest.is_empty() {
                ticks.extend(rest);
                continue;
            }
            run = next;
            let room = PAGE_TICKS - ticks.len();
            ticks.extend(self.history.ticks(instrument, Position { run, sequence: 0 }, room).await?);
        }
        if run > anchor.run {
            // Read in several steps: what is oldest is dropped first, so that nothing was dropped while it is still there.
            let oldest = self.history.ticks(instrument, anchor, 1).await?;
            if oldest.first().and_then(Tick::position) != Some(anchor) {
                return Ok(Answer::Never(NotRecovered::NotStored { wanted: anchor }));
            }
        }
        ticks.retain(|tick| tick.position().is_some_and(|position| position >= from));
        ticks.dedup_by_key(|tick| tick.position());
        Ok(if ticks.is_empty() { Answer::Behind } else { Answer::Ticks(ticks) })
    }

    /// The first run after `run` of which something is stored.
    async fn later_run(
        &self,
        instrument: &Instrument,
        run: u32,
        last_run: u32,
    ) -> Result<Option<u32>, HistoryError> {
        for run in run.saturating_add(1)..=last_run {
            if self.history.newest(instrument, Position { run, sequence: u64::MAX }).await?.is_some() {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }
}

impl Answer {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Since(_) | Self::Ticks(_) => "read",
            Self::Behind => "behind",
            Self::Never(_) => "never",
            Self::Failed(_) => "failed",
        }
    }
}
