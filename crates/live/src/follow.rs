//! Following the bus: the publisher's side of the live feed.
//!
//! What moves a product on is its ticks. Snapshots help where the ticks are gone: at the start, after a loss, and when
//! they come later than this feed (a snapshotter publishes what is stored when the bus is new). In steady state each
//! product has a new snapshot every second that tells nothing new, or that is a moment ahead of the ticks, which come
//! on another stream. So a snapshot counts only when it is still ahead after every tick was seen that `LF_TICKS` held when
//! it came: its own ticks went into that stream before it was made.

mod recent;

use std::{future::Future, sync::Arc, time::Duration};

use bus::{BrokerError, Bus, FollowError, FollowFrom, StreamKind};
use domain::{Snapshot, TickBatch};
use metrics::{counter, gauge};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::{feed::Shared, health::Pulse, metrics as names};

const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);
/// How long a snapshot is held back for the ticks before it. Nobody who is further behind than this needs the snapshot:
/// there are ticks to come, and the next snapshot of an active product is a second away.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Follows `LF_TICKS` for as long as it is not aborted.
///
/// It begins with the newest snapshots and the newest batches, whichever are newer, and with the ticks of the last minute
/// before; it goes on behind the newest of those batches. What the stream lost before it was read is made up for in the same way, and the subscribers are told.
pub(crate) async fn ticks(bus: Bus, shared: Arc<Shared>) {
    let mut pulse = Pulse::new(StreamKind::Ticks, Arc::clone(&shared));
    let newest = begin(&bus, &shared, &mut pulse).await;
    shared.set_ticks_seen(newest);
    let mut follower = bus.follow_ticks(FollowFrom::AfterSequence(newest));
    let mut behind = true;
    loop {
        match follower.attach().await {
            Ok(pending) => {
                pulse.works();
                shared.set_epoch(|known| known.ticks = follower.stream_created());
                behind = behind && (pending > 0 || end_reached(&shared, StreamKind::Ticks));
            }
            Err(error) => {
                pulse.fails(&error);
                continue;
            }
        }
        match follower.next().await {
            Ok(followed) => {
                shared.publish(followed.stream_sequence, followed.content);
                shared.set_ticks_seen(followed.stream_sequence);
                set_pending(followed.pending);
                behind = behind && (followed.pending > 0 || end_reached(&shared, StreamKind::Ticks));
            }
            Err(FollowError::Undecodable { content, pending }) => {
                // The bus counts it; the normalizer that wrote it is at fault, and no subscriber can mend it.
                debug!(why = %content, "a message of the tick stream cannot be decoded");
                shared.set_ticks_seen(content.stream_sequence);
                behind = behind && (pending > 0 || end_reached(&shared, StreamKind::Ticks));
            }
            Err(error @ (FollowError::Gone { .. } | FollowError::Restarted { .. })) => {
                warn!(%error, "the tick stream has lost messages, filling the newest state anew");
                counter!(names::REFILLS).increment(1);
                if matches!(error, FollowError::Restarted { .. }) {
                    // Another stream is another epoch, and nobody may take what comes next for a part of the old one.
                    shared.set_epoch(|known| known.ticks = None);
                }
                fill(&bus, &shared, &mut pulse).await;
                // The next message is the one behind those that are gone, or the first of the new stream.
                shared.set_ticks_seen(if let FollowError::Gone { last, .. } = error { last } else { 0 });
            }
            Err(error @ FollowError::Broker(_)) => pulse.fails(&error),
        }
    }
}

/// Follows `LF_SNAPSHOTS` for as long as it is not aborted, for products that the ticks do not tell of.
pub(crate) async fn snapshots(bus: Bus, shared: Arc<Shared>) {
    let mut pulse = Pulse::new(StreamKind::Snapshots, Arc::clone(&shared));
    // What the stream holds already is taken over with the first filling.
    shared.ticks_seen(0).await;
    let mut follower = bus.follow_snapshots(FollowFrom::LastPerSubject);
    let mut behind = true;
    loop {
        match follower.attach().await {
            Ok(pending) => {
                pulse.works();
                behind = behind && (pending > 0 || end_reached(&shared, StreamKind::Snapshots));
            }
            Err(error) => {
                pulse.fails(&error);
                continue;
            }
        }
        match follower.next().await {
            Ok(followed) => {
                if let Some(history) = followed.history {
                    shared.set_epoch(|known| known.history = Some(history));
                }
                if shared.is_behind(&followed.content) && ticks_settle(&bus, &shared, &mut pulse).await {
                    shared.apply_snapshot(followed.content);
                }
                behind = behind && (followed.pending > 0 || end_reached(&shared, StreamKind::Snapshots));
            }
            Err(FollowError::Undecodable { content, pending }) => {
                debug!(why = %content, "a snapshot cannot be decoded");
                behind = behind && (pending > 0 || end_reached(&shared, StreamKind::Snapshots));
            }
            // A snapshot that was replaced is no loss, and a new stream is read from its start.
            Err(error @ (FollowError::Gone { .. } | FollowError::Restarted { .. })) => {
                debug!(%error, "the snapshots go on elsewhere");
            }
            Err(error @ FollowError::Broker(_)) => pulse.fails(&error),
        }
    }
}

