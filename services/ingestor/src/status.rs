//! How the feed is doing, told to readiness, metrics, the bus, and the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bus::Bus;
use domain::{FeedState, RoleStatus, UnixNanos};
use metrics::gauge;
use runtime::{ErrorChain, Latch, LogGate, RoleContext};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

use crate::metrics::{FEED_SILENCE, FEED_STATE};

const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A status that is late is of no use; the next one follows.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
const STATES: [FeedState; 4] =
    [FeedState::Connecting, FeedState::Live, FeedState::Stale, FeedState::BackingOff];

/// The state of the feed, shared by the loop that reads and the task that reports.
pub(crate) struct Status {
    feed: Latch,
    bus: Latch,
    instance: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: FeedState,
    last_heard: Option<Instant>,
    ticks: u64,
    rejected: u64,
}

impl Status {
    /// The feed's latch counts for readiness, or is only told.
    pub(crate) fn new(ctx: &RoleContext, feed_decides_readiness: bool) -> Self {
        let feed = if feed_decides_readiness { ctx.latch("feed") } else { ctx.readiness.note("feed") };
        let inner = Inner { state: FeedState::Connecting, last_heard: None, ticks: 0, rejected: 0 };
        let status =
            Self { feed, bus: ctx.latch("bus"), instance: ctx.instance.clone(), inner: Mutex::new(inner) };
        status.set_state(FeedState::Connecting, "not connected yet");
        status
    }

    /// Says in which state the feed is, and why it is not live.
    pub(crate) fn set_state(&self, state: FeedState, why: &str) {
        self.lock().state = state;
        match state {
            FeedState::Live => self.feed.set_ready(),
            FeedState::Connecting | FeedState::Stale | FeedState::BackingOff => self.feed.set_waiting(why),
        }
        for other in STATES {
            gauge!(FEED_STATE, "state" => label(other)).set(if other == state { 1.0 } else { 0.0 });
        }
    }

    pub(crate) fn heard(&self) {
        self.lock().last_heard = Some(Instant::now());
    }

    pub(crate) fn tick(&self) {
        let mut inner = self.lock();
        inner.ticks = inner.ticks.saturating_add(1);
    }

    pub(crate) fn rejected(&self) {
        let mut inner = self.lock();
        inner.rejected = inner.rejected.saturating_add(1);
    }

    /// Publishes the status each second, for ever.
    pub(crate) async fn report(&self, bus: &Bus) {
        let gate = LogGate::new(Duration::from_secs(60));
        let mut seconds = interval(STATUS_EVERY);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            seconds.tick().await;
            let status = self.current();
            if let Some(age) = status.heartbeat_age {
                gauge!(FEED_SILENCE).set(age.as_secs_f64());
            }
            let problem = match timeout(STATUS_TIMEOUT, bus.publish_status(&status)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(ErrorChain(&error).to_string()),
                Err(_) => Some("it does not acknowledge".to_owned()),
            };
            match problem {
                None => self.bus.set_ready(),
                Some(why) => {
                    if let Some(swallowed) = gate.pass(Instant::now()) {
                        warn!(error = %why, swallowed, "the bus does not take the status of the feed");
                    }
                    self.bus.set_waiting(format!("the bus takes nothing: {why}"));
                }
            }
        }
    }

    fn current(&self) -> RoleStatus {
        let inner = self.lock();
        RoleStatus {
            role: "ingestor".to_owned(),
            instance: self.instance.clone(),
            time: UnixNanos::now(),
            ready: inner.state == FeedState::Live,
            feed_state: Some(inner.state),
            heartbeat_age: inner.last_heard.map(|heard| heard.elapsed()),
            product_states: Vec::new(),
            progress: Vec::new(),
            backlog_messages: None,
            ticks: inner.ticks,
            rejected: inner.rejected,
            duplicates: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label(state: FeedState) -> &'static str {
    match state {
        FeedState::Connecting => "connecting",
        FeedState::Live => "live",
        FeedState::Stale => "stale",
        FeedState::BackingOff => "backing_off",
    }
}
