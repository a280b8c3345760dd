//! Who is connected, and what each client wants.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{counter, gauge};
use tokio::sync::{Semaphore, mpsc, watch};
use venues::coinbase::{Request, RequestFault};

use crate::client::{Client, Queued};
use crate::faults::live::Faults;
use crate::metrics::{CLIENTS, REQUESTS};
use crate::subscribing::{Offer, Refusal, Subscribed, admitted};

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
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (client, queued) = Client::new(id, self.queue_messages_max, self.queue_bytes_max);
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
    pub(crate) fn request(&self, client: &Client, request: Result<Request, RequestFault>, faults: &Faults) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&client.id) else {
            return;
        };
        let admitted = request.map_err(|fault| Refusal::from(&fault)).and_then(|r| admitted(r, faults));
        let applied = admitted.and_then(|request| entry.subscribed.apply(&request, &self.offer));
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
    /// names no product; the oldest connection first. Subscriptions that nobody took notice of do not count yet.
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

    /// Who is subscribed to anything, the oldest connection first.
    pub(crate) fn subscribed(&self) -> Vec<Arc<Client>> {
        let entries = self.lock();
        let subscribed = entries.values().filter(|entry| !entry.subscribed.is_empty());
        subscribed.map(|entry| Arc::clone(&entry.client)).collect()
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

#[cfg(test)]
mod tests;
