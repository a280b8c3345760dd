//! One place for a connection: it connects for its products, reads until the connection ends, waits, begins again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use domain::{FeedState, Product};
use metrics::counter;
use runtime::{Backoff, ErrorChain, LogGate, drain_step};
use tokio::time::sleep_until;
use tracing::warn;
use venues::coinbase::Session;

use crate::connect::{Address, Socket};
use crate::metrics::{CONNECTS, RECONNECTS};
use crate::reading::{End, Products, Reading};
use crate::surroundings::Surroundings;

/// A connection that was live for so long counts as healthy: the next delay is the shortest again.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// How often a failure that repeats itself is told again.
const SAME_FAILURE_PERIOD: Duration = Duration::from_secs(60);

pub(crate) struct Slot {
    number: usize,
    products: Products,
    around: Arc<Surroundings>,
    session: Session,
    backoff: Backoff,
    /// The failure that was told last.
    last_failure: String,
    same_failure: LogGate,
}

impl Slot {
    pub(crate) fn new(number: usize, products: Products, around: Arc<Surroundings>) -> Self {
        let session = Session::new(&around.session_config(&products.borrow()));
        Self {
            number,
            products,
            session,
            backoff: Backoff::new(around.config.reconnect_delay_min, around.config.reconnect_delay_max),
            last_failure: String::new(),
            same_failure: LogGate::new(SAME_FAILURE_PERIOD),
            around,
        }
    }

    /// Returns when the shutdown is requested and what was read is acknowledged.
    pub(crate) async fn keep_alive(mut self, address: Arc<Address>) {
        let around = Arc::clone(&self.around);
        let shutdown = &around.ctx.shutdown;
        while !shutdown.is_requested() {
            if self.products.borrow().is_empty() {
                around.status.drop_connection(self.number);
                // An error means that nobody will ask for products any more.
                if !matches!(shutdown.run_until(self.products.changed()).await, Some(Ok(()))) {
                    return shutdown.requested().await;
                }
                continue;
            }
            self.set_out().await;
            let attempt = async {
                around.connects.turn().await;
                address.connect().await
            };
            let Some(attempt) = shutdown.run_until(attempt).await else { return };
            let outcome = if attempt.is_ok() { "connected" } else { "failed" };
            counter!(CONNECTS, "outcome" => outcome).increment(1);
            let goes_on = match attempt {
                Ok(socket) => self.use_up(socket).await,
                Err(error) => {
                    let why = ErrorChain(&error).to_string();
                    let delay = self.fall(FeedState::BackingOff, &why, false).await;
                    self.wait(tokio::time::Instant::now() + delay).await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// An attempt begins.
    async fn set_out(&mut self) {
        let why = if self.last_failure.is_empty() { "connecting to the exchange" } else { "" };
        self.around.status.set_connection(self.number, FeedState::Connecting, why);
        for product in self.followed() {
            self.around.turn(&product, FeedState::Connecting, "").await;
        }
    }

    /// Reads the connection to its end, has everything acknowledged, and waits before the next. Says whether there is to
    /// be a next.
    async fn use_up(&mut self, socket: Socket) -> bool {
        let around = Arc::clone(&self.around);
        let feed = around.new_feed();
        let outlet = around.sink.open(self.number, feed.clone()).await;
        let ours = (&mut self.session, &mut self.products);
        let mut reading = Reading::new(self.number, socket, feed, ours, &outlet, &around);
        let end = reading.run().await;
        let live_since = reading.live_since;
        drop(reading);
        let (state, why) = (end.state(), ErrorChain(&end).to_string());
        if matches!(end, End::Shutdown) {
            self.drain(outlet.close(why)).await;
            return false;
        }
        counter!(RECONNECTS, "reason" => end.as_str()).increment(1);
        if live_since.is_some_and(|since| since.elapsed() >= HEALTHY_AFTER) {
            self.backoff.reset();
        }
        let delay = self.fall(state, &why, live_since.is_some()).await;
        // Where the exchange has refused every product, it is not asked before one of them is worth it.
        let delay = delay.max(self.session.rest(around.now()));
        self.rest(outlet.close(why), delay).await
    }

    /// The next session must not overtake this one, whose ticks would look late then: its outlet has to be done.
    async fn rest(&mut self, closing: impl Future<Output = ()>, delay: Duration) -> bool {
        let around = Arc::clone(&self.around);
        let due = tokio::time::Instant::now() + delay;
        tokio::pin!(closing);
        if around.ctx.shutdown.run_until(&mut closing).await.is_none() {
            self.drain(closing).await;
            return false;
        }
        self.wait(due).await
    }

    /// Waits until then, or until there are other products. Says whether there is to be another attempt.
    async fn wait(&mut self, due: tokio::time::Instant) -> bool {
        tokio::select! {
            () = self.around.ctx.shutdown.requested() => false,
            () = sleep_until(due) => true,
            Ok(()) = self.products.changed() => {
                let wanted = self.products.borrow_and_update().clone();
                self.session.set_products(&wanted, self.around.now(), &mut Vec::new());
                true
            }
        }
    }

    async fn drain(&self, closing: impl Future<Output = ()>) {
        let drained = drain_step("ticks of the feed", self.around.config.drain_max, closing).await;
        self.around.given_up.fetch_or(drained.is_none(), Ordering::Relaxed);
    }

    /// The connection is not live any more, or still not. Returns how long to wait before the next attempt.
    async fn fall(&mut self, state: FeedState, why: &str, was_live: bool) -> Duration {
        let delay = self.backoff.next_delay();
        self.around.status.set_connection(self.number, state, why);
        let repeated = self.last_failure == why;
        if !repeated || was_live || self.same_failure.pass(Instant::now()).is_some() {
            warn!(error = why, connection = self.number, retry_in = ?delay, "the feed is not live");
        }
        if !repeated {
            self.last_failure = why.to_owned();
        }
        for product in self.followed() {
            self.around.turn(&product, state, why).await;
        }
        delay
    }

    /// The products whose state is that of the connection: the others are refused, whatever the connection does.
    fn followed(&self) -> Vec<Product> {
        let states = self.session.product_states();
        let followed = states.filter(|(_, state)| *state != FeedState::BackingOff);
        followed.map(|(product, _)| product.clone()).collect()
    }
}
