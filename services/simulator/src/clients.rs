//! Who is connected, what each client wants, and the bounded queue to each.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use venues::coinbase::{Request, RequestFault};

use crate::metrics::{BYTES, CLIENTS, DISCONNECTS, MESSAGES, REQUESTS};
use crate::subscribing::{Offer, Refusal, Subscribed};

/// All clients. The feed asks it who gets a message; connections tell it what their client wants.
#[derive(Debug)]
pub(crate) struct Clients {
    offer: Offer,
    queue_messages_max: usize,
    queue_bytes_max: usize,
    entries: Mutex<BTreeMap<u64, Entry>>,
    next_id: AtomicU64,
    audience: watch::Sender<Audience>,
}

/// How many clients are subscribed to anything, and how often that or their subscriptions changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audience {
    pub(crate) subscribed: usize,
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    client: Arc<Client>,
    subscribed: Subscribed,
    /// Channel and product of what the feed has not noticed yet; nothing of it is sent before.
    fresh: HashSet<(String, String)>,
}

/// A message on its way to a client; its bytes count until it is written.
pub(crate) type Queued = (Message, OwnedSemaphorePermit);

/// The sending end to one client.
#[derive(Debug)]
pub(crate) struct Client {
    id: u64,
    queue: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    /// Cancelled when the client is to be disconnected because it does not read.
    pub(crate) too_slow: CancellationToken,
}

impl Clients {
    pub(crate) fn new(offer: Offer, queue_messages_max: usize, queue_bytes_max: usize) -> Self {
        Self {
            offer,
            queue_messages_max: queue_messages_max.max(1),
            queue_bytes_max: queue_bytes_max.clamp(1, Semaphore::MAX_PERMITS),
            entries: Mutex::default(),
            next_id: AtomicU64::new(1),
            audience: watch::Sender::new(Audience::default()),
        }
    }

    /// A new client without subscriptions, and the receiving end of its queue.
    pub(crate) fn join(&self) -> (Arc<Client>, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(self.queue_messages_max);
        let client = Arc::new(Client {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            queue,
            bytes: Arc::new(Semaphore::new(self.queue_bytes_max)),
            bytes_max: self.queue_bytes_max,
            too_slow: CancellationToken::new(),
        });
        let entry =
            Entry { client: Arc::clone(&client), subscribed: Subscribed::default(), fresh: HashSet::new() };
        let mut entries = self.lock();
        entries.insert(client.id, entry);
        self.changed(&entries);
        (client, queued)
    }

    pub(crate) fn leave(&self, client: &Client) {
        let mut entries = self.lock();
        entries.remove(&client.id);
        self.changed(&entries);
    }

    /// Applies the request of a client and queues the answer. The answer precedes everything it asked for, because the
    /// feed sends nothing of it before it has taken notice.
    pub(crate) fn request(&self, client: &Client, request: &Result<Request, RequestFault>) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&client.id) else {
            return;
        };
        let applied = match request {
            Ok(request) => entry.subscribed.apply(request, &self.offer),
            Err(fault) => Err(Refusal::from(fault)),
        };
        let (answer, outcome) = match applied {
            Ok(fresh) => {
                entry.fresh.extend(fresh);
                let subscribed = &entry.subscribed;
                entry.fresh.retain(|(channel, product)| subscribed.has(Some(channel), product));
                (entry.subscribed.to_message(), "accepted")
            }
            Err(refusal) => (refusal.to_message(), "refused"),
        };
        counter!(REQUESTS, "outcome" => outcome).increment(1);
        client.offer(answer);
        self.changed(&entries);
    }

    /// Whether the client is subscribed to anything.
    pub(crate) fn is_subscribed(&self, client: &Client) -> bool {
        self.lock().get(&client.id).is_some_and(|entry| !entry.subscribed.is_empty())
    }

    /// Takes notice of new subscriptions: client, channel, product.
    pub(crate) fn take_fresh(&self) -> Vec<(Arc<Client>, String, String)> {
        let mut taken = Vec::new();
        for entry in self.lock().values_mut() {
            let mut fresh: Vec<_> = entry.fresh.drain().collect();
            fresh.sort_unstable();
            taken.extend(
                fresh.into_iter().map(|(channel, product)| (Arc::clone(&entry.client), channel, product)),
            );
        }
        taken
    }

    /// Who is subscribed to `product` on `channel` (on any, when `None`); everyone with a subscription when the message
    /// names no product. Subscriptions that nobody took notice of do not count yet.
    pub(crate) fn recipients(
        &self,
        channel: Option<&str>,
        product: Option<&str>,
        into: &mut Vec<Arc<Client>>,
    ) {
        into.clear();
        let entries = self.lock();
        let wanted = entries.values().filter(|entry| match product {
            Some(product) => entry.wants(channel, product),
            None => !entry.subscribed.is_empty(),
        });
        into.extend(wanted.map(|entry| Arc::clone(&entry.client)));
    }

    /// The products that there are to subscribe to.
    pub(crate) fn products(&self) -> impl ExactSizeIterator<Item = &String> {
        self.offer.products.iter()
    }

    /// Follows how many clients are subscribed.
    pub(crate) fn audience(&self) -> watch::Receiver<Audience> {
        self.audience.subscribe()
    }

    fn changed(&self, entries: &BTreeMap<u64, Entry>) {
        let subscribed = entries.values().filter(|entry| !entry.subscribed.is_empty()).count();
        #[allow(clippy::cast_precision_loss, reason = "a gauge of a few hundred clients")]
        gauge!(CLIENTS).set(entries.len() as f64);
        self.audience.send_modify(|audience| {
            audience.subscribed = subscribed;
            audience.changes = audience.changes.wrapping_add(1);
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn wants(&self, channel: Option<&str>, product: &str) -> bool {
        if !self.subscribed.has(channel, product) {
            return false;
        }
        let Some(channel) = channel else { return true };
        self.fresh.is_empty() || !self.fresh.iter().any(|(c, p)| c == channel && p == product)
    }
}

impl Client {
    /// Queues the message, waiting up to `patience` for room; a client without room after that is disconnected.
    /// Says whether it was queued.
    pub(crate) async fn deliver(&self, message: Message, patience: Duration) -> bool {
        if patience.is_zero() {
            return self.offer(message);
        }
        if self.too_slow.is_cancelled() {
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
                    self.disconnect();
                    None
                }
            },
        };
        count(outcome.is_some(), length)
    }

    /// Queues the message if there is room; disconnects the client otherwise. Says whether it was queued.
    pub(crate) fn offer(&self, message: Message) -> bool {
        let length = message.len();
        let queued = Arc::clone(&self.bytes)
            .try_acquire_many_owned(self.cost(length))
            .is_ok_and(|permit| self.queue.try_send((message, permit)).is_ok());
        if !queued && !self.queue.is_closed() {
            self.disconnect();
        }
        count(queued, length)
    }

    fn disconnect(&self) {
        if !self.too_slow.is_cancelled() {
            counter!(DISCONNECTS, "reason" => "slow").increment(1);
            self.too_slow.cancel();
        }
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
mod tests;
