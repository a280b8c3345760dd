//! What the API knows and how it finds it: the live state, the store, and what the roles say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{Instrument, Snapshot, UnixNanos};
use live::LiveFeed;
use proto::v1;
use store::{AsOf, Order, Store, TickRange};
use tonic::Status;

use crate::{
    board::Board,
    errors::{before_horizon, catching_up, invalid, nothing_stored, store_failed, unknown_product},
    request,
};

/// The sources of every answer. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    pub(crate) live: LiveFeed,
    pub(crate) store: Store,
    pub(crate) board: Board,
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
                Ok(proto::latest_price(&snapshot, received, self.board.feed_state(now), now))
            }
            None if self.live.is_caught_up() => Err(unknown_product(instrument)),
            None => Err(catching_up()),
        }
    }

    /// The newest state of a product, and when its newest tick arrived: not known while the state is that of a snapshot.
    fn newest(&self, instrument: &Instrument) -> Option<(Arc<Snapshot>, Option<UnixNanos>)> {
        self.live.read(|state| {
            let received = state.newest_tick(instrument).map(|tick| tick.tick().receive_time);
            state.snapshot(instrument).map(|snapshot| (snapshot, received))
        })
    }

    /// Whether a product has been seen, live or in the store.
    pub(crate) async fn check_known(&self, instrument: &Instrument) -> Result<(), Status> {
        if self.live.snapshot(instrument).is_some() {
            return Ok(());
        }
        let stored = self.store.latest(instrument).await.map_err(|error| store_failed(&error))?;
        stored.map(|_| ()).ok_or_else(|| unknown_product(instrument))
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

    /// Each product, each hop, each role. Only `wanted` products, or all when there are none.
    pub(crate) async fn pipeline(
        &self,
        wanted: &[Instrument],
        now: UnixNanos,
    ) -> Result<v1::GetPipelineStatusResponse, Status> {
        let statuses = self.board.statuses(now);
        let products = if wanted.is_empty() { self.products().await? } else { wanted.to_vec() };
        let mut stored = BTreeMap::new();
        for status in statuses.iter().filter(|status| status.role == "snapshotter") {
            stored.extend(status.progress.iter().map(|progress| (progress.instrument.clone(), progress)));
        }
        let feed_state = self.board.feed_state(now).map_or(v1::FeedState::Unspecified, Into::into);
        let mut reports = Vec::with_capacity(products.len());
        for instrument in &products {
            let (live, received) = self.newest(instrument).unzip();
            if live.is_none() && !wanted.is_empty() {
                self.check_known(instrument).await?;
            }
            let progress = stored.get(instrument);
            let updated = live.as_ref().and_then(|snapshot| snapshot.state.updated_at());
            let trade = live.as_ref().and_then(|snapshot| snapshot.state.last_trade.as_ref());
            reports.push(v1::ProductStatus {
                venue: instrument.venue.to_string(),
                product: instrument.product.to_string(),
                shard: progress.map(|progress| u32::from(progress.shard)),
                run: live.as_ref().map_or(0, |snapshot| snapshot.position.run),
                last_sequence: live.as_ref().map(|snapshot| snapshot.position.sequence),
                last_trade_id: trade.and_then(|(trade, _)| trade.trade_id),
                last_event_time: updated.map(proto::timestamp),
                age: updated.map(|at| proto::duration(now.saturating_since(at))),
                last_receive_time: received.flatten().map(proto::timestamp),
                feed_state: feed_state.into(),
                stored_sequence: progress.map(|progress| progress.position.sequence),
                stored_run: progress.map(|progress| progress.position.run),
                ..v1::ProductStatus::default()
            });
        }
        let hop = |hop: crate::board::Hop| v1::HopStatus {
            role: hop.role.to_owned(),
            shard: u32::from(hop.shard),
            pending_messages: hop.lag.map(|lag| lag.pending_messages),
            unacknowledged_messages: hop.lag.map(|lag| lag.unacknowledged),
            lag: None,
        };
        Ok(v1::GetPipelineStatusResponse {
            report_time: Some(proto::timestamp(now)),
            products: reports,
            hops: self.board.hops().into_iter().map(hop).collect(),
            roles: statuses.iter().map(v1::RoleStatus::from).collect(),
        })
    }
}

/// The order of a request of ticks.
pub(crate) fn order(number: i32) -> Result<Order, Status> {
    Ok(if request::descending(number)? { Order::Descending } else { Order::Ascending })
}
