//! The gaps that are to be fetched: which comes next, what an answer makes of them, and when to give one up.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use domain::{Gap, GapState, Instrument, Product};
use tokio::time::Instant;
use venues::coinbase::rest::TRADES_PER_PAGE_MAX;

use super::ranges::{Ranges, joined};

/// In how many pieces a gap is given up at most; each of them is an event.
const PIECES_MAX: usize = 100;
/// The longest delay of a gap after failures of the exchange, which are no reason to give it up.
const FAILURE_DELAY_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many gaps may wait.
    pub(super) gaps_max: usize,
    /// A gap of more trades is not fetched.
    pub(super) trades_max: u64,
    /// How often the exchange must have answered without a trade before the trade counts as gone.
    pub(super) attempts_max: u32,
    pub(super) attempt_delay_min: Duration,
}

impl Limits {
    /// How long to wait after so many attempts: each delay is three times the one before.
    fn delay(&self, attempts: u32) -> Duration {
        let factor = 3_u32.saturating_pow(attempts.saturating_sub(1));
        self.attempt_delay_min.saturating_mul(factor)
    }
}

/// What became of a gap that was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Taken,
    /// There was no room; a gap is forgotten for now, which may be this one.
    PutOff,
    /// Nobody will fetch it.
    TooLarge(Gap),
}

/// Gaps, the newest and the oldest first. Those of products that are not followed wait for the time when they are.
#[derive(Debug)]
pub(super) struct Wanted {
    limits: Limits,
    followed: HashSet<Product>,
    gaps: HashMap<Instrument, Vec<Entry>>,
    count: usize,
    /// Whose gaps had no room, and are to be opened once more.
    put_off: HashSet<Product>,
    /// The place in the order of the next gap.
    next_place: u64,
    /// Whose turn it is: the oldest gap's or the newest one's.
    oldest_is_next: bool,
}

#[derive(Debug)]
struct Entry {
    gap: Gap,
    place: u64,
    missing: Ranges,
    /// How often the exchange has answered without all of it.
    attempts: u32,
    /// How often in a row the exchange has failed over it.
    failures: u32,
    due: Instant,
}

/// Trades to be asked for: at most one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) instrument: Instrument,
    /// What to ask for; not all of it need be missing.
    pub(super) range: RangeInclusive<u64>,
    /// What of it is missing.
    pub(super) missing: Vec<Ranges>,
}

impl Job {
    pub(super) fn wants(&self, trade_id: u64) -> bool {
        self.missing.iter().any(|ranges| ranges.contains(trade_id))
    }
}

impl Wanted {
    pub(super) fn new(limits: Limits) -> Self {
        let (followed, put_off) = (HashSet::new(), HashSet::new());
        Self {
            limits,
            followed,
            gaps: HashMap::new(),
            count: 0,
            put_off,
            next_place: 0,
            oldest_is_next: false,
        }
    }

    /// Only gaps of these products are fetched.
    pub(super) fn follow(&mut self, products: impl IntoIterator<Item = Product>) {
        self.followed = products.into_iter().collect();
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn clear(&mut self) {
        self.gaps.clear();
        self.count = 0;
        self.put_off.clear();
    }

    /// Whether the gaps that had no room have it now: nothing else is to be fetched. Says so once.
    pub(super) fn takes_up_put_off(&mut self) -> bool {
        let is_time = self.ours().next().is_none() && !self.put_off.is_disjoint(&self.followed);
        if is_time {
            self.put_off.clear();
        }
        is_time
    }

    /// A gap was found; it is not fetched before `due`.
    pub(super) fn open(&mut self, gap: Gap, due: Instant) -> Opened {
        let missing = Ranges::of(gap.first_trade_id, gap.last_trade_id);
        if missing.count() > self.limits.trades_max {
            return Opened::TooLarge(Gap { state: GapState::Unrepairable, ..gap });
        }
        let same = |entry: &Entry| {
            (entry.gap.first_trade_id, entry.gap.last_trade_id) == (gap.first_trade_id, gap.last_trade_id)
        };
        let entries = self.gaps.entry(gap.instrument.clone()).or_default();
        if missing.is_empty() || entries.iter().any(same) {
            return Opened::Taken;
        }
        entries.push(Entry { gap, place: self.next_place, missing, attempts: 0, failures: 0, due });
        self.next_place += 1;
        self.count += 1;
        if self.count <= self.limits.gaps_max {
            return Opened::Taken;
        }
        self.put_oldest_off();
        Opened::PutOff
    }

    /// These trades are there, or known to be gone.
    pub(super) fn close(&mut self, gap: &Gap) {
        let range = gap.first_trade_id..=gap.last_trade_id;
        if let Some(entries) = self.gaps.get_mut(&gap.instrument) {
            entries.iter_mut().for_each(|entry| entry.missing.remove(&range));
        }
        self.drop_done(&gap.instrument);
    }

    /// What to ask for next: of the newest gap that is due and of the oldest one in turns, so that neither what happened just
    /// now waits for a long past nor the past for the end of what is happening; and with it whatever else is missing within one
    /// page. Gaps over which the exchange has failed come after the others, and alone: the fault may be in their trades.
    pub(super) fn next(&mut self, now: Instant) -> Option<Job> {
        let due = self.ours().filter(|entry| entry.due <= now);
        let chosen = if self.oldest_is_next {
            due.min_by_key(|entry| (entry.failures, entry.place))?
        } else {
            due.max_by_key(|entry| (Reverse(entry.failures), entry.place))?
        };
        let entries = self.gaps.get(&chosen.gap.instrument)?;
        let (first, last) = (chosen.missing.first()?, chosen.missing.last()?);
        let width = u64::from(TRADES_PER_PAGE_MAX) - 1;
        let page = if self.oldest_is_next {
            first..=first.saturating_add(width)
        } else {
            // From the old end on, so that trades come in their order; a small gap is asked for up to its end, and with it its
            // older neighbours.
            let last = last.min(first.saturating_add(width));
            last.saturating_sub(width)..=last
        };
        let is_sound = |entry: &Entry| entry.failures == 0 && chosen.failures == 0;
        let along = entries.iter().filter(|entry| entry.place == chosen.place || is_sound(entry));
        let within: Vec<_> = along.filter_map(|entry| entry.missing.within(&page)).collect();
        let range = *within.iter().map(RangeInclusive::start).min()?
            ..=*within.iter().map(RangeInclusive::end).max()?;
        let missing = entries.iter().filter(|entry| entry.missing.intersects(&range));
        let missing = missing.map(|entry| entry.missing.clone()).collect();
        let job = Job { instrument: chosen.gap.instrument.clone(), range, missing };
        self.oldest_is_next = !self.oldest_is_next;
        Some(job)
    }

    /// When the next gap is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.ours().map(|entry| entry.due).min()
    }

