//! The pace of one subscriber: its policy, its token bucket, and what has become of both.

use std::time::{Duration, Instant};

use crate::{Policy, TokenBucket};

/// Why a read ends before everything was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The read has given as much as it was asked for.
    Full,
    /// The token bucket is empty for so long.
    NoToken(Duration),
}

/// The policy and what has become of it: shared by all products of a subscriber.
#[derive(Debug)]
pub(super) struct Pace {
    policy: Policy,
    bucket: Option<TokenBucket>,
    /// The bucket was empty and the subscriber has not caught up since: only the newest ticks are given.
    throttled: bool,
    /// The present episode of rate limiting was told to the subscriber.
    announced: bool,
}

impl Pace {
    pub(super) fn new(policy: Policy) -> Self {
        let rate = match policy {
            Policy::Conflate { rate, .. } => rate,
            Policy::Lossless => None,
        };
        Self { policy, bucket: rate.map(TokenBucket::new), throttled: false, announced: false }
    }

    /// An episode is over when half of the tokens are back; otherwise a stream just above the rate would be a new episode
    /// with every tick.
    pub(super) fn refresh(&mut self, now: Instant) {
        if self.announced && self.bucket.as_ref().is_none_or(|bucket| bucket.is_half_full(now)) {
            self.announced = false;
        }
    }

    /// The subscriber was given everything there is.
    pub(super) fn caught_up(&mut self) {
        self.throttled = false;
    }

    /// Whether the present episode of rate limiting is still to be told.
    pub(super) fn announce(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }

    pub(super) fn take(&mut self, now: Instant) -> Result<(), Stop> {
        let Some(bucket) = &mut self.bucket else {
            return Ok(());
        };
        bucket.try_take(now).map_err(|wait| {
            self.throttled = true;
            Stop::NoToken(wait)
        })
    }

    /// Every tick or an end.
    pub(super) fn is_lossless(&self) -> bool {
        self.policy == Policy::Lossless
    }

    pub(super) fn conflates(&self, pending: u64) -> bool {
        match self.policy {
            Policy::Conflate { behind_max, interval, .. } => {
                self.throttled || interval.is_some() || pending > behind_max.get()
            }
            Policy::Lossless => false,
        }
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        match self.policy {
            Policy::Conflate { interval, .. } => interval,
            Policy::Lossless => None,
        }
    }
}
