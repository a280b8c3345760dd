//! The recent past at the start: what the stream holds of the last minute goes into the rings before anybody is served, so
//! that who was connected to another process a moment ago goes on from memory.
//!
//! It is an improvement and no condition. Nothing is live while it is read, so it is bounded: in time by [`TIME_MAX`], in
//! length by [`MESSAGES_MAX`] (of a longer stretch only the end is read), in memory by the limits of the rings that it is
//! read into. When it cannot be had in time, the feed starts with the newest batches alone, and history serves the rest.

use std::time::Duration;

use bus::{Bus, FollowError, FollowFrom};
use domain::{TickBatch, UnixNanos};
use thiserror::Error;
use tokio::{task::coop::consume_budget, time::timeout};
use tracing::warn;

use crate::LiveState;

/// How long the start may take longer by this.
const TIME_MAX: Duration = Duration::from_secs(3);
/// The most messages that are read: a minute of a thousand per second.
const MESSAGES_MAX: u64 = 60_000;

/// Why there is none.
#[derive(Debug, Error)]
enum Unread {
    #[error("the messages have left the stream meanwhile")]
    Gone,
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("it takes longer than {TIME_MAX:?}")]
    TooLong,
}

/// The state as of the last of `newest`, which are the newest batches in stream order, with the ticks of the `age` before in
/// its rings, as far as they can be had. `empty` makes a state that is filled while nobody looks.
pub(super) async fn gather(
    bus: &Bus,
    newest: Vec<(u64, TickBatch)>,
    age: Duration,
    empty: impl Fn() -> LiveState,
) -> LiveState {
    let (Some((last, _)), Some(received)) = (newest.last(), received(&newest)) else {
        return empty();
    };
    if age.is_zero() {
        return newest_alone(newest, empty());
    }
    // Counted from the newest tick, whenever that was. It is stored after it was received: a little more is read than asked.
    let age = age.saturating_add(UnixNanos::now().saturating_since(received));
    match timeout(TIME_MAX, read(bus, *last, &newest, age, MESSAGES_MAX, empty()))
        .await
        .unwrap_or(Err(Unread::TooLong))
    {
        Ok(recent) => recent,
        Err(error) => {
            warn!(%error, "starting without the recent past, only with the newest ticks");
            newest_alone(newest, empty())
        }
    }
}

fn newest_alone(newest: Vec<(u64, TickBatch)>, mut state: LiveState) -> LiveState {
    for (stream_sequence, batch) in newest {
        state.apply(stream_sequence, batch);
    }
    state
}

/// When the newest of these ticks was received.
fn received(batches: &[(u64, TickBatch)]) -> Option<UnixNanos> {
    batches.iter().filter_map(|(_, batch)| batch.ticks.last()).map(|tick| tick.receive_time).max()
}

/// Reads up to message `last`.
async fn read(
    bus: &Bus,
    last: u64,
    newest: &[(u64, TickBatch)],
    age: Duration,
    messages_max: u64,
    mut state: LiveState,
) -> Result<LiveState, Unread> {
    let mut follower = bus.follow_ticks(FollowFrom::Recent(age));
    let pending = follower.attach().await?;
    if pending == 0 {
        return Err(Unread::Gone);
    }
    if pending > messages_max {
        follower = bus.follow_ticks(FollowFrom::AfterSequence(last.saturating_sub(messages_max)));
    }
    let mut quiet = Some(newest);
    loop {
        // On the embedded bus nothing else would let others run, or the time run out.
        consume_budget().await;
        let at = match follower.next().await {
            Ok(followed) => {
                // Who has nothing that is recent has its newest batch, which comes before everything else.
                for (sequence, batch) in quiet.take().into_iter().flatten() {
                    if *sequence < followed.stream_sequence {
                        state.apply(*sequence, batch.clone());
                    }
                }
                state.apply(followed.stream_sequence, followed.content);
                followed.stream_sequence
            }
            // As when it is followed: counted there, and no hole that a subscriber could mend.
            Err(FollowError::Undecodable { content, .. }) => content.stream_sequence,
            Err(error) => return Err(error.into()),
        };
        if at >= last {
            return Ok(state);
        }
    }
}

#[cfg(test)]
mod tests;
