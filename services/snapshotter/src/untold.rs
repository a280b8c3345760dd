//! Gaps that the database knows to be open and of which the stream of events says nothing: it was in memory, or was lost with
//! its broker. Whoever fetches missing trades learns of them from that stream alone, so they are told again.

use std::time::Duration;

use bus::{FollowError, FollowFrom, StreamKind};
use domain::{EventKind, FeedEvent, Gap};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tracing::info;

use crate::worker::{Error, Worker, bus_error};

/// How many open gaps are looked at, the newest of all shards.
const LOOKED_AT_MAX: usize = 10_000;
/// How many gaps of a shard are told again at each start; the next one goes on with those before them.
const TOLD_AGAIN_MAX: usize = 1_000;
/// How many at a time.
const AT_ONCE_MAX: usize = 64;
/// A stream that has no further message for so long is read to its end: what it was to bring has aged out meanwhile.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// Tells of the open gaps of the shard that were noticed before the stream of events was made and that it does not hold. What
/// is told so is in the stream then: the next start finds it there.
pub(crate) async fn tell_open_gaps(worker: &Worker) -> Result<(), Error> {
    let created = worker.bus.stream_state(StreamKind::Events).await.map_err(bus_error)?.created;
    let mut gaps = worker.store.newest_open_gaps(created, LOOKED_AT_MAX).await?;
    gaps.retain(|gap| worker.bus.shards().shard_of(&gap.instrument) == worker.shard);
    if gaps.is_empty() {
        return Ok(());
    }
    leave_out_told(worker, &mut gaps).await?;
    gaps.truncate(TOLD_AGAIN_MAX);
    if !gaps.is_empty() {
        info!(shard = %worker.shard, gaps = gaps.len(), "gaps that are open in the database are told again");
    }
    let events = gaps.into_iter().map(|gap| FeedEvent {
        instrument: gap.instrument.clone(),
        time: gap.detected_at,
        source: worker.source(),
        kind: EventKind::Gap(gap),
    });
    stream::iter(events)
        .map(Ok)
        .try_for_each_concurrent(AT_ONCE_MAX, |event| async move { worker.bus.publish_event(&event).await })
        .await
        .map_err(bus_error)
}

/// Leaves out what the stream of events says already.
async fn leave_out_told(worker: &Worker, gaps: &mut Vec<Gap>) -> Result<(), Error> {
    let mut events = worker.bus.follow_events(FollowFrom::AfterSequence(0));
    let mut pending = events.attach().await.map_err(bus_error)?;
    while pending > 0 && !gaps.is_empty() {
        let Ok(event) = tokio::time::timeout(QUIET_MAX, events.next()).await else { break };
        match event {
            Ok(followed) => {
                pending = followed.pending;
                if let EventKind::Gap(told) = &followed.content.kind {
                    gaps.retain(|gap| !is_within(gap, told));
                }
            }
            Err(FollowError::Undecodable { pending: behind, .. }) => pending = behind,
            Err(FollowError::Gone { .. }) => {}
            Err(error @ (FollowError::Restarted { .. } | FollowError::Broker(_))) => {
                return Err(bus_error(error));
            }
        }
    }
    Ok(())
}

fn is_within(gap: &Gap, told: &Gap) -> bool {
    gap.instrument == told.instrument
        && gap.run == told.run
        && told.first_trade_id <= gap.first_trade_id
        && gap.last_trade_id <= told.last_trade_id
}
