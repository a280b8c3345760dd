//! One subscriber: a reader that waits for something to read.

use std::time::Duration;

use domain::{Instrument, UnixNanos};
use tokio::{sync::watch, time::Instant};

use crate::{AddError, Delivery, FellBehind, LiveFeed, Policy, Products, Read, Reader, Start};

/// A subscriber's end of the live feed. It pulls: what it does not read stays in the shared ring and costs nothing.
#[derive(Debug)]
pub struct Subscription {
    feed: LiveFeed,
    version: watch::Receiver<u64>,
    reader: Reader,
}

impl Subscription {
    /// Subscribes to `products`.
    pub fn new(feed: &LiveFeed, products: Products, start: Start, policy: Policy) -> Result<Self, AddError> {
        let mut subscription = Self::idle(feed, policy);
        match products {
            Products::All => subscription.add_all(start),
            Products::These(instruments) => {
                for instrument in instruments {
                    subscription.add(instrument, start)?;
                }
            }
        }
        Ok(subscription)
    }

    /// A subscription without products, to add them later.
    pub fn idle(feed: &LiveFeed, policy: Policy) -> Self {
        let reader = feed.read(|state| Reader::new(state, policy));
        Self { feed: feed.clone(), version: feed.version(), reader }
    }

    /// Adds a product, or starts it anew when it is there already. A product that nobody has heard of is waited for.
    pub fn add(&mut self, instrument: Instrument, start: Start) -> Result<(), AddError> {
        self.feed.read(|state| self.reader.add(state, instrument, start))
    }

    /// Adds every product, also those that appear later.
    pub fn add_all(&mut self, start: Start) {
        self.feed.read(|state| self.reader.add_all(state, start));
    }

    /// Leaves a product and says whether it was there.
    pub fn remove(&mut self, instrument: &Instrument) -> bool {
        self.reader.remove(instrument)
    }

    /// Leaves all products.
    pub fn remove_all(&mut self) {
        self.reader.remove_all();
    }

    /// How many products are subscribed to.
    pub fn products(&self) -> usize {
        self.reader.products()
    }

    /// Whether the product is subscribed to, by itself or with all.
    pub fn contains(&self, instrument: &Instrument) -> bool {
        self.reader.contains(instrument)
    }

    /// Waits until there is something and returns it: at least one and at most about `max` deliveries.
    ///
    /// Dropping the future before it is done loses nothing. It ends with an error when a lossless subscriber was too slow.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, FellBehind> {
        loop {
            let read = self.read(max)?;
            if !read.deliveries.is_empty() {
                return Ok(read.deliveries);
            }
            self.wait(read.wait).await;
        }
    }

    /// Returns what is there without waiting; nothing when there is nothing.
    pub fn ready_batch(&mut self, max: usize) -> Result<Vec<Delivery>, FellBehind> {
        Ok(self.read(max)?.deliveries)
    }

    fn read(&mut self, max: usize) -> Result<Read, FellBehind> {
        // Seen before the state is read: what is published after that wakes us.
        self.version.borrow_and_update();
        let now = Instant::now().into_std();
        self.feed.read(|state| self.reader.read(state, now, UnixNanos::now(), max.max(1)))
    }

    /// With an empty token bucket a new tick is no reason to look: only time is.
    async fn wait(&mut self, token: Option<Duration>) {
        match token {
            Some(token) => tokio::time::sleep(token).await,
            // The sender lives in `self.feed`, so it cannot be gone.
            None => drop(self.version.changed().await),
        }
    }
}
