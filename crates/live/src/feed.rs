//! The live state, shared by one publisher and all subscribers of a process.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use bus::Bus;
use domain::{FeedEvent, Instrument, ProductDetails, Snapshot, TickBatch};
use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Applied, Config, Epoch, Health, History, LiveState, archive::Archive, epoch::Known, follow,
    metrics as names, news::News,
};

/// The newest state of every product, kept up to date, for everyone in this process. Cheap to clone; when the last clone
/// is gone, following the bus ends.
#[derive(Clone, Debug)]
pub struct LiveFeed {
    shared: Arc<Shared>,
    archive: Option<Archive>,
    _followers: Arc<[AbortOnDropHandle<()>]>,
}

/// What the publisher and the subscribers share. A lock is held while a message is applied or a read is made, never
/// across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    state: RwLock<LiveState>,
    news: News,
    health: watch::Sender<Health>,
    next_event: watch::Sender<u64>,
    /// Which history and which stream it is.
    epoch: watch::Sender<Known>,
    /// Up to which message of `LF_TICKS` everything is in the state; `None` before the first filling.
    ticks_seen: watch::Sender<Option<u64>>,
}

impl LiveFeed {
    /// A feed that nobody fills but the caller.
    pub fn by_hand(config: Config) -> Self {
        Self { shared: Arc::new(Shared::new(config)), archive: None, _followers: Arc::new([]) }
    }

    /// The same feed, whose subscriptions may start in the past beyond what is in memory. At most `reads_max` reads of
    /// `history` go on at one time, for all subscriptions together.
    pub fn with_history(self, history: Arc<dyn History>, reads_max: usize) -> Self {
        Self { archive: Some(Archive::new(history, reads_max)), ..self }
    }

    /// Declares which history a feed that is filled by hand belongs to.
    pub fn set_epoch(&self, epoch: Epoch) {
        self.shared.set_epoch(|known| {
            known.history = Some(epoch.history);
            known.ticks = Some(epoch.ticks);
        });
    }

    /// Follows the bus from now on, through reconnections and losses. Needs a tokio runtime.
    pub fn start(bus: Bus, config: Config) -> Self {
        let shared = Arc::new(Shared::new(config));
        let ticks = AbortOnDropHandle::new(tokio::spawn(follow::ticks(bus.clone(), Arc::clone(&shared))));
        let snapshots =
            AbortOnDropHandle::new(tokio::spawn(follow::snapshots(bus.clone(), Arc::clone(&shared))));
        let events = AbortOnDropHandle::new(tokio::spawn(follow::events(bus, Arc::clone(&shared))));
        Self { shared, archive: None, _followers: Arc::new([ticks, snapshots, events]) }
    }

    /// Waits until ticks and snapshots have been followed to their end once: from then on, for as long as
    /// [`LiveFeed::is_following`], the newest state is the newest there is.
    pub async fn caught_up(&self) {
        // The sender lives in `self`, so waiting can only end with success.
        drop(self.health().wait_for(Health::is_caught_up).await);
    }

    /// Whether ticks and snapshots have been followed to their end once.
    pub fn is_caught_up(&self) -> bool {
        self.shared.health.borrow().is_caught_up()
    }

    /// Whether each stream can be followed at this moment, as far as is known.
    pub fn is_following(&self) -> bool {
        self.shared.health.borrow().is_following()
    }

    /// How following goes, now and after each change; [`Health::waiting`] is what readiness says.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Which history and which stream it is that is followed; `None` while that is not known: before the first snapshot that
    /// says so.
    pub fn epoch(&self) -> Option<Epoch> {
        self.shared.epoch.borrow().epoch()
    }

    /// Waits until the epoch is another one than `known`, and returns it.
    pub async fn epoch_after(&self, known: Option<&Epoch>) -> Epoch {
        let mut epochs = self.shared.epoch.subscribe();
        loop {
            let epoch = epochs.borrow_and_update().epoch();
            if let Some(epoch) = epoch.filter(|epoch| Some(epoch) != known) {
                return epoch;
            }
            // The sender lives in `self`, so that waiting can only end with a change.
            let _ = epochs.changed().await;
        }
    }

    /// The newest state of a product; `None` before its first tick.
    pub fn snapshot(&self, instrument: &Instrument) -> Option<Arc<Snapshot>> {
        self.read(|state| state.snapshot(instrument))
    }

    /// The newest state of every product, in the order in which they appeared.
    pub fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.read(|state| state.snapshots().cloned().collect())
    }

    /// How many ticks have moved a product on since the start.
    pub fn ticks(&self) -> u64 {
        self.read(LiveState::ticks)
    }

    /// Applies the ticks of a message of `LF_TICKS` and wakes the subscribers.
    pub fn publish(&self, stream_sequence: u64, batch: TickBatch) -> Applied {
        self.shared.publish(stream_sequence, batch)
    }

    /// Fills the state anew, as after messages of the stream were lost: see [`LiveState::refill`].
    pub fn refill(&self, snapshots: Vec<Snapshot>, batches: Vec<(u64, TickBatch)>) {
        self.shared.refill(snapshots, batches);
    }

    /// Adds an event and wakes the subscribers.
    pub fn publish_event(&self, event: FeedEvent) {
        self.shared.publish_event(event);
    }

    /// Declares a feed that is filled by hand to be complete.
    pub fn set_caught_up(&self) {
        self.shared.health(Health::all_caught_up);
    }

    /// What the exchange says of a product itself; `None` while it was not asked.
    pub fn details(&self, instrument: &Instrument) -> Option<Arc<ProductDetails>> {
        self.read(|state| state.details(instrument))
    }

    /// The index that the next event will get, now and after each event: see [`LiveState::events_since`].
    pub fn event_changes(&self) -> watch::Receiver<u64> {
        self.shared.next_event.subscribe()
    }

    /// Reads the state. `read` must be quick: the publisher waits for it.
    pub fn read<T>(&self, read: impl FnOnce(&LiveState) -> T) -> T {
        self.shared.read(read)
    }

    pub(crate) fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    pub(crate) fn news(&self) -> &News {
        &self.shared.news
    }
}

