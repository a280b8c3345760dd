//! How many clients there may be, and what is counted about each.

use std::sync::Arc;

use domain::UnixNanos;
use live::{Delivery, Event};
use metrics::{Counter, Histogram, counter, gauge, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics as names;

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Grpc,
    GrpcWeb,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc_web",
        }
    }
}

/// The places for clients of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Semaphore>);

/// A client that has a place. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Client {
    _place: OwnedSemaphorePermit,
    transport: &'static str,
    sent: Counter,
    skipped: Counter,
    lag: Histogram,
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))))
    }

    /// A place, or `None` when there is none left.
    pub(crate) fn enter(&self, transport: Transport) -> Option<Client> {
        let transport = transport.as_str();
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            counter!(names::CLIENTS_REFUSED, "transport" => transport).increment(1);
            return None;
        };
        gauge!(names::CLIENTS, "transport" => transport).increment(1.0);
        Some(Client {
            _place: place,
            transport,
            sent: counter!(names::SENT, "transport" => transport),
            skipped: counter!(names::SKIPPED, "transport" => transport),
            lag: histogram!(names::LAG, "transport" => transport),
        })
    }
}

impl Client {
    /// Counts messages that are no ticks.
    pub(crate) fn count_messages(&self, count: usize) {
        self.sent.increment(count as u64);
    }

    /// Counts what is about to be sent, and how old the newest tick in it is.
    pub(crate) fn count(&self, deliveries: &[Delivery]) {
        self.sent.increment(deliveries.len() as u64);
        let mut newest = None;
        for delivery in deliveries {
            match delivery {
                Delivery::Tick { tick, skipped } => {
                    newest = newest.max(Some(tick.tick().receive_time));
                    self.skipped.increment(*skipped);
                }
                Delivery::Snapshot { skipped, .. } => self.skipped.increment(*skipped),
                Delivery::Event(Event::RateLimited { .. }) => {
                    counter!(names::RATE_LIMITED, "transport" => self.transport).increment(1);
                }
                Delivery::Event(_) => {}
            }
        }
        if let Some(newest) = newest {
            self.lag.record(UnixNanos::now().saturating_since(newest));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        gauge!(names::CLIENTS, "transport" => self.transport).decrement(1.0);
    }
}
