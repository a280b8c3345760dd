//! Sends a recording, line by line, at its own pace or faster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::UnixNanos;
use runtime::{ErrorChain, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, sleep_until};
use tracing::{error, info, warn};

use crate::Speed;
use crate::clients::Audience;
use crate::exchange::Exchange;
use crate::outlet::Outlet;
use crate::pulse::{EVERY, LastKnown, full_seconds};
use crate::recording::{Line, Lines, RecordingError};

/// The longest recorded pause that is kept.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A time that lies further back than this is taken for a new start, not for another product's clock.
const STEP_BACK_MAX: Duration = Duration::from_secs(10);
/// How many lines are read ahead.
const READ_AHEAD_MAX: usize = 16;

pub(crate) struct Replay {
    exchange: Arc<Exchange>,
    audience: watch::Receiver<Audience>,
    outlet: Outlet,
    last_known: LastKnown,
    seconds: Interval,
    last_sent: Instant,
}

impl Replay {
    pub(crate) fn new(exchange: Arc<Exchange>, outlet: Outlet) -> Self {
        Self {
            audience: exchange.clients.audience(),
            last_known: LastKnown::of(exchange.clients.products()),
            exchange,
            outlet,
            seconds: full_seconds(),
            last_sent: Instant::now(),
        }
    }

    /// Sends the recording, then only heartbeats, until the shutdown. What has begun is finished then, so that the truth
    /// tells of everything that was sent.
    pub(crate) async fn run(mut self, path: PathBuf, speed: Speed, shutdown: &Shutdown) {
        let lines = read_ahead(path);
        self.send(lines, speed, shutdown).await;
        self.outlet.close().await;
    }

    async fn send(
        &mut self,
        mut lines: mpsc::Receiver<Result<Line, RecordingError>>,
        speed: Speed,
        shutdown: &Shutdown,
    ) {
        let mut pace = Pace::new(speed);
        let mut sent: u64 = 0;
        while let Some(Some(line)) = shutdown.run_until(lines.recv()).await {
            match line {
                Ok(line) if line.is_subscriptions => {}
                Ok(line) => {
                    self.wait_for(&mut pace, &line, shutdown).await;
                    if shutdown.is_requested() {
                        return;
                    }
                    self.deliver(line).await;
                    sent = sent.saturating_add(1);
                }
                Err(error) => {
                    error!(error = %ErrorChain(&error), "the replay ends early");
                    break;
                }
            }
        }
        info!(lines = sent, "the recording has been replayed; heartbeats go on");
        self.idle_until(None, shutdown).await;
    }

    /// Waits until the line is due and somebody listens. While nobody does, the replay stands still.
    async fn wait_for(&mut self, pace: &mut Pace, line: &Line, shutdown: &Shutdown) {
        let mut due = pace.due(line.received.or(line.time), Instant::now());
        loop {
            if self.audience.borrow_and_update().subscribed == 0 {
                self.wait_for_somebody(shutdown).await;
                let now = Instant::now();
                pace.stood_still(now);
                due = due.map(|_| now);
            }
            // What is new is noticed here; a recording has no other greeting than the answer.
            drop(self.exchange.clients.take_fresh());
            if let Some(due) = due {
                self.idle_until(Some(due), shutdown).await;
            }
            if self.audience.borrow().subscribed > 0 || shutdown.is_requested() {
                return;
            }
        }
    }

    async fn wait_for_somebody(&mut self, shutdown: &Shutdown) {
        while self.audience.borrow_and_update().subscribed == 0 {
            tokio::select! {
                () = shutdown.requested() => return,
                // The sender lives as long as the exchange does.
                _ = self.audience.changed() => {}
                () = self.outlet.due() => self.act().await,
            }
        }
    }

    async fn act(&mut self) {
        // A script with a reset of sequences is not accepted for a recording.
        drop(self.outlet.act().await);
    }

    /// Sends heartbeats while the recording is silent; forever without an end.
    async fn idle_until(&mut self, end: Option<Instant>, shutdown: &Shutdown) {
        let far = Instant::now() + Duration::from_secs(86_400 * 365);
        while end.is_none_or(|end| Instant::now() < end) {
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep_until(end.unwrap_or(far)) => {}
                () = self.outlet.due() => self.act().await,
                _ = self.seconds.tick() => {
                    drop(self.exchange.clients.take_fresh());
                    if self.last_sent.elapsed() >= EVERY {
                        self.last_known.beat(&mut self.outlet).await;
                    }
                }
            }
        }
    }

    async fn deliver(&mut self, line: Line) {
        let product = line.product.as_deref();
        if let Some(product) = product {
            self.last_known.advance(product, line.sequence, line.trade_id);
            if let Some(trade) = line.trade {
                self.outlet.record_trade(product, trade);
            }
        }
        match product {
            Some(product) if line.is_ticker => self.outlet.ticker(product, None, line.message).await,
            _ => self.outlet.other(None, product, &line.message).await,
        }
        self.last_sent = Instant::now();
        self.act().await;
    }
}

/// Reads in a thread of its own; it ends when the receiver is dropped.
fn read_ahead(path: PathBuf) -> mpsc::Receiver<Result<Line, RecordingError>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD_MAX);
    spawn_blocking(move || {
        let mut lines = match Lines::open(&path) {
            Ok(lines) => lines,
            Err(error) => {
                // Without a receiver there is nobody to tell.
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        for line in lines.by_ref() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
        for path in lines.torn() {
            warn!(path = %path.display(), "the recording ends in the middle: it is replayed up to there");
        }
    });
    receiver
}

/// When lines are due. Times of different products interleave, so only the newest counts.
#[derive(Debug)]
struct Pace {
    speed: Speed,
    newest: Option<UnixNanos>,
    due: Option<Instant>,
}

impl Pace {
    fn new(speed: Speed) -> Self {
        Self { speed, newest: None, due: None }
    }

    /// When a line with this recorded time is due; `None` is at once.
    fn due(&mut self, time: Option<UnixNanos>, now: Instant) -> Option<Instant> {
        let Speed::Factor(factor) = self.speed else {
            return None;
        };
        let due = *self.due.get_or_insert(now);
        let Some(time) = time else { return Some(due) };
        let newest = *self.newest.get_or_insert(time);
        if time > newest || newest.saturating_since(time) > STEP_BACK_MAX {
            self.newest = Some(time);
        }
        let pause = time.saturating_since(newest).min(PAUSE_MAX).div_f64(factor);
        self.due = Some(due + pause);
        self.due
    }

    /// The schedule goes on from now.
    fn stood_still(&mut self, now: Instant) {
        self.due = self.due.map(|_| now);
    }
}

#[cfg(test)]
mod tests;
