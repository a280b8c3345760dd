//! A market, a store that lags behind it, a gateway that may be started anew, and one subscriber.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{Decimal, FeedSession, Instrument, Position, Tick, TickBatch, TickFlags, Trade, UnixNanos};
use futures::{FutureExt, future::BoxFuture};
use live::{
    Config, Delivery, Ended, Epoch, Event, History, HistoryError, LiveFeed, Policy, Products, Since, Start,
    Subscription, Token,
};
use proptest::prelude::*;
use tokio::time::timeout;

pub(crate) const PRODUCTS: [&str; 2] = ["A", "B"];

pub(crate) fn instrument(product: &str) -> Instrument {
    Instrument::new("coinbase", product).unwrap()
}

/// A tick that happened at the second of its number, across runs.
pub(crate) fn tick(product: &str, position: Position, second: i64) -> Tick {
    let at = UnixNanos::from_seconds(second).unwrap();
    Tick {
        instrument: instrument(product),
        run: position.run,
        sequence: Some(position.sequence),
        event_time: at,
        receive_time: at,
        last_trade: Some(Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id: None }),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

pub(crate) fn batch(ticks: &[Tick]) -> TickBatch {
    TickBatch {
        instrument: ticks[0].instrument.clone(),
        ticks: ticks.to_vec(),
        session: FeedSession { id: "test-1".into(), started: UnixNanos::new(1) },
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    }
}

/// What has arrived of a product, how much of it is stored, and how much of that retention has taken away again.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) arrived: Vec<Tick>,
    pub(crate) until: usize,
    pub(crate) from: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    products: Arc<Mutex<BTreeMap<String, Stored>>>,
    pub(crate) is_down: Arc<Mutex<bool>>,
}

impl List {
    pub(crate) fn with<T>(&self, product: &str, look: impl FnOnce(&mut Stored) -> T) -> T {
        look(self.products.lock().unwrap().entry(product.to_owned()).or_default())
    }

    /// A read takes a moment, in which others may go on.
    async fn stored(&self, instrument: &Instrument) -> Result<Vec<Tick>, HistoryError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if *self.is_down.lock().unwrap() {
            return Err(HistoryError::Unavailable("it is down".into()));
        }
        Ok(self
            .with(instrument.product.as_str(), |stored| stored.arrived[stored.from..stored.until].to_vec()))
    }
}

impl History for List {
    fn ticks<'a>(
        &'a self,
        instrument: &'a Instrument,
        from: Position,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Tick>, HistoryError>> {
        // Small pages, so that many of them are read.
        let max = max.min(512);
        async move {
            let mut ticks = self.stored(instrument).await?;
            ticks.retain(|tick| tick.run == from.run && tick.position() >= Some(from));
            ticks.truncate(max);
            Ok(ticks)
        }
        .boxed()
    }

    fn newest<'a>(
        &'a self,
        instrument: &'a Instrument,
        until: Position,
    ) -> BoxFuture<'a, Result<Option<Position>, HistoryError>> {
        async move {
            let mut ticks = self.stored(instrument).await?;
            ticks.retain(|tick| tick.run == until.run && tick.position() <= Some(until));
            Ok(ticks.last().and_then(Tick::position))
        }
        .boxed()
    }

    fn since<'a>(
        &'a self,
        instrument: &'a Instrument,
        time: UnixNanos,
    ) -> BoxFuture<'a, Result<Since, HistoryError>> {
        async move {
            let ticks = self.stored(instrument).await?;
            let first = ticks.iter().find(|tick| tick.event_time >= time).and_then(Tick::position);
            let horizon = self.with(instrument.product.as_str(), |stored| {
                (stored.from > 0).then(|| stored.arrived[stored.from].event_time)
            });
            Ok(Since { first, horizon })
        }
        .boxed()
    }
}

/// A market, its history, a gateway that may be started anew, and one subscriber.
pub(crate) struct World {
    pub(crate) list: List,
    pub(crate) feed: LiveFeed,
    ring: usize,
    policy: Policy,
    subscription: Subscription,
    seen: BTreeMap<String, Seen>,
    /// The products that the subscriber has left.
    left: BTreeSet<String>,
    /// What the subscriber would resume with, and what it had seen and left by then.
    token: Option<(String, BTreeMap<String, Seen>, BTreeSet<String>)>,
    /// The subscriber has ended and is to come back with its token.
    pub(crate) ended: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    last: Option<Position>,
    /// How many ticks had arrived up to the last one that was given.
    index: usize,
}