    fn ours(&self) -> impl Iterator<Item = &Entry> {
        let ours = self.gaps.iter().filter(|(instrument, _)| self.followed.contains(&instrument.product));
        ours.flat_map(|(_, entries)| entries)
    }

    /// The exchange has answered: `trades` are published, in ascending order, and `absent` it has not got. Returns what is
    /// given up, as gaps of exactly those trades.
    pub(super) fn settle(
        &mut self,
        job: &Job,
        trades: &[u64],
        absent: &[RangeInclusive<u64>],
        now: Instant,
    ) -> Vec<Gap> {
        let Some(entries) = self.gaps.get_mut(&job.instrument) else { return Vec::new() };
        let published = joined(trades.iter().copied());
        let mut lost = Vec::new();
        for entry in entries.iter_mut().filter(|entry| entry.missing.intersects(&job.range)) {
            entry.failures = 0;
            published.iter().for_each(|range| entry.missing.remove(range));
            if !absent.iter().any(|range| entry.missing.intersects(range)) {
                continue;
            }
            entry.attempts += 1;
            if entry.attempts < self.limits.attempts_max {
                entry.due = now + self.limits.delay(entry.attempts);
            } else {
                lost.extend(given_up(entry));
                entry.missing = Ranges::default();
            }
        }
        self.drop_done(&job.instrument);
        lost
    }

    /// The exchange has failed over a job: all that is known is that others come first for a while.
    pub(super) fn put_back(&mut self, job: &Job, now: Instant) {
        let entries = self.gaps.get_mut(&job.instrument).into_iter().flatten();
        for entry in entries.filter(|entry| entry.missing.intersects(&job.range)) {
            entry.failures = entry.failures.saturating_add(1);
            let delay = self.limits.delay(entry.failures).min(FAILURE_DELAY_MAX);
            entry.due = entry.due.max(now + delay);
        }
    }

    fn drop_done(&mut self, instrument: &Instrument) {
        let Some(entries) = self.gaps.get_mut(instrument) else { return };
        let before = entries.len();
        entries.retain(|entry| !entry.missing.is_empty());
        self.count -= before - entries.len();
        if entries.is_empty() {
            self.gaps.remove(instrument);
        }
    }

    /// What nobody follows goes first: it would keep the room for ever.
    fn put_oldest_off(&mut self) {
        let entries = self.gaps.values().flatten();
        let order = |entry: &&Entry| (self.followed.contains(&entry.gap.instrument.product), entry.place);
        let Some(oldest) = entries.min_by_key(order) else { return };
        let (instrument, place) = (oldest.gap.instrument.clone(), oldest.place);
        if let Some(entries) = self.gaps.get_mut(&instrument) {
            entries.retain(|entry| entry.place != place);
            if entries.is_empty() {
                self.gaps.remove(&instrument);
            }
        }
        self.count -= 1;
        self.put_off.insert(instrument.product);
    }
}

/// What is still missing of a gap, piece by piece; in too many pieces, the gap as a whole.
fn given_up(entry: &Entry) -> Vec<Gap> {
    let whole = [entry.gap.first_trade_id..=entry.gap.last_trade_id];
    let pieces = entry.missing.as_slice();
    let pieces = if pieces.len() > PIECES_MAX { &whole } else { pieces };
    let given_up = pieces.iter().map(|piece| Gap {
        first_trade_id: *piece.start(),
        last_trade_id: *piece.end(),
        state: GapState::Unrepairable,
        ..entry.gap.clone()
    });
    given_up.collect()
}

#[cfg(test)]
mod tests;
