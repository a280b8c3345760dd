//! One subscriber: a reader that waits for something to read.

use std::{future, time::Duration};

use domain::{Instrument, UnixNanos};
use futures::future::select_all;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Delivery, Ended, Event, HistoryError, LiveFeed, Policy, Products, Read, Reader, Start, When,
    archive::{Answer, Archive},
    news::Listener,
    reader::Ask,
};

/// How often a subscription that wants checkpoints gets one.
const CHECKPOINT_PERIOD: Duration = Duration::from_secs(5);

/// A subscriber's end of the live feed. It pulls: what it does not read stays in the shared ring, or in history, and costs
/// nothing.
#[derive(Debug)]
pub struct Subscription {
    feed: LiveFeed,
    news: Listener,
    reader: Reader,
    /// The questions to history that are on their way: few, as the reader asks few at a time.
    asking: Vec<Asking>,
    checkpoint_at: Option<Instant>,
}

/// A question that is on its way by itself: a subscriber that does not look at the answer holds no place that others wait
/// for. Dropping it ends the read.
#[derive(Debug)]
struct Asking {
    instrument: Instrument,
    number: u64,
    answer: AbortOnDropHandle<Answer>,
}

impl Subscription {
    /// Subscribes to `products`.
    pub fn new(feed: &LiveFeed, products: Products, start: &Start, policy: Policy) -> Self {
        let mut subscription = Self::idle(feed, policy);
        match products {
            Products::All => subscription.add_all(start),
            Products::These(instruments) => {
                for instrument in instruments {
                    subscription.add(instrument, start);
                }
            }
        }
        subscription
    }

    /// A subscription without products, to add them later.
    pub fn idle(feed: &LiveFeed, policy: Policy) -> Self {
        let reader = feed.read(|state| Reader::new(state, policy));
        Self {
            feed: feed.clone(),
            news: feed.news().of(std::iter::empty()),
            reader,
            asking: Vec::new(),
            checkpoint_at: None,
        }
    }

    /// The same, with an [`Event::Checkpoint`] every 5 s.
    pub fn with_checkpoints(self) -> Self {
        Self { checkpoint_at: Some(Instant::now() + CHECKPOINT_PERIOD), ..self }
    }

    /// Adds a product, or starts it anew when it is there already and nothing of it was given yet. A product that nobody has
    /// heard of is waited for.
    pub fn add(&mut self, instrument: Instrument, start: &Start) {
        self.feed.read(|state| self.reader.add(state, instrument, start));
        self.listen();
    }

    /// Adds every product, also those that appear later.
    pub fn add_all(&mut self, start: &Start) {
        self.feed.read(|state| self.reader.add_all(state, start));
        self.listen();
    }

    /// Leaves a product and says whether it was there.
    pub fn remove(&mut self, instrument: &Instrument) -> bool {
        let was_there = self.reader.remove(instrument);
        self.listen();
        was_there
    }

    /// Leaves all products.
    pub fn remove_all(&mut self) {
        self.reader.remove_all();
        self.listen();
    }

    /// Listens to what concerns the products there are now, from before they are read next, and leaves off what only concerned
    /// others.
    fn listen(&mut self) {
        self.forget();
        let news = self.feed.news();
        self.news =
            if self.reader.is_of_all() { news.of_everything() } else { news.of(self.reader.instruments()) };
    }

    /// How many products are subscribed to.
    pub fn products(&self) -> usize {
        self.reader.products()
    }

    /// Whether the product is subscribed to, by itself or with all.
    pub fn contains(&self, instrument: &Instrument) -> bool {
        self.reader.contains(instrument)
    }

    /// The text of a token that resumes the whole subscription after what was returned so far; `None` while there is none:
    /// see [`Reader::token`]. There is none either while the feed has not caught up: a product that was not heard of yet
    /// would be taken for one that appeared after the token, and be given from its first tick.
    pub fn token(&self) -> Option<String> {
        if !self.feed.is_caught_up() {
            return None;
        }
        self.feed.read(|state| self.reader.token(state))
    }

