//! Refused frames and events of the feed on their way to the bus, beside the ticks.

use std::time::Duration;

use bus::{Bus, PublishError};
use domain::{FeedEvent, RejectedTick};
use metrics::counter;
use runtime::{Backoff, ErrorChain, LogGate};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, warn};

use crate::metrics::OUTBOX_LOST;

/// How many may wait; with at most 64 KiB of each refused frame that makes 16 MiB.
const WAITING_MAX: usize = 256;
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);

/// What goes out.
#[derive(Debug)]
pub(crate) enum Letter {
    Reject(Box<RejectedTick>),
    Event(Box<FeedEvent>),
}

impl Letter {
    fn kind(&self) -> &'static str {
        match self {
            Self::Reject(_) => "reject",
            Self::Event(_) => "event",
        }
    }

    async fn publish(&self, bus: &Bus) -> Result<(), PublishError> {
        match self {
            Self::Reject(rejected) => bus.publish_reject(rejected).await,
            Self::Event(event) => bus.publish_event(event).await,
        }
    }
}

/// Where letters are put, by everybody. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Postbox(Option<mpsc::Sender<Letter>>);

impl Postbox {
    /// Where nobody wants them: the frames themselves are kept.
    pub(crate) fn nowhere() -> Self {
        Self(None)
    }

    /// Waits while the outbox is full: whoever refuses frames then reads no more of them.
    pub(crate) async fn put(&self, letter: Letter) {
        if let Some(letters) = &self.0
            && let Err(refused) = letters.send(letter).await
        {
            lost(&refused.0);
        }
    }
}

/// Publishes in order, each until it is acknowledged.
pub(crate) struct Outbox {
    task: AbortOnDropHandle<()>,
}

impl Outbox {
    pub(crate) fn open(bus: Bus) -> (Postbox, Self) {
        let (letters, waiting) = mpsc::channel(WAITING_MAX);
        (Postbox(Some(letters)), Self { task: AbortOnDropHandle::new(tokio::spawn(deliver(bus, waiting))) })
    }

    /// Publishes what waits, up to `deadline`; what is left then is counted as lost. To be called when nobody holds a
    /// postbox any more.
    pub(crate) async fn close(self, deadline: Duration) {
        if tokio::time::timeout(deadline, self.task).await.is_err() {
            // The count is made where the letters are dropped.
            warn!("refused frames or events were given up before the broker acknowledged them");
        }
    }
}

/// What is under way. Dropped in the middle, it counts what is given up.
struct Delivery {
    waiting: mpsc::Receiver<Letter>,
    current: Option<Letter>,
}

async fn deliver(bus: Bus, waiting: mpsc::Receiver<Letter>) {
    let gate = LogGate::new(Duration::from_secs(30));
    let mut delivery = Delivery { waiting, current: None };
    while let Some(letter) = delivery.waiting.recv().await {
        let letter = delivery.current.insert(letter);
        let mut backoff = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        let mut reconnections = bus.reconnections();
        while let Err(error) = letter.publish(&bus).await {
            if !error.is_retryable() {
                error!(error = %ErrorChain(&error), kind = letter.kind(), "it cannot be published");
                lost(letter);
                break;
            }
            if let Some(swallowed) = gate.pass(Instant::now().into_std()) {
                warn!(error = %ErrorChain(&error), swallowed, "a refused frame or event waits for the broker");
            }
            if reconnections.or_after(backoff.next_delay()).await {
                backoff.reset();
            }
        }
        delivery.current = None;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.current.iter().for_each(lost);
        while let Ok(letter) = self.waiting.try_recv() {
            lost(&letter);
        }
    }
}

fn lost(letter: &Letter) {
    counter!(OUTBOX_LOST, "kind" => letter.kind()).increment(1);
}
