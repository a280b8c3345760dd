//! How a product comes from the past into the present.
//!
//! What is in memory is preferred: when the ring reaches back to the wanted place, it is read from there. Otherwise the
//! oldest position in the ring is noted, and history is read page by page from the wanted place on; after each page it is
//! looked at again whether the ring, which has moved on meanwhile, reaches back to where the subscriber has come to. So
//! the seam is one comparison of positions, and neither the length of history nor the pace of the market matters.
//!
//! All or nothing: before the first tick is given, the beginning must be there (the tick that the subscriber has, or one
//! at or before the wanted place, is stored), and what is stored must reach up to the ring; the writer stores in the order
//! of the stream, so that nothing in between can be missing. Each page begins with the last tick of the one before: when
//! retention has overtaken a slow reader, it is gone, and the subscription ends with a token instead of going on beyond a
//! hole.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{Instrument, Position, Tick, UnixNanos};

use super::cursor::Moment;
use crate::{
    HistoryError, LiveState, NotRecovered, Since, Start,
    archive::{Anchor, Answer, Question},
    epoch::EpochId,
    state::Market,
};

/// How long what is missing is waited for: for the store to reach the ring, for the stream to reach a position that is
/// ahead of it, for history to answer again.
const PATIENCE: Duration = Duration::from_secs(10);
/// After how long it is asked again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// A product that is on its way into the present.
#[derive(Debug)]
pub(super) struct CatchUp {
    want: Want,
    /// The epoch in which the wanted place was given out; `None` when it is as good in any.
    epoch: Option<EpochId>,
    /// Read and not given yet.
    page: VecDeque<Tick>,
    /// Something was given: from here on it is the whole or an end.
    is_begun: bool,
    /// The number of the question that is on its way: any other answer is to a question that somebody else asked.
    asking: Option<u64>,
    waiting: Option<Waiting>,
    failed: Option<NotRecovered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// What happened since.
    Since(UnixNanos),
    /// From this sequence of the newest run.
    Sequence(u64),
    /// From this position.
    From { from: Position, anchor: Anchor },
}

/// In vain, so far.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    again: Instant,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Next {
    /// Go on in the ring at this index.
    Join(u64),
    /// Nothing of the product is known: everything that comes is new.
    Unborn,
    /// Give what was read.
    Give,
    /// Ask history, when its turn comes.
    Ask(Question),
    /// Look again at this time, or when the state has changed.
    Again(Instant),
    /// The answer is on its way.
    Asking,
    /// It cannot be.
    Fail(NotRecovered),
}

impl CatchUp {
    /// `None` for a start in the present.
    pub(super) fn new(start: &Start, instrument: &Instrument) -> Option<Self> {
        let after =
            |position: Position| Want::From { from: position.next(), anchor: Anchor::Exact(position) };
        let (want, epoch) = match start {
            Start::Now | Start::Snapshot => return None,
            Start::Time(time) => (Want::Since(*time), None),
            Start::Sequence(sequence) => (Want::Sequence(*sequence), None),
            Start::After(position) => (after(*position), None),
            Start::Token(token) => {
                let want = match token.place(instrument).map(|place| place.position) {
                    Some(Some(position)) => after(position),
                    // It was not there when the token was made: everything of it is new.
                    Some(None) => Want::Since(UnixNanos::MIN),
                    None if token.left().contains(instrument) => return None,
                    None if token.is_of_all() => Want::Since(UnixNanos::MIN),
                    None => return None,
                };
                (want, Some(token.epoch()))
            }
        };
        Some(Self::of(want, epoch))
    }

    /// After the last tick that was given, because the stream has lost what follows.
    pub(super) fn after(position: Position, epoch: Option<EpochId>) -> Self {
        let want = Want::From { from: position.next(), anchor: Anchor::Exact(position) };
        Self::of(want, epoch)
    }

    fn of(want: Want, epoch: Option<EpochId>) -> Self {
        Self {
            want,
            epoch,
            page: VecDeque::new(),
            is_begun: false,
            asking: None,
            waiting: None,
            failed: None,
        }
    }

    /// The last position before what is wanted, where it is known: where a token may resume.
    pub(super) fn place(&self) -> Option<Position> {
        match self.want {
            Want::From { anchor: Anchor::Exact(position), .. } => Some(position),
            Want::From { .. } | Want::Since(_) | Want::Sequence(_) => None,
        }
    }

    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// The product has been given in part before this.
    pub(super) fn begun(mut self) -> Self {
        self.is_begun = true;
        self
    }

    /// Whether it holds ticks or waits for some.
    pub(super) fn is_loaded(&self) -> bool {
        self.asking.is_some() || !self.page.is_empty()
    }

    /// Whether the answer to this question is still waited for.
    pub(super) fn is_asking(&self, number: u64) -> bool {
        self.asking == Some(number)
    }

    /// The next tick that was read.
    pub(super) fn take(&mut self) -> Option<Tick> {
        let tick = self.page.pop_front()?;
        if let Some(position) = tick.position() {
            self.want = Want::From { from: position.next(), anchor: Anchor::Exact(position) };
        }
        self.is_begun = true;
        Some(tick)
    }