/// Follows `LF_EVENTS` from its present end, for as long as it is not aborted. What was said last of each product itself is
/// taken over first.
pub(crate) async fn events(bus: Bus, shared: Arc<Shared>) {
    let mut pulse = Pulse::new(StreamKind::Events, Arc::clone(&shared));
    let state = persist(&mut pulse, || bus.stream_state(StreamKind::Events)).await;
    let details = persist(&mut pulse, || bus.last_product_details()).await;
    details.into_iter().for_each(|event| shared.publish_event(event));
    let mut follower = bus.follow_events(FollowFrom::AfterSequence(state.last_sequence));
    loop {
        if let Err(error) = follower.attach().await {
            pulse.fails(&error);
            continue;
        }
        pulse.works();
        match follower.next().await {
            Ok(followed) => shared.publish_event(followed.content),
            Err(error @ FollowError::Broker(_)) => pulse.fails(&error),
            // Events are kept for days; the gaps that they tell of are in the database in any case.
            Err(error) => debug!(%error, "events were lost"),
        }
    }
}

/// Takes over the newest state that the bus holds for the first time, and the recent past with it. Returns the newest message
/// of `LF_TICKS` in it.
async fn begin(bus: &Bus, shared: &Shared, pulse: &mut Pulse) -> u64 {
    let (snapshots, batches) = persist(pulse, || newest(bus)).await;
    let (stored, products) = (snapshots.len(), batches.len());
    let last = batches.last().map_or(0, |(sequence, _)| *sequence);
    let recent = recent::gather(bus, batches, shared.reach(), || shared.beside()).await;
    info!(snapshots = stored, products, ticks = recent.ticks(), last, "took over the newest state");
    shared.begin(recent, snapshots);
    last
}

/// Takes over the newest state that the bus holds and returns the newest message of `LF_TICKS` in it.
async fn fill(bus: &Bus, shared: &Shared, pulse: &mut Pulse) -> u64 {
    let (snapshots, batches) = persist(pulse, || newest(bus)).await;
    let last = batches.iter().map(|(sequence, _)| *sequence).max().unwrap_or(0);
    info!(snapshots = snapshots.len(), products = batches.len(), last, "took over the newest state");
    shared.refill(snapshots, batches);
    last
}

async fn newest(bus: &Bus) -> Result<(Vec<Snapshot>, Vec<(u64, TickBatch)>), BrokerError> {
    Ok((bus.last_snapshots().await?, bus.last_batches().await?))
}

/// Waits, but not for ever, until every tick that the stream holds now is in the state, and says whether it is.
async fn ticks_settle(bus: &Bus, shared: &Shared, pulse: &mut Pulse) -> bool {
    let state = persist(pulse, || bus.stream_state(StreamKind::Ticks)).await;
    let last = if state.messages > 0 { state.last_sequence } else { 0 };
    timeout(SETTLE_MAX, shared.ticks_seen(last)).await.is_ok()
}

/// Tries until it works: without the broker there is nothing else to do.
async fn persist<T, F>(pulse: &mut Pulse, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, BrokerError>>,
{
    let mut delay = DELAY_MIN;
    loop {
        match attempt().await {
            Ok(done) => {
                pulse.works();
                return done;
            }
            Err(error) => pulse.fails(&error),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(DELAY_MAX);
    }
}

/// The end of the stream was reached for the first time: nothing is behind any more.
fn end_reached(shared: &Shared, stream: StreamKind) -> bool {
    shared.health(|health| health.caught_up(stream));
    info!(stream = stream.label(), "caught up with the stream");
    false
}

#[allow(clippy::cast_precision_loss, reason = "a number of messages, far below 2^52")]
fn set_pending(pending: u64) {
    gauge!(names::PENDING).set(pending as f64);
}