/// How a product is started in mid-session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Now,
    Snapshot,
    Time,
    After,
}

pub(crate) fn feed(list: &List, ring: usize) -> LiveFeed {
    let config = Config {
        ring_ticks_max: ring.try_into().unwrap(),
        ring_ticks_kept: ring.try_into().unwrap(),
        ..Config::default()
    };
    let feed = LiveFeed::by_hand(config).with_history(Arc::new(list.clone()), 2);
    feed.set_epoch(Epoch { history: "one".into(), ticks: UnixNanos::new(1) });
    feed.set_caught_up();
    feed
}

impl World {
    pub(crate) fn new(ring: usize, policy: Policy) -> Self {
        let list = List::default();
        let feed = feed(&list, ring);
        let subscription = Subscription::new(&feed, Products::All, &Start::Now, policy).with_checkpoints();
        let (seen, left, token) = (BTreeMap::new(), BTreeSet::new(), None);
        Self { list, feed, ring, policy, subscription, seen, left, token, ended: false }
    }

    pub(crate) fn arrive(&self, product: &str, count: usize, new_run: bool) {
        let new = self.list.with(product, |stored| {
            let mut position = stored.arrived.last().and_then(Tick::position).unwrap_or_default();
            if new_run && !stored.arrived.is_empty() {
                position = Position { run: position.run + 1, sequence: 0 };
            }
            let first = stored.arrived.len();
            for step in 1..=count {
                let at = Position { sequence: position.sequence + step as u64 * 3, ..position };
                stored.arrived.push(tick(product, at, i64::try_from(first + step).unwrap()));
            }
            stored.arrived[first..].to_vec()
        });
        self.feed.publish(1, batch(&new));
    }

    pub(crate) fn store(&self, product: &str, count: usize) {
        self.list.with(product, |stored| stored.until = (stored.until + count).min(stored.arrived.len()));
    }

    /// The gateway starts anew: it knows the last batch, or only the snapshot of what is stored.
    pub(crate) fn restart(&mut self, last_batch: usize) {
        self.feed = feed(&self.list, self.ring);
        for product in PRODUCTS {
            let newest = self.list.with(product, |stored| {
                let from = stored.arrived.len().saturating_sub(last_batch);
                stored.arrived[from..].to_vec()
            });
            if !newest.is_empty() {
                self.feed.publish(1, batch(&newest));
            }
        }
        self.ended = true;
    }

    /// The stream has lost messages, and the feed goes on with the newest ones.
    pub(crate) fn lose(&mut self, product: &str, count: usize) {
        let new = self.list.with(product, |stored| {
            let position = stored.arrived.last().and_then(Tick::position).unwrap_or_default();
            let first = stored.arrived.len();
            for step in 1..=count + 1 {
                let at = Position { sequence: position.sequence + step as u64 * 3, ..position };
                stored.arrived.push(tick(product, at, i64::try_from(first + step).unwrap()));
            }
            stored.arrived.last().unwrap().clone()
        });
        self.feed.refill(Vec::new(), vec![(9, batch(&[new]))]);
    }

    /// The subscriber leaves a product and adds it again, with another start: at the place that lies `back` ticks before the
    /// newest where the start has a place.
    pub(crate) fn again(&mut self, product: &str, back: usize, how: How) {
        if self.ended {
            return;
        }
        let (place, newest) = self.list.with(product, |stored| {
            let place = |index: usize| {
                let last = index.checked_sub(1).and_then(|at| stored.arrived.get(at)?.position());
                Seen { last, index }
            };
            (place(stored.arrived.len().saturating_sub(back)), place(stored.arrived.len()))
        });
        let (start, seen) = match (how, place.last) {
            (How::Snapshot, _) => (Start::Snapshot, None),
            (How::After, Some(last)) => (Start::After(last), Some(place)),
            (How::Time, _) | (How::After, None) => {
                let second = i64::try_from(place.index).unwrap() + 1;
                (Start::Time(UnixNanos::from_seconds(second).unwrap()), Some(place))
            }
            (How::Now, _) => (Start::Now, Some(newest)),
        };
        self.drop(product);
        self.left.remove(product);
        self.subscription.add(instrument(product), &start);
        match seen {
            Some(seen) => drop(self.seen.insert(product.to_owned(), seen)),
            None => drop(self.seen.remove(product)),
        }
    }