    /// What is to be done now.
    pub(super) fn next(&mut self, state: &LiveState, market: Option<&Market>, moment: Moment) -> Next {
        let now = moment.now;
        if let Some(reason) = self.failed.take() {
            return Next::Fail(reason);
        }
        if let Some(epoch) = self.epoch {
            match state.epoch() {
                Some(known) if known == epoch => {}
                Some(_) => return Next::Fail(NotRecovered::OtherHistory),
                None => return self.wait(NotRecovered::UnknownHistory, now),
            }
        }
        if !self.page.is_empty() {
            return Next::Give;
        }
        if self.asking.is_some() {
            return Next::Asking;
        }
        match (self.want, market) {
            (Want::Since(_) | Want::Sequence(_), None) if moment.is_caught_up => Next::Unborn,
            (Want::Since(_) | Want::Sequence(_), None) => self.wait(NotRecovered::UnknownHistory, now),
            (Want::From { from, .. }, None) => self.wait(NotRecovered::Ahead { wanted: from }, now),
            (Want::Sequence(sequence), Some(market)) => {
                let from = Position { sequence, ..market.snapshot.position };
                self.want = Want::From { from, anchor: Anchor::Search };
                self.from(from, Anchor::Search, market, moment)
            }
            (Want::Since(time), Some(market)) => match market.ring.position_since(time) {
                Some(from) => {
                    self.want = Want::From { from, anchor: Anchor::First };
                    self.from(from, Anchor::First, market, moment)
                }
                None => self.ask(Question::Since(time), moment),
            },
            (Want::From { from, anchor }, Some(market)) => self.from(from, anchor, market, moment),
        }
    }

    fn from(&mut self, from: Position, anchor: Anchor, market: &Market, moment: Moment) -> Next {
        let newest = market.snapshot.position;
        if from > newest.next() {
            return self.wait(NotRecovered::Ahead { wanted: from }, moment.now);
        }
        if let Some(index) = market.ring.index_from(from) {
            return Next::Join(index);
        }
        let oldest = market.ring.oldest().map_or(newest, |tick| tick.position());
        let reach = (!self.is_begun).then_some(oldest);
        self.ask(Question::Page { from, anchor, newest, reach }, moment)
    }

    fn ask(&self, question: Question, moment: Moment) -> Next {
        if !moment.can_ask {
            return Next::Fail(NotRecovered::NoHistory);
        }
        match &self.waiting {
            Some(waiting) if waiting.again > moment.now => Next::Again(waiting.again),
            _ => Next::Ask(question),
        }
    }

    /// Waits on for what is missing, or gives up.
    fn wait(&mut self, reason: NotRecovered, now: Instant) -> Next {
        let waiting = self.waiting.get_or_insert(Waiting { since: now, again: now });
        if now >= waiting.since + PATIENCE {
            return Next::Fail(reason);
        }
        waiting.again = (now + RETRY_DELAY).min(waiting.since + PATIENCE);
        Next::Again(waiting.again)
    }

    /// What history is to be asked now, as the question of this number.
    pub(super) fn question(
        &mut self,
        number: u64,
        state: &LiveState,
        market: Option<&Market>,
        moment: Moment,
    ) -> Option<Question> {
        match self.next(state, market, moment) {
            Next::Ask(question) => {
                self.asking = Some(number);
                Some(question)
            }
            Next::Fail(reason) => {
                self.failed = Some(reason);
                None
            }
            _ => None,
        }
    }

    /// Takes in what history says to the question of this number.
    pub(super) fn answered(&mut self, number: u64, answer: Answer, market: Option<&Market>, now: Instant) {
        if !self.is_asking(number) {
            return;
        }
        self.asking = None;
        let missing = match answer {
            Answer::Ticks(ticks) => {
                self.page = ticks.into();
                self.waiting = None;
                return;
            }
            Answer::Since(since) => match self.located(since, market) {
                Ok(true) => return,
                Ok(false) => NotRecovered::Behind,
                Err(reason) => return self.failed = Some(reason),
            },
            Answer::Behind => NotRecovered::Behind,
            Answer::Never(reason) => return self.failed = Some(reason),
            Answer::Failed(error) => {
                let is_final = matches!(error, HistoryError::Refused(_));
                let reason = NotRecovered::History(Arc::new(error));
                if is_final {
                    return self.failed = Some(reason);
                }
                reason
            }
        };
        if let Next::Fail(reason) = self.wait(missing, now) {
            self.failed = Some(reason);
        }
    }

    /// Whether the wanted time has a place now.
    fn located(&mut self, since: Since, market: Option<&Market>) -> Result<bool, NotRecovered> {
        let Want::Since(time) = self.want else {
            return Ok(true);
        };
        if let Some(horizon) = since.horizon.filter(|horizon| *horizon > time) {
            return Err(NotRecovered::BeforeHorizon { horizon });
        }
        let from = match (since.first, market) {
            (Some(first), _) => Some(first),
            // Nothing has happened since: the state that is known is stored, and there is no tick beyond it.
            (None, Some(market)) if market.ring.oldest().is_none() => Some(market.snapshot.position.next()),
            (None, _) => None,
        };
        if let Some(from) = from {
            self.want = Want::From { from, anchor: Anchor::First };
            self.waiting = None;
        }
        Ok(from.is_some())
    }
}
