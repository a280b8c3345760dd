//! Following the bus: the publisher's side of the live feed.

use std::{future::Future, sync::Arc, time::Duration};

use bus::{BrokerError, Bus, FollowError, FollowFrom, StreamKind};
use domain::{Snapshot, TickBatch};
use metrics::{counter, gauge};
use tracing::{debug, info, warn};

use crate::{feed::Shared, metrics as names};

const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Follows `LF_TICKS` for as long as it is not aborted.
///
/// It begins with the newest snapshots and the newest batches, whichever are newer, and goes on behind the newest of those
/// batches. What the stream lost before it was read is made up for in the same way, and the subscribers are told.
pub(crate) async fn ticks(bus: Bus, shared: Arc<Shared>) {
    let newest = fill(&bus, &shared).await;
    let mut follower = bus.follow_ticks(FollowFrom::AfterSequence(newest));
    let mut behind = true;
    loop {
        if behind && matches!(follower.attach().await, Ok(0)) {
            behind = end_reached(&shared);
        }
        match follower.next().await {
            Ok(followed) => {
                shared.publish(followed.stream_sequence, followed.content);
                set_pending(followed.pending);
                behind = behind && (followed.pending > 0 || end_reached(&shared));
            }
            Err(FollowError::Undecodable { content, pending }) => {
                // The bus counts it; the normalizer that wrote it is at fault, and no subscriber can mend it.
                debug!(why = %content, "a message of the tick stream cannot be decoded");
                behind = behind && (pending > 0 || end_reached(&shared));
            }
            Err(error @ (FollowError::Gone { .. } | FollowError::Restarted { .. })) => {
                warn!(%error, "the tick stream has lost messages, filling the newest state anew");
                counter!(names::REFILLS).increment(1);
                fill(&bus, &shared).await;
            }
            Err(error @ FollowError::Broker(_)) => restarted("ticks", &error),
        }
    }
}

/// Follows `LF_EVENTS` from its present end, for as long as it is not aborted.
pub(crate) async fn events(bus: Bus, shared: Arc<Shared>) {
    let state = persist("events", || bus.stream_state(StreamKind::Events)).await;
    let mut follower = bus.follow_events(FollowFrom::AfterSequence(state.last_sequence));
    loop {
        match follower.next().await {
            Ok(followed) => shared.publish_event(followed.content),
            Err(error @ FollowError::Broker(_)) => restarted("events", &error),
            // Events are kept for days; the gaps that they tell of are in the database in any case.
            Err(error) => debug!(%error, "events were lost"),
        }
    }
}

/// Takes over the newest state that the bus holds and returns the newest message of `LF_TICKS` in it.
async fn fill(bus: &Bus, shared: &Shared) -> u64 {
    let (snapshots, batches) = persist("ticks", || newest(bus)).await;
    let last = batches.iter().map(|(sequence, _)| *sequence).max().unwrap_or(0);
    info!(snapshots = snapshots.len(), products = batches.len(), last, "took over the newest state");
    shared.refill(snapshots, batches);
    last
}

async fn newest(bus: &Bus) -> Result<(Vec<Snapshot>, Vec<(u64, TickBatch)>), BrokerError> {
    Ok((bus.last_snapshots().await?, bus.last_batches().await?))
}

/// Tries until it works: without the broker there is nothing else to do.
async fn persist<T, F>(stream: &'static str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, BrokerError>>,
{
    let mut delay = DELAY_MIN;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                if delay == DELAY_MIN {
                    warn!(%error, stream, "the newest state cannot be read yet, trying on");
                }
                counter!(names::RESTARTS, "stream" => stream).increment(1);
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(DELAY_MAX);
    }
}

fn restarted(stream: &'static str, error: &FollowError) {
    counter!(names::RESTARTS, "stream" => stream).increment(1);
    debug!(%error, stream, "the stream cannot be read, trying on");
}

/// The end of the stream was reached for the first time: nothing is behind any more.
fn end_reached(shared: &Shared) -> bool {
    shared.set_caught_up();
    info!("caught up with the tick stream");
    false
}

#[allow(clippy::cast_precision_loss, reason = "a number of messages, far below 2^52")]
fn set_pending(pending: u64) {
    gauge!(names::PENDING).set(pending as f64);
}