    /// The subscriber leaves a product.
    pub(crate) fn drop(&mut self, product: &str) {
        if !self.ended {
            self.subscription.remove(&instrument(product));
            self.left.insert(product.to_owned());
        }
    }

    /// Comes back with the token, if it has one.
    fn resume(&mut self) {
        self.ended = false;
        let start;
        (start, self.seen, self.left) = match self.token.clone() {
            Some((token, seen, left)) => (Start::Token(Token::parse(&token).unwrap()), seen, left),
            None => (Start::Time(UnixNanos::MIN), BTreeMap::new(), BTreeSet::new()),
        };
        self.subscription =
            Subscription::new(&self.feed, Products::All, &start, self.policy).with_checkpoints();
    }

    pub(crate) async fn read(&mut self, max: usize) -> Result<bool, TestCaseError> {
        if self.ended {
            self.resume();
        }
        let Ok(read) = timeout(Duration::from_millis(1), self.subscription.next_batch(max)).await else {
            return Ok(false);
        };
        match read {
            Ok(deliveries) => {
                for delivery in deliveries {
                    self.take(delivery)?;
                }
            }
            Err(Ended::FellBehind { .. } | Ended::Interrupted { .. }) => self.ended = true,
        }
        if let Some(token) = self.subscription.token() {
            self.token = Some((token, self.seen.clone(), self.left.clone()));
        }
        Ok(true)
    }

    fn take(&mut self, delivery: Delivery) -> Result<(), TestCaseError> {
        let (product, position, skipped, is_snapshot) = match delivery {
            Delivery::Tick { tick, skipped } => {
                (tick.tick().instrument.product.to_string(), tick.position(), skipped, false)
            }
            Delivery::Snapshot { snapshot, skipped, .. } => {
                (snapshot.instrument.product.to_string(), snapshot.position, skipped, true)
            }
            Delivery::Event(Event::NotRecovered { instrument, .. }) => {
                // From here on it counts anew, with the snapshot that follows.
                self.seen.remove(instrument.product.as_str());
                return Ok(());
            }
            Delivery::Event(_) => return Ok(()),
        };
        prop_assert!(!self.left.contains(&product), "{product} was left");
        let arrived = self.list.with(&product, |stored| {
            stored.arrived.iter().position(|tick| tick.position() == Some(position))
        });
        let index = arrived.map(|index| index + 1);
        let seen = self.seen.entry(product.clone()).or_default();
        prop_assert!(seen.last < Some(position) || is_snapshot, "{product}: {:?} then {position}", seen.last);
        if !is_snapshot || skipped > 0 {
            let expected = seen.index + 1 + usize::try_from(skipped).unwrap() - usize::from(is_snapshot);
            prop_assert_eq!(
                index,
                Some(expected),
                "{}: {:?} then {} and {} skipped",
                product,
                seen,
                position,
                skipped
            );
        }
        // The snapshot of a product that nobody knows has no place.
        *seen = Seen { last: index.map(|_| position), index: index.unwrap_or(0) };
        Ok(())
    }

    /// Everything is stored, the subscriber reads to the end, and has the newest of everything.
    pub(crate) async fn finish(&mut self) -> Result<(), TestCaseError> {
        *self.list.is_down.lock().unwrap() = false;
        for product in PRODUCTS {
            self.store(product, usize::MAX / 2);
        }
        let mut idle = 0;
        for _ in 0..20_000 {
            idle = if self.read(64).await? { 0 } else { idle + 1 };
            // Nothing for longer than anything is waited for.
            if idle > 15_000 {
                break;
            }
            let newest = |product: &str| {
                self.list.with(product, |stored| stored.arrived.last().and_then(Tick::position))
            };
            let done = |product: &&str| {
                self.left.contains(*product)
                    || self.seen.get(*product).and_then(|seen| seen.last) == newest(product)
            };
            if !self.ended && PRODUCTS.iter().all(done) {
                return Ok(());
            }
        }
        Err(TestCaseError::fail(format!("the subscriber never has the newest: {:?}", self.seen)))
    }
}