    /// What it occupies in memory by itself, in bytes, roughly: while a product is on its way from the past, two pages of
    /// history come on top.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.reader.size_bytes()
    }

    /// Waits until there is something and returns it: at least one and at most about `max` deliveries.
    ///
    /// Dropping the future before it is done loses nothing. The error ends the subscription; [`Subscription::token`] is good
    /// after it too.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Ended> {
        loop {
            let mut read = self.read(max)?;
            read.deliveries.extend(self.checkpoint());
            if !read.deliveries.is_empty() {
                return Ok(read.deliveries);
            }
            self.ask();
            self.wait(&read).await;
        }
    }

    /// Returns what is there without waiting; nothing when there is nothing.
    pub fn ready_batch(&mut self, max: usize) -> Result<Vec<Delivery>, Ended> {
        Ok(self.read(max)?.deliveries)
    }

    fn read(&mut self, max: usize) -> Result<Read, Ended> {
        // Seen before the state is read: what is published after that wakes us.
        self.news.catch_up();
        let when = self.when();
        self.feed.read(|state| self.reader.read(state, when, max.max(1)))
    }

    fn when(&self) -> When {
        When {
            now: Instant::now().into_std(),
            wall: UnixNanos::now(),
            can_ask: self.feed.archive().is_some(),
            is_caught_up: self.feed.is_caught_up(),
        }
    }

    fn checkpoint(&mut self) -> Option<Delivery> {
        let at = self.checkpoint_at.as_mut().filter(|at| **at <= Instant::now())?;
        *at = Instant::now() + CHECKPOINT_PERIOD;
        Some(Delivery::Event(Event::Checkpoint { token: self.token().unwrap_or_default() }))
    }

    /// Ends the reads whose answers are no longer of use: they would take the places of others.
    fn forget(&mut self) {
        self.asking.retain(|asking| self.reader.is_asking(&asking.instrument, asking.number));
    }

    /// Asks history what is needed next.
    fn ask(&mut self) {
        if !self.reader.is_catching_up() {
            self.asking = Vec::new();
            return;
        }
        self.forget();
        let Some(archive) = self.feed.archive().cloned() else { return };
        let when = self.when();
        for ask in self.feed.read(|state| self.reader.questions(state, when)) {
            self.asking.push(Asking::new(archive.clone(), ask));
        }
    }

    /// With an empty token bucket a new tick is no reason to look: only time is.
    async fn wait(&mut self, read: &Read) {
        let until = |at: Option<std::time::Instant>| async move {
            match at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => future::pending().await,
            }
        };
        let news = async {
            match read.wait {
                Some(token) => tokio::time::sleep(token).await,
                // The sender lives in `self.feed`, so it cannot be gone.
                None => self.news.changed().await,
            }
        };
        let answer = async {
            if self.asking.is_empty() {
                return future::pending().await;
            }
            let (answer, at, _) = select_all(self.asking.iter_mut().map(|asking| &mut asking.answer)).await;
            (at, answer.unwrap_or_else(|error| Answer::Failed(HistoryError::Unavailable(error.into()))))
        };
        let answered = tokio::select! {
            () = news => None,
            () = until(read.again) => None,
            () = until(self.checkpoint_at.map(Instant::into_std)) => None,
            answered = answer => Some(answered),
        };
        if let Some((at, answer)) = answered {
            let Asking { instrument, number, .. } = self.asking.swap_remove(at);
            let now = Instant::now().into_std();
            self.feed.read(|state| self.reader.answered(state, &instrument, number, answer, now));
        }
    }
}

impl Asking {
    fn new(archive: Archive, ask: Ask) -> Self {
        let Ask { instrument, number, question } = ask;
        let asked = archive.ask(instrument.clone(), question);
        Self { instrument, number, answer: AbortOnDropHandle::new(tokio::spawn(asked)) }
    }
}
