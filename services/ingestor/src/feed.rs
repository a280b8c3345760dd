//! The life of the feed: connect, read until it ends, wait, begin again.

use std::time::{Duration, Instant};

use bus::{Bus, RawPublisher};
use domain::{FeedSession, FeedState, UnixNanos};
use metrics::counter;
use runtime::{Backoff, ErrorChain, LogGate, RoleContext, drain_step};
use tracing::{info, warn};

use crate::connect::{Address, Socket};
use crate::metrics::{CONNECTS, RECONNECTS};
use crate::reading::{End, Reading};
use crate::status::Status;
use crate::surroundings::Surroundings;
use crate::{Config, Error};

/// A feed that was live for so long counts as healthy: the next delay is the shortest again.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// How long refused frames and events may take at the end, after the ticks.
const OUTBOX_DRAIN_MAX: Duration = Duration::from_secs(1);
/// How often a failure that repeats itself is told again.
const SAME_FAILURE_PERIOD: Duration = Duration::from_secs(60);

/// Feeds the bus until the shutdown is requested, then has the rest acknowledged within `drain_max`. Its latches are there
/// when this returns, before the future is polled.
///
/// # Errors
/// Only for what no attempt can mend: an address that is none, no products, certificates that cannot be read.
pub fn run(config: Config, bus: Bus, ctx: RoleContext) -> impl Future<Output = Result<(), Error>> + Send {
    let status = Status::new(&ctx, config.feed_decides_readiness);
    async move {
        if config.products.is_empty() {
            return Err(Error::NoProducts);
        }
        let address = Address::new(&config.url, config.ca_file.as_deref(), config.connect_timeout)?;
        let around = Surroundings::new(&config, &ctx, &status, &bus);
        let mut feed = Feed {
            backoff: Backoff::new(config.reconnect_delay_min, config.reconnect_delay_max),
            last_failure: String::new(),
            same_failure: LogGate::new(SAME_FAILURE_PERIOD),
            was_live: false,
            given_up: false,
            around: &around,
        };
        tokio::select! {
            () = feed.keep_alive(&address, &bus) => {}
            () = status.report(&bus) => {}
        }
        let given_up = feed.given_up;
        // With a broker that answers this takes no time; with one that does not, the ticks have waited already.
        around.outbox.close(OUTBOX_DRAIN_MAX.min(config.drain_max)).await;
        info!("the feed is closed");
        if given_up { Err(Error::GivenUp) } else { Ok(()) }
    }
}

struct Feed<'a> {
    around: &'a Surroundings<'a>,
    backoff: Backoff,
    /// The failure that was told last.
    last_failure: String,
    same_failure: LogGate,
    /// Whether the last connection was live; told once when it falls.
    was_live: bool,
    /// Whether the end of the process left ticks unacknowledged.
    given_up: bool,
}

impl Feed<'_> {
    /// Returns when the shutdown is requested and what was read is acknowledged.
    async fn keep_alive(&mut self, address: &Address, bus: &Bus) {
        let (ctx, status) = (self.around.ctx, self.around.status);
        for connection in 1_u64.. {
            status.set_state(FeedState::Connecting, &format!("connecting to {}", self.around.config.url));
            let Some(attempt) = ctx.shutdown.run_until(address.connect()).await else {
                return;
            };
            let outcome = if attempt.is_ok() { "connected" } else { "failed" };
            counter!(CONNECTS, "outcome" => outcome).increment(1);
            let goes_on = match attempt {
                Ok(socket) => {
                    let id = format!("{}-{connection}", ctx.instance);
                    self.use_up(socket, FeedSession { id, started: UnixNanos::now() }, bus).await
                }
                Err(error) => {
                    let why = ErrorChain(&error).to_string();
                    let delay = self.fall(FeedState::BackingOff, &why).await;
                    ctx.shutdown.run_until(tokio::time::sleep(delay)).await.is_some()
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Reads the connection to its end, has everything acknowledged, and waits before the next. Says whether there is to
    /// be a next.
    async fn use_up(&mut self, socket: Socket, session: FeedSession, bus: &Bus) -> bool {
        let publisher = bus.raw_publisher(session.clone());
        let mut reading = Reading::new(socket, session, &publisher, self.around);
        let end = reading.run().await;
        let live_since = reading.live_since;
        drop(reading);
        if matches!(end, End::Shutdown) {
            self.drain(publisher.close()).await;
            return false;
        }
        counter!(RECONNECTS, "reason" => end.as_str()).increment(1);
        self.was_live = live_since.is_some();
        if live_since.is_some_and(|since| since.elapsed() >= HEALTHY_AFTER) {
            self.backoff.reset();
        }
        let (state, why) = (end.state(), ErrorChain(&end).to_string());
        let delay = self.fall(state, &why).await;
        self.rest(publisher, delay).await
    }

    /// The next session must not overtake this one, whose ticks would look late then: its publisher has to be done.
    async fn rest(&mut self, publisher: RawPublisher, delay: Duration) -> bool {
        let (shutdown, due) = (&self.around.ctx.shutdown, tokio::time::Instant::now() + delay);
        let closing = publisher.close();
        tokio::pin!(closing);
        if shutdown.run_until(&mut closing).await.is_none() {
            self.drain(closing).await;
            return false;
        }
        shutdown.run_until(tokio::time::sleep_until(due)).await.is_some()
    }

    async fn drain(&mut self, closing: impl Future<Output = ()>) {
        let drained = drain_step("ticks of the feed", self.around.config.drain_max, closing).await;
        self.given_up = drained.is_none();
    }

    /// The feed is not live any more, or still not. Returns how long to wait before the next attempt.
    async fn fall(&mut self, state: FeedState, why: &str) -> Duration {
        let delay = self.backoff.next_delay();
        self.around.status.set_state(state, why);
        let repeated = self.last_failure == why;
        if !repeated || self.was_live || self.same_failure.pass(Instant::now()).is_some() {
            warn!(error = why, retry_in = ?delay, "the feed is not live");
        }
        if !repeated {
            self.last_failure = why.to_owned();
        }
        if std::mem::take(&mut self.was_live) {
            self.around.tell(state).await;
        }
        delay
    }
}
