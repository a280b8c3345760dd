//! One series: how it begins, grows and is told.
//!
//! It begins in the middle of an interval, and the open candle must be right all the same. Let M be the start of the minute
//! before the running one, or the start of the interval if that is later. Ticks from M on come from the subscription engine,
//! which joins history and the stream without a seam. The minutes before M come from `ListCandles`, after what was the newest
//! tick when the series began is stored: no trade before M is still on its way then.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{Candle, CandleState, Instrument, Interval, MINUTE, UnixNanos};
use futures::future::BoxFuture;
use live::{CandleBuilder, Closed, Delivery, Ended, Event, LiveFeed, Policy, Products, Start, Subscription};
use prost::Message;
use proto::v1::{self, StreamCandlesResponse, stream_candles_response};
use runtime::ErrorChain;
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, warn};

use super::{
    View,
    source::{self, SourceError},
};
use crate::history::QueryHistory;

/// At most one open candle in this time: four per second.
const OPEN_PERIOD: Duration = Duration::from_millis(250);
/// After how long a series that could not begin tries again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
const BATCH_MAX: usize = 1_024;
/// What a series of a product that nothing is known of begins with.
const BEFORE_ALL: UnixNanos = UnixNanos::new(0);
/// The most candles that wait to be told because history does not have them yet.
const CLOSING_MAX: usize = 1_024;

/// Where a series is shown.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) shown: watch::Sender<Arc<View>>,
    pub(super) changes: watch::Sender<u64>,
}

impl Stage {
    fn show(&self, change: impl FnOnce(&mut View)) {
        self.shown.send_modify(|view| change(Arc::make_mut(view)));
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }
}

/// Why a series has to begin anew.
#[derive(Debug, Error)]
enum Broken {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("the ticks of the running candle are not there: {0}")]
    NotRecovered(live::NotRecovered),
    #[error("too many candles wait to be stored")]
    TooManyClosing,
}

type Ending = BoxFuture<'static, Result<Vec<v1::Candle>, SourceError>>;

/// A series that grows.
struct Growing {
    instrument: Instrument,
    interval: Interval,
    history: QueryHistory,
    builder: CandleBuilder,
    stage: Stage,
    /// Everything from the past is in.
    is_live: bool,
    /// The open candle has changed since it was shown last.
    is_changed: bool,
    show_at: Instant,
    /// Ended, and not told yet.
    closing: VecDeque<Closed>,
    /// The oldest of them, on its way from history.
    ending: Option<Ending>,
    /// Up to where candles that have ended were told.
    told_until: UnixNanos,
}

/// Builds the series for as long as it is not aborted.
pub(super) async fn build(
    feed: LiveFeed,
    history: QueryHistory,
    instrument: Instrument,
    interval: Interval,
    stage: Stage,
) {
    let mut stage = stage;
    loop {
        let (broken, back) = begin(&feed, &history, &instrument, interval, stage).await;
        stage = back;
        let why = ErrorChain(&broken).to_string();
        debug!(%instrument, ?interval, error = why, "a series of candles begins anew");
        stage.show(|view| view.failed = Some(why));
        sleep(RETRY_DELAY).await;
    }
}

async fn begin(
    feed: &LiveFeed,
    history: &QueryHistory,
    instrument: &Instrument,
    interval: Interval,
    stage: Stage,
) -> (Broken, Stage) {
    // Where those who watch it already have come to.
    let told_until = stage.shown.borrow().told_until;
    let mut growing = Growing {
        instrument: instrument.clone(),
        interval,
        history: history.clone(),
        builder: CandleBuilder::new(interval, BEFORE_ALL),
        stage,
        is_live: false,
        is_changed: false,
        show_at: Instant::now(),
        closing: VecDeque::new(),
        ending: None,
        told_until: told_until.unwrap_or(BEFORE_ALL),
    };
    let broken = match growing.grow(feed, told_until).await {
        Ok(never) => match never {},
        Err(broken) => broken,
    };
    (broken, growing.stage)
}

impl Growing {
    async fn grow(
        &mut self,
        feed: &LiveFeed,
        told_until: Option<UnixNanos>,
    ) -> Result<std::convert::Infallible, Broken> {
        // A product that was not heard of yet would be taken for a new one, whose first candle begins with its next tick.
        feed.caught_up().await;
        let newest = feed.snapshot(&self.instrument);
        let start = match newest.as_ref().and_then(|newest| exchange_time(feed, newest)) {
            None => Start::Now,
            Some(time) => {
                self.builder = CandleBuilder::new(self.interval, time);
                let minutes = time.floor_to(MINUTE).saturating_sub(MINUTE).max(self.builder.start());
                let (from, through) = (self.builder.start(), newest.map(|newest| newest.position));
                if from < minutes {
                    let range = (from, minutes);
                    let seed =
                        source::ended(&self.history, &self.instrument, Interval::OneMinute, range, through);
                    for candle in seed.await? {
                        if let Some(bar) = source::bar(&candle)? {
                            self.builder.seed(&bar);
                        }
                    }
                }
                Start::Time(minutes)
            }
        };
        self.told_until = told_until.unwrap_or(self.builder.start());
        let products = Products::These(vec![self.instrument.clone()]);
        let mut subscription = Subscription::new(feed, products, &start, Policy::Lossless);
        loop {
            self.end_next();
            let ends_in = self.builder.ends_in(UnixNanos::now()).filter(|_| self.is_live);
            tokio::select! {
                batch = subscription.next_batch(BATCH_MAX) => {
                    for delivery in batch? {
                        self.take(delivery)?;
                    }
                }
                () = after(ends_in) => {
                    let closed = self.builder.end();
                    // A quiet product has nothing to tell until something happens again.
                    if closed.bar.is_some() {
                        self.close(closed)?;
                    }
                }
                candles = ending(&mut self.ending) => self.ended(candles),
                () = sleep_until(self.show_at), if self.is_changed && self.is_live => self.show_open(),
            }
        }
    }

