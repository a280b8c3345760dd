//! What every connection of the feed shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::{EventKind, FeedEvent, FeedSession, FeedState, Instrument, Product, UnixNanos, Venue};
use runtime::{LogGate, RoleContext};
use venues::Moment;
use venues::coinbase::SessionConfig;

use crate::Config;
use crate::outbox::{Letter, Postbox};
use crate::outlet::Sink;
use crate::pace::Pace;
use crate::status::Status;

/// How often frames that were refused, and complaints of the exchange, are told.
const REFUSAL_PERIOD: Duration = Duration::from_secs(10);
/// What the exchange allows an address: connections a second, how many at once, messages a second.
const CONNECTS_PER_SECOND: u32 = 8;
const CONNECTS_AT_ONCE: u32 = 20;
const MESSAGES_PER_SECOND: u32 = 100;

pub(crate) struct Surroundings {
    pub(crate) config: Config,
    pub(crate) ctx: RoleContext,
    pub(crate) sink: Sink,
    pub(crate) status: Arc<Status>,
    pub(crate) postbox: Postbox,
    pub(crate) complaints: LogGate,
    pub(crate) refusals: LogGate,
    /// Everything this process connects to and says, over all connections.
    pub(crate) connects: Pace,
    pub(crate) messages: Pace,
    /// Whether the end of the process left ticks unacknowledged.
    pub(crate) given_up: AtomicBool,
    /// The number of the next connection.
    sessions: AtomicU64,
    /// What uptimes are measured from.
    started: Instant,
    /// Who says so, in records and events.
    pub(crate) source: String,
}

impl Surroundings {
    pub(crate) fn new(
        config: Config,
        ctx: RoleContext,
        status: Arc<Status>,
        sink: Sink,
        postbox: Postbox,
    ) -> Self {
        Self {
            complaints: LogGate::new(REFUSAL_PERIOD),
            refusals: LogGate::new(REFUSAL_PERIOD),
            connects: Pace::new(CONNECTS_PER_SECOND, CONNECTS_AT_ONCE),
            messages: Pace::new(MESSAGES_PER_SECOND, MESSAGES_PER_SECOND),
            given_up: AtomicBool::new(false),
            sessions: AtomicU64::new(1),
            started: Instant::now(),
            source: format!("ingestor/{}", ctx.instance),
            config,
            ctx,
            sink,
            status,
            postbox,
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { wall: UnixNanos::now(), uptime: self.started.elapsed() }
    }

    /// A feed session of its own number.
    pub(crate) fn new_feed(&self) -> FeedSession {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        FeedSession { id: format!("{}-{number}", self.ctx.instance), started: UnixNanos::now() }
    }

    pub(crate) fn session_config(&self, products: &[Product]) -> SessionConfig {
        SessionConfig {
            products: products.to_vec(),
            channels: self.config.channels.clone(),
            confirm_timeout: self.config.confirm_timeout,
            idle_timeout: self.config.idle_timeout,
            heartbeat_timeout: self.config.heartbeat_timeout,
            refused_retry_min: self.config.refused_retry_min,
            refused_retry_max: self.config.refused_retry_max,
            source: self.source.clone(),
        }
    }

    /// A product is in this state: shown, and told to whoever follows it if that is news.
    pub(crate) async fn turn(&self, product: &Product, state: FeedState, why: &str) {
        if self.status.set_product(product, state, why) {
            self.tell(product, EventKind::FeedState(state)).await;
        }
    }

    /// Publishes what happened to a product, unless the process ends first.
    pub(crate) async fn tell(&self, product: &Product, kind: EventKind) {
        let instrument = Instrument { venue: Venue::coinbase(), product: product.clone() };
        let event = FeedEvent { instrument, time: UnixNanos::now(), source: self.source.clone(), kind };
        let put = self.postbox.put(Letter::Event(Box::new(event)));
        let _ = self.ctx.shutdown.run_until(put).await;
    }
}
