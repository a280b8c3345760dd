//! How the pipeline fares: each product, each hop, each role.

use std::collections::BTreeMap;

use domain::{Instrument, RoleStatus, ShardProgress, TimeRange, UnixNanos};
use futures::{StreamExt as _, stream};
use proto::v1;
use store::TickRange;
use tonic::Status;

use crate::{board::Hop, market::Market};

/// How many products are looked up at the same time.
const LOOKUPS_MAX: usize = 4;

/// How the pipeline fares. Only `wanted` products, or all when there are none.
pub(crate) async fn status(
    market: &Market,
    wanted: &[Instrument],
    now: UnixNanos,
) -> Result<v1::GetPipelineStatusResponse, Status> {
    let statuses = market.board.statuses(now);
    let products = if wanted.is_empty() { market.products().await? } else { wanted.to_vec() };
    for instrument in wanted.iter().filter(|instrument| market.live.snapshot(instrument).is_none()) {
        market.check_known(instrument).await?;
    }
    let stored = stored(&statuses);
    let reports = products.into_iter().map(|instrument| {
        let progress = stored.get(&instrument).copied();
        async move { product(market, &instrument, progress, now).await }
    });
    let products = stream::iter(reports).buffered(LOOKUPS_MAX).collect().await;
    let hops = market.board.hops().into_iter().map(|hop| {
        let lag = lag(market, &hop, &stored);
        v1::HopStatus {
            role: hop.role.to_owned(),
            shard: u32::from(hop.shard),
            pending_messages: hop.lag.map(|lag| lag.pending_messages),
            unacknowledged_messages: hop.lag.map(|lag| lag.unacknowledged),
            lag: lag.map(proto::duration),
        }
    });
    Ok(v1::GetPipelineStatusResponse {
        report_time: Some(proto::timestamp(now)),
        products,
        hops: hops.collect(),
        roles: statuses.iter().map(v1::RoleStatus::from).collect(),
    })
}

/// How far each product is stored, by what the snapshotters say.
fn stored(statuses: &[RoleStatus]) -> BTreeMap<Instrument, &ShardProgress> {
    let snapshotters = statuses.iter().filter(|status| status.role == "snapshotter");
    let progress = snapshotters.flat_map(|status| &status.progress);
    progress.map(|progress| (progress.instrument.clone(), progress)).collect()
}

async fn product(
    market: &Market,
    instrument: &Instrument,
    progress: Option<&ShardProgress>,
    now: UnixNanos,
) -> v1::ProductStatus {
    let (live, received) = market.newest(instrument).unzip();
    let updated = live.as_ref().and_then(|snapshot| snapshot.state.updated_at());
    let trade = live.as_ref().and_then(|snapshot| snapshot.state.last_trade.as_ref());
    // Not known while the database is away: the rest of the answer is worth having all the same.
    let completeness = market.completeness(instrument, TickRange::Time(TimeRange::ALL)).await.ok().flatten();
    v1::ProductStatus {
        venue: instrument.venue.to_string(),
        product: instrument.product.to_string(),
        shard: progress.map(|progress| u32::from(progress.shard)),
        run: live.as_ref().map_or(0, |snapshot| snapshot.position.run),
        last_sequence: live.as_ref().map(|snapshot| snapshot.position.sequence),
        last_trade_id: trade.and_then(|(trade, _)| trade.trade_id),
        last_event_time: updated.map(proto::timestamp),
        age: updated.map(|at| proto::duration(now.saturating_since(at))),
        last_receive_time: received.flatten().map(proto::timestamp),
        feed_state: market.feed_state(instrument, now).into(),
        stored_sequence: progress.map(|progress| progress.position.sequence),
        stored_run: progress.map(|progress| progress.position.run),
        open_gaps: completeness.map(|completeness| completeness.open_gaps),
        rejected_ticks: market.board.rejects(instrument),
        completeness: completeness.map(Into::into),
    }
}

/// How far the newest tick of a hop is behind the newest one before it. Of the normalizer that is known only when nothing
/// waits for it; of the snapshotter, by the product that is furthest behind.
fn lag(
    market: &Market,
    hop: &Hop,
    stored: &BTreeMap<Instrument, &ShardProgress>,
) -> Option<std::time::Duration> {
    let waiting = hop.lag.map(|lag| lag.pending_messages + lag.unacknowledged);
    if waiting == Some(0) {
        return Some(std::time::Duration::ZERO);
    }
    let behind = |progress: &&ShardProgress| {
        let newest = market.live.snapshot(&progress.instrument)?.state.updated_at()?;
        Some(newest.saturating_since(progress.event_time))
    };
    let of_shard = stored.values().filter(|progress| progress.shard == hop.shard);
    of_shard.filter(|_| hop.role == "snapshotter").filter_map(behind).max()
}