    fn take(&mut self, delivery: Delivery) -> Result<(), Broken> {
        match delivery {
            Delivery::Tick { tick, .. } => {
                if self.builder.start() == BEFORE_ALL {
                    // The first of its product.
                    self.builder = CandleBuilder::new(self.interval, tick.tick().event_time);
                    self.told_until = self.told_until.max(self.builder.start());
                    let told_until = self.told_until;
                    self.stage.show(|view| view.told_until = Some(told_until));
                }
                let closed = self.builder.add(tick.tick());
                self.is_changed |= tick.tick().last_trade.is_some();
                closed.map_or(Ok(()), |closed| self.close(closed))
            }
            Delivery::Event(Event::Live) => {
                self.is_live = true;
                let told_until = self.told_until;
                self.stage.show(|view| {
                    view.told_until = Some(told_until);
                    view.failed = None;
                });
                Ok(())
            }
            Delivery::Event(Event::NotRecovered { reason, .. }) => Err(Broken::NotRecovered(reason)),
            Delivery::Event(_) | Delivery::Snapshot { .. } => Ok(()),
        }
    }

    fn close(&mut self, closed: Closed) -> Result<(), Broken> {
        if self.closing.len() >= CLOSING_MAX {
            return Err(Broken::TooManyClosing);
        }
        self.closing.push_back(closed);
        // What was open is not, from now on.
        self.stage.show(|view| view.open = None);
        Ok(())
    }

    /// Asks history for the next candle that has ended.
    fn end_next(&mut self) {
        if self.ending.is_some() || !self.is_live {
            return;
        }
        let Some(closed) = self.closing.front() else { return };
        let (history, instrument) = (self.history.clone(), self.instrument.clone());
        let (interval, range, through) = (self.interval, (self.told_until, closed.until), closed.through);
        self.ending =
            Some(Box::pin(
                async move { source::ended(&history, &instrument, interval, range, through).await },
            ));
    }

    /// Tells what has ended: as history has it, or, when it does not answer in time, as it was built here.
    fn ended(&mut self, candles: Result<Vec<v1::Candle>, SourceError>) {
        self.ending = None;
        let Some(closed) = self.closing.pop_front() else { return };
        let candles = candles.unwrap_or_else(|error| {
            let why = ErrorChain(&error).to_string();
            warn!(instrument = %self.instrument, error = why, "a candle has ended and history does not tell it");
            let built = closed.bar.map(|bar| self.candle(bar, None));
            built.into_iter().collect()
        });
        self.told_until = closed.until;
        self.stage.show(|view| {
            view.told_until = Some(closed.until);
            for candle in candles {
                view.push_closed(frame(candle));
            }
        });
    }

    fn show_open(&mut self) {
        self.is_changed = false;
        self.show_at = Instant::now() + OPEN_PERIOD;
        let Some(bar) = self.builder.open() else { return };
        let open = frame(self.candle(bar.clone(), Some(CandleState::Open)));
        self.stage.show(|view| {
            view.open = Some(open);
            view.open_version += 1;
        });
    }

    fn candle(&self, bar: domain::Bar, state: Option<CandleState>) -> v1::Candle {
        let candle = Candle { interval: self.interval, bar, state, completeness: None };
        proto::candle(&self.instrument, &candle)
    }
}

/// The time of the exchange's clock, by the newest tick and the time since it came.
fn exchange_time(feed: &LiveFeed, newest: &domain::Snapshot) -> Option<UnixNanos> {
    let tick = feed.read(|state| state.newest_tick(&newest.instrument).cloned());
    let (event, received) = match tick {
        Some(tick) => (tick.tick().event_time, tick.tick().receive_time),
        None => (newest.state.updated_at()?, newest.snapshot_time),
    };
    Some(event.saturating_add(UnixNanos::now().saturating_since(received)))
}

pub(crate) fn frame(candle: v1::Candle) -> Bytes {
    let message = Some(stream_candles_response::Message::Candle(candle));
    StreamCandlesResponse { message }.encode_to_vec().into()
}

async fn after(delay: Option<Duration>) {
    match delay {
        Some(delay) => sleep(delay).await,
        None => std::future::pending().await,
    }
}

async fn ending(ending: &mut Option<Ending>) -> Result<Vec<v1::Candle>, SourceError> {
    match ending {
        Some(ending) => ending.await,
        None => std::future::pending().await,
    }
}
