//! The sending end to one client: a bounded queue, and what becomes of the connection.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::faults::Ending;
use crate::metrics::{BYTES, DISCONNECTS, MESSAGES};

const EMPTIED_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A message on its way to a client; its bytes count until it is written.
pub(crate) type Queued = (Message, OwnedSemaphorePermit);

/// The sending end to one client.
#[derive(Debug)]
pub(crate) struct Client {
    /// Rises with every connection.
    pub(crate) id: u64,
    queue: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    /// Cancelled when the connection is to end; `farewell` says how.
    pub(crate) ended: CancellationToken,
    farewell: OnceLock<Farewell>,
    stall: Mutex<Option<Stall>>,
}

/// Nothing is sent to a client, while its connection stays open.
#[derive(Clone, Debug)]
pub(crate) struct Stall {
    /// The fault that wants it so.
    pub(crate) fault: Arc<str>,
    /// `None` is for good.
    pub(crate) until: Option<Instant>,
}

/// Why a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    ClientLeft,
    NotSubscribed,
    TooSlow,
    Shutdown,
    Fault(Ending),
}

impl Farewell {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "it left",
            Self::NotSubscribed => "it did not subscribe in time",
            Self::TooSlow => "it did not read",
            Self::Shutdown => "the simulator stops",
            Self::Fault(Ending::Close) => "a fault closed the connection",
            Self::Fault(Ending::Cut) => "a fault cut the connection",
            Self::Fault(Ending::Reset) => "a fault reset the connection",
        }
    }
}

impl Client {
    /// A client with room for so many messages and bytes, and the receiving end of its queue.
    pub(crate) fn new(id: u64, messages_max: usize, bytes_max: usize) -> (Arc<Self>, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(messages_max);
        let client = Self {
            id,
            queue,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            ended: CancellationToken::new(),
            farewell: OnceLock::new(),
            stall: Mutex::default(),
        };
        (Arc::new(client), queued)
    }

    /// Queues the message, waiting up to `patience` for room; a client without room after that is disconnected.
    /// Says whether it was queued.
    pub(crate) async fn deliver(&self, message: Message, patience: Duration) -> bool {
        if patience.is_zero() {
            return self.offer(message);
        }
        if self.takes_nothing() {
            return false;
        }
        let length = message.len();
        let queued = async {
            let permit = Arc::clone(&self.bytes).acquire_many_owned(self.cost(length)).await.ok()?;
            self.queue.send((message, permit)).await.ok()
        };
        let outcome = tokio::select! {
            // The connection is gone: nobody will make room.
            () = self.queue.closed() => None,
            outcome = tokio::time::timeout(patience, queued) => match outcome {
                Ok(queued) => queued,
                Err(_) => {
                    self.end(Farewell::TooSlow);
                    None
                }
            },
        };
        count(outcome.is_some(), length)
    }

    /// Waits until nothing is queued, the connection is gone, or `deadline`. Takes no room meanwhile: the client may ask for
    /// something, and be answered.
    pub(crate) async fn emptied(&self, deadline: Instant) {
        let is_waiting = || self.queue.capacity() < self.queue.max_capacity() && !self.queue.is_closed();
        while is_waiting() && Instant::now() < deadline {
            tokio::time::sleep(EMPTIED_POLL_INTERVAL).await;
        }
    }

    /// Queues the message if there is room; disconnects the client otherwise. Says whether it was queued.
    pub(crate) fn offer(&self, message: Message) -> bool {
        if self.takes_nothing() {
            return false;
        }
        let length = message.len();
        let queued = Arc::clone(&self.bytes)
            .try_acquire_many_owned(self.cost(length))
            .is_ok_and(|permit| self.queue.try_send((message, permit)).is_ok());
        if !queued && !self.queue.is_closed() {
            self.end(Farewell::TooSlow);
        }
        count(queued, length)
    }

    /// Has the connection end; the first reason counts.
    pub(crate) fn end(&self, farewell: Farewell) {
        if self.farewell.set(farewell).is_ok() {
            let reason = if farewell == Farewell::TooSlow { "slow" } else { "fault" };
            counter!(DISCONNECTS, "reason" => reason).increment(1);
            self.ended.cancel();
        }
    }

    /// Why the connection is to end, once it is.
    pub(crate) fn farewell(&self) -> Farewell {
        self.farewell.get().copied().unwrap_or(Farewell::TooSlow)
    }

    /// Nothing goes to the client until the stall is over. What is queued still does.
    pub(crate) fn stall(&self, stall: Stall) {
        *self.stall.lock().unwrap_or_else(PoisonError::into_inner) = Some(stall);
    }

    /// The stall, while it lasts.
    pub(crate) fn stalled(&self) -> Option<Stall> {
        let mut stall = self.stall.lock().unwrap_or_else(PoisonError::into_inner);
        if stall.as_ref().and_then(|stall| stall.until).is_some_and(|until| Instant::now() >= until) {
            *stall = None;
        }
        stall.clone()
    }

    fn takes_nothing(&self) -> bool {
        self.ended.is_cancelled() || self.stalled().is_some()
    }

    /// A message longer than the whole queue waits until the queue is empty.
    fn cost(&self, length: usize) -> u32 {
        u32::try_from(length.min(self.bytes_max)).unwrap_or(u32::MAX)
    }
}

fn count(queued: bool, length: usize) -> bool {
    if queued {
        counter!(MESSAGES).increment(1);
        counter!(BYTES).increment(u64::try_from(length).unwrap_or(u64::MAX));
    }
    queued
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn full() -> (Arc<Client>, mpsc::Receiver<Queued>) {
        let (client, queued) = Client::new(1, 2, 1_000);
        assert!(client.offer(Message::text("one")) && client.offer(Message::text("two")));
        (client, queued)
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_empty_when_the_last_message_is_taken() {
        let (client, mut queued) = full();
        let start = Instant::now();
        let taking = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(queued.recv().await);
            // There is room for an answer while the queue is waited for.
            assert!(client.offer(Message::text("an answer")));
            tokio::time::sleep(Duration::from_secs(1)).await;
            while queued.try_recv().is_ok() {}
            queued
        };
        let ((), _queued) = tokio::join!(client.emptied(start + PATIENCE), taking);
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_not_waited_for_longer_than_until_the_deadline_or_when_the_client_is_gone() {
        let (client, queued) = full();
        let start = Instant::now();
        client.emptied(start + PATIENCE).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        drop(queued);
        client.emptied(Instant::now() + PATIENCE).await;
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
