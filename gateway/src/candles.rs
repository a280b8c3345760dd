//! Candles as they form: one series for each product and interval that somebody watches, shared by all who do.
//!
//! A series is built from every tick of its product, never from what a client is sent. It begins where the running interval
//! begins: whole minutes come from history, what follows from the tick stream (see `series`). A candle that has ended is
//! told as history has it, once history has it: so it equals `ListCandles`, its state included.

mod series;
mod source;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use domain::{Instrument, Interval, UnixNanos};
use live::LiveFeed;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::history::QueryHistory;

pub(crate) use series::frame;
pub(crate) use source::request;

/// The most series at one time: products times intervals.
const SERIES_MAX: usize = 20_000;
/// How many candles that have ended are kept for clients that are slow.
const CLOSED_KEPT: usize = 64;

/// All series. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Candles {
    feed: LiveFeed,
    history: QueryHistory,
    series: Arc<Mutex<Watched>>,
    /// Goes up with each change of any series.
    changes: watch::Sender<u64>,
}

/// The series that somebody may still hold.
type Watched = HashMap<(Instrument, Interval), Weak<Series>>;

/// One series, for as long as somebody holds it.
#[derive(Debug)]
pub(crate) struct Series {
    view: watch::Receiver<Arc<View>>,
    _building: AbortOnDropHandle<()>,
}

/// What a series has to show.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Candles that start before this time are history, or are among those that have ended here; the others will be told.
    /// `None` until the series has begun.
    pub(crate) told_until: Option<UnixNanos>,
    /// Why it could not begin yet, at the latest attempt.
    pub(crate) failed: Option<String>,
    /// The open candle, encoded.
    pub(crate) open: Option<Bytes>,
    /// Which open candle it is: goes up with each.
    pub(crate) open_version: u64,
    /// The newest candles that have ended, encoded.
    closed: VecDeque<Bytes>,
    /// How many have ended before those.
    closed_before: u64,
}

impl View {
    /// How many candles have ended since the series began.
    pub(crate) fn closed_count(&self) -> u64 {
        self.closed_before + self.closed.len() as u64
    }

    /// The candle that ended as the `index`th; `None` when it is no longer kept.
    pub(crate) fn closed(&self, index: u64) -> Option<&Bytes> {
        let offset = usize::try_from(index.checked_sub(self.closed_before)?).ok()?;
        self.closed.get(offset)
    }

    fn push_closed(&mut self, frame: Bytes) {
        self.closed.push_back(frame);
        if self.closed.len() > CLOSED_KEPT {
            self.closed.pop_front();
            self.closed_before += 1;
        }
    }
}

impl Series {
    /// What it shows now.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }
}

impl Candles {
    pub(crate) fn new(feed: LiveFeed, history: QueryHistory) -> Self {
        Self { feed, history, series: Arc::default(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn feed(&self) -> &LiveFeed {
        &self.feed
    }

    pub(crate) fn history(&self) -> &QueryHistory {
        &self.history
    }

    /// Wakes with each change of any series.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The series of a product, which is begun when nobody watches it yet; `None` when there are too many.
    pub(crate) fn series(&self, instrument: &Instrument, interval: Interval) -> Option<Arc<Series>> {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (instrument.clone(), interval);
        if let Some(known) = all.get(&key).and_then(Weak::upgrade) {
            return Some(known);
        }
        if all.len() >= SERIES_MAX {
            all.retain(|_, series| series.strong_count() > 0);
            if all.len() >= SERIES_MAX {
                return None;
            }
        }
        let (shown, view) = watch::channel(Arc::default());
        let stage = series::Stage { shown, changes: self.changes.clone() };
        let building =
            series::build(self.feed.clone(), self.history.clone(), instrument.clone(), interval, stage);
        let building = AbortOnDropHandle::new(tokio::spawn(building));
        let series = Arc::new(Series { view, _building: building });
        all.insert(key, Arc::downgrade(&series));
        Some(series)
    }
}