impl Shared {
    fn new(config: Config) -> Self {
        Self {
            state: RwLock::new(LiveState::new(config)),
            news: News::new(),
            health: watch::Sender::default(),
            next_event: watch::Sender::default(),
            epoch: watch::Sender::default(),
            ticks_seen: watch::Sender::default(),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&LiveState) -> T) -> T {
        // A panic under the lock leaves at worst a half-applied message, whose ticks are each complete.
        read(&self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Writes, and wakes the subscribers: those of one product, if only that changes.
    fn write<T>(&self, about: Option<&Instrument>, write: impl FnOnce(&mut LiveState) -> T) -> T {
        let written = write(&mut self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner));
        match about {
            Some(instrument) => self.news.tell(instrument),
            None => self.news.tell_all(),
        }
        written
    }

    pub(crate) fn publish(&self, stream_sequence: u64, batch: TickBatch) -> Applied {
        let about = batch.instrument.clone();
        let applied = self.write(Some(&about), |state| state.apply(stream_sequence, batch));
        self.record(applied);
        applied
    }

    pub(crate) fn refill(&self, snapshots: Vec<Snapshot>, batches: Vec<(u64, TickBatch)>) {
        let applied = self.write(None, |state| state.refill(snapshots, batches));
        self.record(applied);
    }

    /// How far back the ticks are wanted that were there before the start.
    pub(crate) fn reach(&self) -> Duration {
        self.read(LiveState::reach)
    }

    /// An empty state to be filled while nobody looks.
    pub(crate) fn beside(&self) -> LiveState {
        self.read(LiveState::beside)
    }

    /// Takes over what was gathered beside the state, before anything else is applied.
    pub(crate) fn begin(&self, recent: LiveState, snapshots: Vec<Snapshot>) {
        let accepted = recent.ticks();
        self.write(None, |state| state.begin(recent, snapshots));
        self.record(Applied { accepted, ..Applied::default() });
    }

    pub(crate) fn publish_event(&self, event: FeedEvent) {
        let about = event.instrument.clone();
        let next = self.write(Some(&about), |state| {
            state.apply_event(event);
            state.next_event()
        });
        self.next_event.send_if_modified(|known| std::mem::replace(known, next) != next);
    }

    /// Whether a snapshot would change anything.
    pub(crate) fn is_behind(&self, snapshot: &Snapshot) -> bool {
        self.read(|state| state.is_behind(snapshot))
    }

    /// Takes over a snapshot if it changes anything; only then are the subscribers woken.
    pub(crate) fn apply_snapshot(&self, snapshot: Snapshot) {
        let about = snapshot.instrument.clone();
        if self.is_behind(&snapshot) && self.write(Some(&about), |state| state.apply_snapshot(snapshot)) {
            counter!(names::SNAPSHOTS).increment(1);
            self.record(Applied::default());
        }
    }

    /// Changes the health, and tells it if it has changed: what waits for the end of the stream looks again.
    pub(crate) fn health(&self, change: impl FnOnce(&mut Health)) {
        let is_changed = self.health.send_if_modified(|health| {
            let before = health.clone();
            change(health);
            *health != before
        });
        if is_changed {
            self.news.tell_all();
        }
    }

    /// Takes note of a part of the epoch; nobody is woken when it is the known one.
    pub(crate) fn set_epoch(&self, change: impl FnOnce(&mut Known)) {
        let is_changed = self.epoch.send_if_modified(|known| {
            let before = known.clone();
            change(known);
            *known != before
        });
        if is_changed {
            let epoch = self.epoch.borrow().epoch().map(|epoch| epoch.id());
            self.write(None, |state| state.set_epoch(epoch));
        }
    }

    /// Everything up to this message of `LF_TICKS` is in the state. It goes back when the stream is made anew.
    pub(crate) fn set_ticks_seen(&self, stream_sequence: u64) {
        self.ticks_seen.send_replace(Some(stream_sequence));
    }

    /// Waits until everything up to this message of `LF_TICKS` is in the state.
    pub(crate) async fn ticks_seen(&self, stream_sequence: u64) {
        let seen = |seen: &Option<u64>| seen.is_some_and(|seen| seen >= stream_sequence);
        // The sender lives in `self`, so waiting can only end with success.
        drop(self.ticks_seen.subscribe().wait_for(seen).await);
    }

    #[allow(clippy::cast_precision_loss, reason = "a count of products, far below 2^52")]
    fn record(&self, applied: Applied) {
        counter!(names::TICKS).increment(applied.accepted);
        counter!(names::EVICTIONS).increment(applied.evicted);
        for (reason, count) in
            [("old", applied.old), ("backfilled", applied.backfilled), ("too_many_products", applied.refused)]
        {
            if count > 0 {
                counter!(names::TICKS_LEFT_OUT, "reason" => reason).increment(count);
            }
        }
        gauge!(names::PRODUCTS).set(self.read(LiveState::products) as f64);
    }
}
