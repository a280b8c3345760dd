//! Sends a market that is made up, at a rate or as fast as the clients read.

mod day;
mod market;
mod random;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::UnixNanos;
use metrics::counter;
use runtime::Shutdown;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use crate::clients::{Audience, Client};
use crate::config::{GenerateConfig, Rate};
use crate::exchange::Exchange;
use crate::metrics::TICKERS;
use crate::pulse::{LastKnown, full_seconds};
use crate::truth::Truth;
use market::Market;
pub(crate) use market::decimals;
use random::Random;

/// How many tickers go out between two looks at the clock and at new subscriptions.
const BURST_MAX: usize = 256;
/// A market that fell behind its rate, because the machine slept, does not make up for more than this.
const BEHIND_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Generator {
    market: Market,
    arrivals: Random,
    rate: Rate,
    exchange: Arc<Exchange>,
    audience: watch::Receiver<Audience>,
    truth: Truth,
    /// At a rate, a slow client is disconnected at once, as on the exchange; at `max` the market waits for it.
    patience: Duration,
    last_tickers: BTreeMap<String, LastTicker>,
    recipients: Vec<Arc<Client>>,
}

/// What a new subscriber gets at once.
struct LastTicker {
    frame: Message,
    /// Whether it is in the truth already.
    recorded: bool,
}

impl Generator {
    pub(crate) fn new(
        config: &GenerateConfig,
        exchange: Arc<Exchange>,
        truth: Truth,
        stall_timeout: Duration,
    ) -> Self {
        let mut market = Market::new(config, UnixNanos::now());
        let opening = market.opening_trades(UnixNanos::now());
        let last_tickers = opening.into_iter().map(|ticker| {
            exchange.rest.tape.record(ticker.product.as_str(), ticker.trade);
            (ticker.product.to_string(), LastTicker { frame: Message::text(ticker.frame), recorded: false })
        });
        Self {
            last_tickers: last_tickers.collect(),
            arrivals: Random::new(config.seed.wrapping_add(0xA881)),
            market,
            rate: config.rate,
            audience: exchange.clients.audience(),
            exchange,
            truth,
            patience: if config.rate == Rate::Max { stall_timeout } else { Duration::ZERO },
            recipients: Vec::new(),
        }
    }

    /// Goes on until the shutdown.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) {
        let mut seconds = full_seconds();
        shutdown
            .run_until(async {
                match self.rate {
                    Rate::PerSecond(rate) => self.at_a_rate(rate, &mut seconds).await,
                    Rate::Max => self.as_fast_as_read(&mut seconds).await,
                }
            })
            .await;
        self.truth.close().await;
    }

    async fn at_a_rate(&mut self, rate: u32, seconds: &mut Interval) {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = self.audience.changed() => self.greet().await,
                _ = seconds.tick() => self.beat().await,
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

    async fn as_fast_as_read(&mut self, seconds: &mut Interval) {
        loop {
            if self.audience.borrow_and_update().subscribed == 0 {
                // The sender lives as long as the clients that this very struct holds.
                let _ = self.audience.wait_for(|audience| audience.subscribed > 0).await;
            }
            self.greet().await;
            for _ in 0..BURST_MAX {
                self.trade().await;
            }
            tokio::select! {
                biased;
                _ = seconds.tick() => self.beat().await,
                // Others get their turn even when no client ever makes this wait.
                () = tokio::task::yield_now() => {}
            }
        }
    }

    async fn trade(&mut self) {
        let Some(ticker) = self.market.trade(UnixNanos::now()) else {
            return;
        };
        let product = ticker.product;
        self.exchange.rest.tape.record(product.as_str(), ticker.trade);
        let text = ticker.frame;
        let frame = Message::text(text.clone());
        self.exchange.clients.recipients(Some("ticker"), Some(product.as_str()), &mut self.recipients);
        let mut queued = false;
        for client in &self.recipients {
            queued |= client.deliver(frame.clone(), self.patience).await;
        }
        if queued {
            counter!(TICKERS).increment(1);
            self.truth.record(&text).await;
        }
        if let Some(last) = self.last_tickers.get_mut(product.as_str()) {
            *last = LastTicker { frame, recorded: queued };
        }
    }

    /// Each new subscriber to `ticker` gets the last trade of the product at once, as on the exchange.
    async fn greet(&mut self) {
        for (client, channel, product) in self.exchange.clients.take_fresh() {
            let Some(last) = self.last_tickers.get_mut(&product).filter(|_| channel == "ticker") else {
                continue;
            };
            let queued = client.deliver(last.frame.clone(), self.patience).await;
            if queued && !last.recorded {
                last.recorded = true;
                counter!(TICKERS).increment(1);
                self.truth.record(last.frame.to_text().unwrap_or_default()).await;
            }
        }
    }

    async fn beat(&mut self) {
        let mut known = LastKnown::of(self.last_tickers.keys());
        for (product, sequence, trade_id) in self.market.heartbeats() {
            known.advance(&product, Some(sequence), Some(trade_id));
        }
        known.beat(&self.exchange.clients, self.patience, &mut self.recipients).await;
    }
}
