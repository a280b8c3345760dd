//! What the API knows and how it finds it: the live state, the store, and what the roles say.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use domain::{Completeness, FeedState, Instrument, Snapshot, TimeRange, UnixNanos};
use live::LiveFeed;
use proto::v1;
use store::{AsOf, Order, Store, StoreError, TickQuery, TickRange};
use tonic::Status;

use crate::{
    board::Board,
    errors::{before_horizon, catching_up, invalid, nothing_stored, store_failed, unknown_product},
    open_gaps::OpenGaps,
    request,
};

/// The sources of every answer. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    pub(crate) live: LiveFeed,
    pub(crate) store: Store,
    pub(crate) board: Board,
    pub(crate) open_gaps: OpenGaps,
    /// The products that the feed is configured to follow, where that is known.
    pub(crate) configured: Option<Arc<BTreeSet<Instrument>>>,
    /// How large an answer may be.
    pub(crate) response_bytes_max: usize,
}

impl Market {
    /// The newest that is known of a product.
    pub(crate) fn latest(&self, instrument: &Instrument, now: UnixNanos) -> Result<v1::LatestPrice, Status> {
        match self.newest(instrument) {
            Some((snapshot, received)) => {
                let feed_state = self.feed_state(instrument, now).into();
                Ok(v1::LatestPrice { feed_state, ..proto::latest_price(&snapshot, received, None, now) })
            }
            None if self.live.is_caught_up() => Err(unknown_product(instrument)),
            None => Err(catching_up()),
        }
    }

    /// How the feed of a product is doing: live with a gap when trades of it are missing and may still come.
    pub(crate) fn feed_state(&self, instrument: &Instrument, now: UnixNanos) -> v1::FeedState {
        match self.board.feed_state(instrument, now) {
            Some(FeedState::Live) if self.open_gaps.has(instrument) => v1::FeedState::Gap,
            told => told.map_or(v1::FeedState::Unspecified, Into::into),
        }
    }

    /// The newest state of a product, and when its newest tick arrived: not known while the state is that of a snapshot.
    pub(crate) fn newest(&self, instrument: &Instrument) -> Option<(Arc<Snapshot>, Option<UnixNanos>)> {
        self.live.read(|state| {
            let received = state.newest_tick(instrument).map(|tick| tick.tick().receive_time);
            state.snapshot(instrument).map(|snapshot| (snapshot, received))
        })
    }

    /// Whether a product has been seen, live or in the store, be it only by what was fetched or is missing.
    pub(crate) async fn check_known(&self, instrument: &Instrument) -> Result<(), Status> {
        if self.live.snapshot(instrument).is_some() {
            return Ok(());
        }
        match self.store.knows(instrument).await.map_err(|error| store_failed(&error))? {
            true => Ok(()),
            false => Err(unknown_product(instrument)),
        }
    }

    /// The products that are known, live or in the store, by venue and name.
    pub(crate) async fn products(&self) -> Result<Vec<Instrument>, Status> {
        let stored = self.store.instruments().await.map_err(|error| store_failed(&error))?;
        let live = self.live.snapshots().into_iter().map(|snapshot| snapshot.instrument.clone());
        Ok(stored.into_iter().chain(live).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The part of history that a request names.
    pub(crate) fn tick_range(
        &self,
        instrument: &Instrument,
        time: Option<&v1::TimeRange>,
        sequence: Option<&v1::SequenceRange>,
    ) -> Result<TickRange, Status> {
        let Some(range) = sequence else {
            return Ok(TickRange::Time(request::time_range(time)?));
        };
        let newest_run = self.live.snapshot(instrument).map(|snapshot| snapshot.position.run);
        let run = match (range.run, newest_run) {
            (Some(run), _) | (None, Some(run)) => run,
            (None, None) if self.live.is_caught_up() => 0,
            (None, None) => return Err(catching_up()),
        };
        let from = range.start_sequence.unwrap_or(0);
        let until = range.end_sequence.unwrap_or(u64::MAX);
        if from >= until {
            let why = format!("start_sequence {from} is not below end_sequence {until}");
            return Err(invalid("sequence_range", why));
        }
        Ok(TickRange::Sequence { run, from, until })
    }

    /// The newest state of a product.
    pub(crate) async fn snapshot(&self, instrument: &Instrument) -> Result<v1::Snapshot, Status> {
        if let Some(snapshot) = self.live.snapshot(instrument) {
            return Ok(v1::Snapshot::from(&*snapshot));
        }
        let stored = self.store.snapshot(instrument).await.map_err(|error| store_failed(&error))?;
        let unknown = || nothing_stored(format!("no snapshot of {instrument} is known"));
        stored.map(|snapshot| v1::Snapshot::from(&snapshot)).ok_or_else(unknown)
    }

    /// What was known of a product at a time, by what is stored.
    pub(crate) async fn snapshot_as_of(
        &self,
        instrument: &Instrument,
        time: UnixNanos,
    ) -> Result<v1::Snapshot, Status> {
        match self.store.as_of(instrument, time).await.map_err(|error| store_failed(&error))? {
            AsOf::Known { state, position } => Ok(proto::past_snapshot(instrument, &state, position, time)),
            AsOf::Nothing => Err(nothing_stored(format!("nothing of {instrument} is stored as of {time}"))),
            AsOf::BeforeHorizon(horizon) => Err(before_horizon(time, horizon)),
        }
    }

    /// How complete a range of history is. The ticks of a range of sequences are judged with those that were fetched between
    /// the first and the last of them; `None` when there are none.
    pub(crate) async fn completeness(
        &self,
        instrument: &Instrument,
        range: TickRange,
    ) -> Result<Option<Completeness>, StoreError> {
        let time = match range {
            TickRange::Time(time) => time,
            TickRange::Sequence { .. } => {
                let first = self.edge(instrument, range, Order::Ascending).await?;
                let last = self.edge(instrument, range, Order::Descending).await?;
                let Some((from, last)) = first.zip(last) else { return Ok(None) };
                TimeRange { from, until: last.saturating_add(Duration::from_nanos(1)) }
            }
        };
        self.store.completeness(instrument, time).await.map(Some)
    }

    /// The event time of the first tick of a range in an order.
    async fn edge(
        &self,
        instrument: &Instrument,
        range: TickRange,
        order: Order,
    ) -> Result<Option<UnixNanos>, StoreError> {
        let query = TickQuery { instrument: instrument.clone(), range, order, after: None, limit: 1 };
        let ticks = self.store.ticks(&query).await?;
        Ok(ticks.first().map(|(key, _)| key.event_time))
    }
}

/// The order of a request of ticks.
pub(crate) fn order(number: i32) -> Result<Order, Status> {
    Ok(if request::descending(number)? { Order::Descending } else { Order::Ascending })
}
