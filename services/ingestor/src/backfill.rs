//! Fetching the trades that are missing.
//!
//! It follows the events of gaps, fetches what the exchange still has, and publishes it as backfilled ticks; whether a gap
//! is closed by that is judged by whoever stores them. It never touches the live feed: it shares with it only the bus. Two
//! ingestors may fetch the same trades: a fill that is stored already counts for nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, EventFollower, FollowError, FollowFrom, Followed};
use domain::{EventKind, FeedEvent, FeedSession, Gap, GapState};
use metrics::{counter, gauge};
use runtime::ErrorChain;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

mod fetch;
mod ranges;
mod wanted;

use fetch::{Fetched, fetch};
use wanted::{Job, Limits, Opened, Wanted};

use crate::metrics::{BACKFILL_GAPS, BACKFILL_PUT_OFF, UNREPAIRABLE};
use crate::reading::Products;
use crate::rest::Rest;
use crate::surroundings::Surroundings;

/// How many gaps may wait to be fetched. Beyond that the oldest are put off: they stay open, and are read again from the
/// events once the others are done.
pub const BACKFILL_GAPS_MAX: usize = 10_000;

/// A new gap waits for up to so long, at random: with two ingestors the other one has mostly filled it then.
const SPREAD_MAX: Duration = Duration::from_secs(1);
/// The delay before trades are asked for again that the exchange had not got; each further one is three times as long.
const ATTEMPT_DELAY_MIN: Duration = Duration::from_secs(2);
/// When to look again though nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// Fetches until the shutdown is requested; whatever goes wrong is tried again.
pub(crate) async fn run(
    around: Arc<Surroundings>,
    bus: Bus,
    rest: Arc<Rest>,
    products: Products,
) -> Result<(), Infallible> {
    let shutdown = around.ctx.shutdown.clone();
    let mut backfill = Backfill {
        wanted: Wanted::new(Limits {
            gaps_max: BACKFILL_GAPS_MAX,
            trades_max: around.config.backfill_trades_max,
            attempts_max: around.config.backfill_attempts_max,
            attempt_delay_min: ATTEMPT_DELAY_MIN,
        }),
        events: bus.follow_events(FollowFrom::AfterSequence(0)),
        has_read_all: false,
        feed: around.new_feed(),
        products,
        around,
        bus,
        rest,
    };
    backfill.follow();
    // What is fetched and published at a time makes a large future.
    shutdown.run_until(Box::pin(backfill.work())).await;
    Ok(())
}

struct Backfill {
    around: Arc<Surroundings>,
    bus: Bus,
    rest: Arc<Rest>,
    products: Products,
    events: EventFollower,
    /// Gaps that were open when the process started may be closed by a later event: nothing is fetched before all are read.
    has_read_all: bool,
    wanted: Wanted,
    /// The session that fills belong to.
    feed: FeedSession,
}

enum Step {
    Fetched(Job, Fetched),
    Event(Box<Result<Followed<FeedEvent>, FollowError>>),
    Products,
    Due,
}

type Fetching = Pin<Box<dyn Future<Output = (Job, Fetched)> + Send>>;

impl Backfill {
    async fn work(mut self) {
        let mut fetching: Option<Fetching> = None;
        loop {
            if !self.has_read_all {
                self.look_for_the_end().await;
            }
            if fetching.is_none() && self.has_read_all {
                fetching = self.next_job();
            }
            let idle = fetching.is_none() && self.has_read_all;
            let due = self.wanted.next_due().unwrap_or_else(|| Instant::now() + IDLE);
            let done = async {
                match &mut fetching {
                    Some(fetching) => fetching.await,
                    None => std::future::pending().await,
                }
            };
            // Each of these may be dropped while it waits; what follows from it is done outside.
            let step = tokio::select! {
                (job, fetched) = done => Step::Fetched(job, fetched),
                event = self.events.next() => Step::Event(Box::new(event)),
                Ok(()) = self.products.changed() => Step::Products,
                () = sleep_until(due), if idle => Step::Due,
            };
            match step {
                Step::Fetched(job, fetched) => {
                    fetching = None;
                    self.settle(&job, fetched).await;
                }
                Step::Event(event) => self.take(*event).await,
                Step::Products => self.follow(),
                Step::Due => {}
            }
            // The number of gaps is far below what a float holds exactly.
            gauge!(BACKFILL_GAPS).set(u32::try_from(self.wanted.len()).map_or(f64::MAX, f64::from));
        }
    }

