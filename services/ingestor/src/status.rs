//! How the feed is doing, told to readiness, metrics, the bus, and the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bus::Bus;
use domain::{FeedState, Instrument, Product, RoleStatus, UnixNanos, Venue};
use metrics::gauge;
use runtime::{ErrorChain, Latch, LogGate, RoleContext};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

mod board;

use board::Board;

use crate::metrics::{CONNECTION_STATE, FEED_SILENCE, FEED_STATE, PRODUCT_STATE};

const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A status that is late is of no use; the next one follows.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
const STATES: [FeedState; 4] =
    [FeedState::Connecting, FeedState::Live, FeedState::Stale, FeedState::BackingOff];
/// What the gauge of a product says that is not followed any more.
const GONE: f64 = -1.0;

/// The state of the feed, shared by the connections and the task that reports.
pub(crate) struct Status {
    feed: Latch,
    /// Told only: which products are not live though the feed is.
    products: Latch,
    bus: Latch,
    instance: String,
    started: Instant,
    /// When the exchange was heard last: milliseconds since `started`, plus one; 0 is never.
    heard: AtomicU64,
    ticks: AtomicU64,
    rejected: AtomicU64,
    board: Mutex<Board>,
}

impl Status {
    /// The feed's latch counts for readiness, or is only told.
    pub(crate) fn new(ctx: &RoleContext, feed_decides_readiness: bool) -> Self {
        let feed = if feed_decides_readiness { ctx.latch("feed") } else { ctx.readiness.note("feed") };
        feed.set_waiting("not connected yet");
        Self {
            feed,
            products: ctx.readiness.note("products"),
            bus: ctx.latch("bus"),
            instance: ctx.instance.clone(),
            started: Instant::now(),
            heard: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            board: Mutex::default(),
        }
    }

    /// These are the products from now on.
    pub(crate) fn follow(&self, products: &[Product]) {
        let mut board = self.lock();
        for gone in board.follow(products) {
            gauge!(PRODUCT_STATE, "product" => gone.to_string()).set(GONE);
        }
        for product in products {
            let state = board.state_of(product);
            gauge!(PRODUCT_STATE, "product" => product.to_string()).set(number(state));
        }
        self.show(&board);
    }

    /// Says in which state a product is, and why it is not live. Whether that is news to whoever follows it.
    pub(crate) fn set_product(&self, product: &Product, state: FeedState, why: &str) -> bool {
        let mut board = self.lock();
        let is_news = board.set_product(product, state, why);
        if board.follows(product) {
            gauge!(PRODUCT_STATE, "product" => product.to_string()).set(number(state));
        }
        self.show(&board);
        is_news
    }

    /// Says in which state a connection is, and why it is not live; an empty reason leaves the last one.
    pub(crate) fn set_connection(&self, connection: usize, state: FeedState, why: &str) {
        gauge!(CONNECTION_STATE, "connection" => connection.to_string()).set(number(state));
        let mut board = self.lock();
        board.set_connection(connection, state, why);
        self.show(&board);
    }

    /// A connection is not needed any more.
    pub(crate) fn drop_connection(&self, connection: usize) {
        gauge!(CONNECTION_STATE, "connection" => connection.to_string()).set(GONE);
        let mut board = self.lock();
        board.drop_connection(connection);
        self.show(&board);
    }

    pub(crate) fn heard(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
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
        let board = self.lock();
        let state = board.overall();
        let others = board.products().filter(|(_, theirs)| *theirs != state);
        let venue = Venue::coinbase();
        let named = |(product, state): (&Product, FeedState)| {
            (Instrument { venue: venue.clone(), product: product.clone() }, state)
        };
        RoleStatus {
            role: "ingestor".to_owned(),
            instance: self.instance.clone(),
            time: UnixNanos::now(),
            ready: state == FeedState::Live,
            feed_state: Some(state),
            heartbeat_age: self.silence(),
            product_states: others.map(named).collect(),
            progress: Vec::new(),
            backlog_messages: None,
            ticks: self.ticks.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            duplicates: 0,
        }
    }

    fn silence(&self) -> Option<Duration> {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed).checked_sub(1)?);
        Some(self.started.elapsed().saturating_sub(heard))
    }

    fn show(&self, board: &Board) {
        let state = board.overall();
        match state {
            FeedState::Live => self.feed.set_ready(),
            FeedState::Connecting | FeedState::Stale | FeedState::BackingOff => {
                self.feed.set_waiting(board.why());
            }
        }
        match board.exceptions() {
            Some(told) => self.products.set_waiting(told),
            None => self.products.set_ready(),
        }
        for other in STATES {
            gauge!(FEED_STATE, "state" => label(other)).set(if other == state { 1.0 } else { 0.0 });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
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

/// One series for each product is enough: the state as a number.
fn number(state: FeedState) -> f64 {
    match state {
        FeedState::Connecting => 0.0,
        FeedState::Live => 1.0,
        FeedState::Stale => 2.0,
        FeedState::BackingOff => 3.0,
    }
}
