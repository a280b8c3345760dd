//! Sends a market that is made up, at a rate or as fast as the clients read.

mod day;
mod market;
pub(crate) mod random;

use std::time::Duration;

use domain::UnixNanos;
use runtime::Shutdown;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, Interval, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use crate::clients::Audience;
use crate::config::{GenerateConfig, Rate};
use crate::exchange::Exchange;
use crate::outlet::Outlet;
use crate::pulse::{LastKnown, full_seconds};
use market::Market;
pub(crate) use market::decimals;
use random::Random;

/// How many tickers go out between two looks at the clock and at new subscriptions.
const BURST_MAX: usize = 256;
/// A market that fell behind its rate, because the machine slept, does not make up for more than this.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// How long a market at the rate `max` pauses after a burst that nobody got anything of.
const UNHEARD_PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Generator {
    market: Market,
    arrivals: Random,
    rate: Rate,
    audience: watch::Receiver<Audience>,
    products: Vec<String>,
    outlet: Outlet,
}

impl Generator {
    pub(crate) fn new(config: &GenerateConfig, exchange: &Exchange, mut outlet: Outlet) -> Self {
        let mut market = Market::new(config, UnixNanos::now());
        for ticker in market.opening_trades(UnixNanos::now()) {
            outlet.opening(ticker.product.as_str(), Message::text(ticker.frame), ticker.trade);
        }
        Self {
            arrivals: Random::new(config.seed.wrapping_add(0xA881)),
            market,
            rate: config.rate,
            audience: exchange.clients.audience(),
            products: exchange.clients.products().cloned().collect(),
            outlet,
        }
    }

    /// Goes on until the shutdown. What has begun is finished then, so that the truth tells of everything that was sent.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) {
        let mut seconds = full_seconds();
        match self.rate {
            Rate::PerSecond(rate) => self.at_a_rate(rate, &mut seconds, shutdown).await,
            Rate::Max => self.as_fast_as_read(&mut seconds, shutdown).await,
        }
        self.outlet.close().await;
    }

    async fn at_a_rate(&mut self, rate: u32, seconds: &mut Interval, shutdown: &Shutdown) {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                _ = self.audience.changed() => self.outlet.greet().await,
                _ = seconds.tick() => self.beat().await,
                () = self.outlet.due() => self.act().await,
                () = sleep_until(due) => {
                    let now = Instant::now();
                    due = due.max(now.checked_sub(BEHIND_MAX).unwrap_or(now));
                    for _ in 0..BURST_MAX {
                        if due > now {
                            break;
                        }
                        self.trade().await;
                        due += self.arrivals.pause(rate);
                    }
                }
            }
        }
    }

    async fn as_fast_as_read(&mut self, seconds: &mut Interval, shutdown: &Shutdown) {
        while !shutdown.is_requested() {
            while self.audience.borrow_and_update().subscribed == 0 {
                tokio::select! {
                    () = shutdown.requested() => return,
                    // The sender lives as long as the exchange does.
                    _ = self.audience.changed() => {}
                    () = self.outlet.due() => self.act().await,
                }
            }
            self.outlet.greet().await;
            let before = self.outlet.queued;
            for _ in 0..BURST_MAX {
                self.trade().await;
            }
            tokio::select! {
                biased;
                _ = seconds.tick() => self.beat().await,
                // Others get their turn even when no client ever makes this wait.
                () = pause(self.outlet.queued == before) => {}
            }
        }
    }

    async fn trade(&mut self) {
        let Some(ticker) = self.market.trade(UnixNanos::now()) else {
            return;
        };
        let product = ticker.product.as_str();
        self.outlet.record_trade(product, ticker.trade);
        self.outlet.ticker(product, Some("ticker"), Message::text(ticker.frame)).await;
        self.act().await;
    }

    async fn act(&mut self) {
        for (products, to) in self.outlet.act().await {
            self.market.reset_sequences(products.as_ref(), to);
        }
    }

    async fn beat(&mut self) {
        let mut known = LastKnown::of(&self.products);
        for (product, sequence, trade_id) in self.market.heartbeats() {
            known.advance(&product, Some(sequence), Some(trade_id));
        }
        known.beat(&mut self.outlet).await;
    }
}

/// A market of which a fault lets nothing through must not run away: nobody holds it back by reading.
async fn pause(is_unheard: bool) {
    if is_unheard { sleep(UNHEARD_PAUSE).await } else { yield_now().await }
}