    /// With no event to come the end is known before the first one.
    async fn look_for_the_end(&mut self) {
        match self.events.attach().await {
            Ok(pending) => self.has_read_all = pending == 0,
            Err(error) => self.told(&error),
        }
    }

    fn follow(&mut self) {
        self.wanted.follow(self.products.borrow_and_update().iter().cloned());
    }

    fn next_job(&mut self) -> Option<Fetching> {
        if self.wanted.takes_up_put_off() {
            info!("gaps that were put off are looked for again");
            self.has_read_all = false;
            self.events = self.bus.follow_events(FollowFrom::AfterSequence(0));
            return None;
        }
        let job = self.wanted.next(Instant::now())?;
        let (bus, rest, feed) = (self.bus.clone(), Arc::clone(&self.rest), self.feed.clone());
        Some(Box::pin(async move {
            let fetched = fetch(&bus, &rest, &feed, &job).await;
            (job, fetched)
        }))
    }

    async fn settle(&mut self, job: &Job, fetched: Fetched) {
        match fetched {
            Fetched::Answered { trades, absent } => {
                for lost in self.wanted.settle(job, &trades, &absent, Instant::now()) {
                    self.give_up(lost, "gone").await;
                }
            }
            // It says nothing of the trades; the pause that it brings for all is kept where the exchange is asked.
            Fetched::Failed => self.wanted.put_back(job, Instant::now()),
        }
    }

    async fn take(&mut self, event: Result<Followed<FeedEvent>, FollowError>) {
        match event {
            Ok(followed) => {
                self.has_read_all |= followed.pending == 0;
                self.note(followed.content).await;
            }
            Err(error) => self.told(&error),
        }
    }

    fn told(&mut self, error: &FollowError) {
        match error {
            // A new stream tells again what it knows.
            FollowError::Restarted { .. } => self.wanted.clear(),
            FollowError::Undecodable { pending, .. } => self.has_read_all |= *pending == 0,
            FollowError::Gone { .. } => {}
            FollowError::Broker(_) => {
                tracing::debug!(error = %ErrorChain(error), "the events cannot be read");
            }
        }
    }

    async fn note(&mut self, event: FeedEvent) {
        match event.kind {
            EventKind::Gap(gap) if gap.state == GapState::Open => {
                let spread = SPREAD_MAX.mul_f64(fastrand::f64());
                match self.wanted.open(gap, Instant::now() + spread) {
                    Opened::Taken => {}
                    Opened::TooLarge(gap) => self.give_up(gap, "too_large").await,
                    Opened::PutOff => counter!(BACKFILL_PUT_OFF).increment(1),
                }
            }
            EventKind::Gap(gap) | EventKind::Repaired(gap) if gap.state != GapState::Open => {
                self.wanted.close(&gap);
            }
            _ => {}
        }
    }

    /// Says that the exchange has not got all of a gap, or that nobody will fetch it.
    async fn give_up(&self, gap: Gap, reason: &'static str) {
        counter!(UNREPAIRABLE, "reason" => reason).increment(1);
        let (first, last) = (gap.first_trade_id, gap.last_trade_id);
        let product = gap.instrument.product.clone();
        warn!(%product, first, last, reason, "missing trades cannot be fetched");
        self.around.tell(&product, EventKind::Repaired(gap)).await;
    }
}
