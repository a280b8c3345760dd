//! What every connection of the feed shares.

use std::time::{Duration, Instant};

use bus::Bus;
use domain::{EventKind, FeedEvent, FeedState, Instrument, UnixNanos, Venue};
use runtime::{LogGate, RoleContext};
use tracing::info;
use venues::Moment;
use venues::coinbase::SessionConfig;

use crate::Config;
use crate::counters::Counters;
use crate::outbox::{Letter, Outbox};
use crate::status::Status;

/// How often frames that were refused, and complaints of the exchange, are told.
const REFUSAL_PERIOD: Duration = Duration::from_secs(10);

pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) ctx: &'a RoleContext,
    pub(crate) status: &'a Status,
    pub(crate) outbox: Outbox,
    pub(crate) counters: Counters,
    pub(crate) complaints: LogGate,
    pub(crate) refusals: LogGate,
    /// What uptimes are measured from.
    started: Instant,
    /// Who says so, in records and events.
    source: String,
}

impl<'a> Surroundings<'a> {
    pub(crate) fn new(config: &'a Config, ctx: &'a RoleContext, status: &'a Status, bus: &Bus) -> Self {
        Self {
            outbox: Outbox::open(bus.clone()),
            counters: Counters::new(&config.products),
            complaints: LogGate::new(REFUSAL_PERIOD),
            refusals: LogGate::new(REFUSAL_PERIOD),
            started: Instant::now(),
            source: format!("ingestor/{}", ctx.instance),
            config,
            ctx,
            status,
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { wall: UnixNanos::now(), uptime: self.started.elapsed() }
    }

    pub(crate) fn session_config(&self) -> SessionConfig {
        SessionConfig {
            products: self.config.products.clone(),
            channels: self.config.channels.clone(),
            confirm_timeout: self.config.confirm_timeout,
            idle_timeout: self.config.idle_timeout,
            source: self.source.clone(),
        }
    }

    /// The exchange has confirmed everything.
    pub(crate) async fn live(&self) {
        info!(url = self.config.url, products = self.config.products.len(), "the feed is live");
        self.status.set_state(FeedState::Live, "");
        self.tell(FeedState::Live).await;
    }

    /// Publishes a change for each product: whoever follows one of them is told.
    pub(crate) async fn tell(&self, state: FeedState) {
        let time = UnixNanos::now();
        for product in &self.config.products {
            let instrument = Instrument { venue: Venue::coinbase(), product: product.clone() };
            let kind = EventKind::FeedState(state);
            let event = FeedEvent { instrument, time, source: self.source.clone(), kind };
            let put = self.outbox.put(Letter::Event(Box::new(event)));
            if self.ctx.shutdown.run_until(put).await.is_none() {
                return;
            }
        }
    }
}
