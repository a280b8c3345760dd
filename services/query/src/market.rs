//! What the API knows and how it finds it: the live state, the store, and what the roles say.

use std::collections::{BTreeMap, BTreeSet};

use domain::{CandleState, Instrument, TimeRange, UnixNanos};
use live::LiveFeed;
use proto::v1;
use store::{CandleQuery, HistoryKey, Order, Store, TickQuery, TickRange};
use tonic::Status;

use crate::{
    board::Board,
    errors::{catching_up, invalid, not_there_yet, nothing_stored, store_failed, unknown_product},
    request,
};

/// The sources of every answer. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    pub(crate) live: LiveFeed,
    pub(crate) store: Store,
    pub(crate) board: Board,
}

impl Market {
    /// The newest that is known of a product.
    pub(crate) fn latest(&self, instrument: &Instrument, now: UnixNanos) -> Result<v1::LatestPrice, Status> {
        match self.live.snapshot(instrument) {
            Some(snapshot) => Ok(proto::latest_price(&snapshot, None, self.board.feed_state(now), now)),
            None if self.live.is_caught_up() => Err(unknown_product(instrument)),
            None => Err(catching_up()),
        }
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

    /// One page of ticks, and the key of the last one when there may be more.
    pub(crate) async fn ticks(
        &self,
        query: TickQuery,
    ) -> Result<(Vec<v1::Tick>, Option<HistoryKey>), Status> {
        let limit = query.limit;
        let rows = self.store.ticks(&query).await.map_err(|error| store_failed(&error))?;
        let next = if rows.len() == limit { rows.last().map(|(key, _)| *key) } else { None };
        Ok((rows.iter().map(|(_, tick)| v1::Tick::from(tick)).collect(), next))
    }

    /// One page of candles, and the start of the last one when there may be more.
    pub(crate) async fn candles(
        &self,
        query: CandleQuery,
        now: UnixNanos,
    ) -> Result<(Vec<v1::Candle>, Option<UnixNanos>), Status> {
        let limit = query.limit;
        let width = query.interval.width();
        let mut candles = self.store.candles(&query).await.map_err(|error| store_failed(&error))?;
        let next = if candles.len() == limit { candles.last().map(|candle| candle.bar.start) } else { None };
        for candle in &mut candles {
            if candle.bar.start.saturating_add(width) > now {
                candle.state = Some(CandleState::Open);
            }
        }
        let candles = candles.iter().map(|candle| proto::candle(&query.instrument, candle)).collect();
        Ok((candles, next))
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
            let live = self.live.snapshot(instrument);
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

/// Which candles start in a range: the store gives those that overlap it.
pub(crate) fn starting_within(range: TimeRange, width: std::time::Duration) -> TimeRange {
    let floor = range.from.floor_to(width);
    let from =
        if floor == range.from || range.from == UnixNanos::MIN { floor } else { floor.saturating_add(width) };
    TimeRange { from, until: range.until }
}

/// The order of a request of ticks.
pub(crate) fn order(number: i32) -> Result<Order, Status> {
    Ok(if request::descending(number)? { Order::Descending } else { Order::Ascending })
}

/// Candles come oldest first only.
pub(crate) fn ascending_only(number: i32) -> Result<(), Status> {
    if request::descending(number)? { Err(not_there_yet("the descending order of candles")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_candle_belongs_to_a_range_when_it_starts_there() {
        let at = |seconds| UnixNanos::from_seconds(seconds).unwrap();
        let within = |from, until| {
            starting_within(TimeRange { from: at(from), until: at(until) }, Duration::from_secs(60))
        };
        assert_eq!(within(60, 120), TimeRange { from: at(60), until: at(120) });
        assert_eq!(within(61, 120), TimeRange { from: at(120), until: at(120) });
        assert_eq!(starting_within(TimeRange::ALL, Duration::from_secs(60)).until, UnixNanos::MAX);
    }
}
