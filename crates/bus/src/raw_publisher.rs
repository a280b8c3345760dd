//! Publishing ticks as they are received: one publish in flight per subject, the rest gathers.

use std::sync::Arc;

use domain::{FeedSession, Heartbeat, Instrument, Tick};
use opentelemetry::Context;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::{Bus, headers, metrics};

mod delivery;
mod lanes;

use lanes::Lanes;

/// The publisher was closed, or its task ended.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the publisher is closed")]
pub struct PublisherClosed;

/// A tick on its way, the trace it belongs to, and its place in the bounded buffer.
#[derive(Debug)]
struct Buffered {
    tick: Tick,
    context: Context,
    _place: Place,
}

/// A heartbeat on its way.
#[derive(Debug)]
struct Beat {
    instrument: Instrument,
    heartbeat: Heartbeat,
    context: Context,
    _place: Place,
}

/// What was handed over.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all of them are ticks")]
enum Sent {
    Tick(Buffered),
    Heartbeat(Beat),
}

/// One place in the buffer; free again when this is dropped.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::raw_buffered(1);
        Self { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::raw_buffered(-1);
    }
}

/// Publishes the ticks of one feed session to `LF_RAW`, in order per product.
///
/// While the acknowledgement of a product's batch is outstanding, further ticks of that product gather and leave
/// together as the next batch. A batch is repeated with identical bytes until it is acknowledged; the broker
/// recognises the repetition. A heartbeat leaves with the ticks that were handed over before it, or alone. A batch that is
/// too large for the broker is split; a single tick that is too large is
/// filed as a reject. Dropping the publisher gives up what was not acknowledged; [`RawPublisher::close`]
/// does not.
#[derive(Debug)]
pub struct RawPublisher {
    places: Arc<Semaphore>,
    capacity: usize,
    sender: mpsc::Sender<Sent>,
    task: AbortOnDropHandle<()>,
}

impl Bus {
    /// The publisher of a feed session. A new connection to an exchange needs a new session and a new publisher.
    pub fn raw_publisher(&self, session: FeedSession) -> RawPublisher {
        let capacity = self.config.raw_buffer_max_ticks.clamp(1, Semaphore::MAX_PERMITS);
        // The places bound the ticks; with as many slots the channel never waits.
        let (sender, receiver) = mpsc::channel(capacity);
        let lanes = Lanes::new(self.clone(), session);
        RawPublisher {
            places: Arc::new(Semaphore::new(capacity)),
            capacity,
            sender,
            task: AbortOnDropHandle::new(tokio::spawn(lanes.run(receiver))),
        }
    }
}

impl RawPublisher {
    /// Hands over a tick. Waits while the buffer is full: the socket is then read no further.
    pub async fn send(&self, tick: Tick) -> Result<(), PublisherClosed> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| PublisherClosed)?;
        let buffered = Buffered { tick, context: headers::current_context(), _place: Place::new(place) };
        self.sender.send(Sent::Tick(buffered)).await.map_err(|_| PublisherClosed)
    }

    /// Hands over what the exchange said of a product, behind the ticks handed over so far. Of one product at most one waits:
    /// a newer one takes its place. Waits while the buffer is full.
    pub async fn send_heartbeat(
        &self,
        instrument: Instrument,
        heartbeat: Heartbeat,
    ) -> Result<(), PublisherClosed> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| PublisherClosed)?;
        let (context, _place) = (headers::current_context(), Place::new(place));
        let beat = Beat { instrument, heartbeat, context, _place };
        self.sender.send(Sent::Heartbeat(beat)).await.map_err(|_| PublisherClosed)
    }

    /// How many ticks and heartbeats are not acknowledged yet.
    pub fn unacknowledged_ticks(&self) -> usize {
        self.capacity.saturating_sub(self.places.available_permits())
    }

    /// Takes no more ticks, and returns when everything is acknowledged. Waits for ever while the broker is away:
    /// set a limit to it, and drop it then.
    pub async fn close(self) {
        let Self { sender, task, .. } = self;
        drop(sender);
        if let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(%error, "the task of a raw publisher ended before its time");
        }
    }
}
