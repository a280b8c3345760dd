//! Writing a shard: read, commit, publish snapshots, acknowledge.

use std::time::Duration;

use bus::{Delivery, Source, StreamKind, Work, WorkReader, fail_point};
use domain::{RejectReason, RejectedTick, ShardProgress, Snapshot, Tick, UnixNanos};
use metrics::{counter, histogram};
use runtime::{Backoff, ErrorChain};
use store::{StoreError, TickRow, WriteBatch, Written};
use tracing::{info, warn};

use crate::{
    latest::Latest,
    ledger::{publish_repaired, settled},
    metrics as names,
    overrun::tell_gaps,
    recovery::newest_states,
    worker::{Error, Worker, bus_error},
    write::{groups, not_stored, rows, undecodable, unpublished},
};

/// How long the broker may take to say what waits behind what could not be stored.
const LAG_MAX: Duration = Duration::from_millis(500);
/// How often the progress of each product is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// This process as the writer of the shard, from one recovery to the next failure.
pub(crate) struct Owner<'a> {
    pub(crate) worker: &'a Worker,
    label: String,
    pub(crate) reader: WorkReader,
    latest: Latest,
    /// The random id of the database: which history it is that is written.
    history: String,
    /// When the `LF_SNAPSHOTS` was created in which what is stored is published.
    pub(crate) snapshots_of: UnixNanos,
    told_at: UnixNanos,
    /// Ticks of the group that is being stored.
    in_hand: usize,
}

impl<'a> Owner<'a> {
    /// Publishes what only the database still knows, then takes up the work.
    pub(crate) async fn recover(worker: &'a Worker) -> Result<Self, Error> {
        let (bus, shard) = (&worker.bus, worker.shard);
        // After a broker came back empty there are no streams.
        bus.ensure_streams().await.map_err(bus_error)?;
        worker.refuse_successor().await?;
        // First: what is published from here on is in this stream, or in one that is told to be another.
        let snapshots_of = bus.stream_state(StreamKind::Snapshots).await.map_err(bus_error)?.created;
        let stored =
            newest_states(&worker.store, |instrument| bus.shards().shard_of(instrument) == shard).await?;
        let history = worker.store.epoch().await?;
        let published = bus.last_snapshots().await.map_err(bus_error)?;
        let missing = unpublished(stored.clone(), &published);
        for snapshot in &missing {
            bus.publish_snapshot_of(Some(&history), snapshot).await.map_err(bus_error)?;
        }
        let positions = stored.iter().map(|snapshot| (snapshot.instrument.clone(), snapshot.position));
        let reader = bus.work(Work::Ticks, shard).with_stored(positions);
        info!(%shard, stored = stored.len(), published = missing.len(), "writes the shard");
        let label = shard.to_string();
        let latest = Latest::stored(stored);
        let (told_at, in_hand) = (UnixNanos::MIN, 0);
        let mut owner = Self { worker, label, reader, latest, history, snapshots_of, told_at, in_hand };
        owner.tell_progress();
        // A word of a snapshotter says that what is stored is published: the normalizer waits for it, also after the broker
        // came back empty under a snapshotter that lives on.
        worker.reporter.speak_of_snapshots(snapshots_of);
        Ok(owner)
    }

    /// Works until shutdown is requested and what is waiting is done, or until something fails.
    pub(crate) async fn work(&mut self) -> Result<(), Error> {
        let mut drain_until = None;
        loop {
            if drain_until.is_none() && self.worker.context.shutdown.is_requested() {
                drain_until = Some(tokio::time::Instant::now() + self.worker.config.drain_max);
            }
            let wait = if drain_until.is_some() { Duration::ZERO } else { self.worker.config.fetch_wait };
            let fetch = self.reader.fetch(self.worker.fetch_max(), wait);
            let deliveries = tokio::select! {
                deliveries = fetch => deliveries.map_err(bus_error)?,
                () = self.worker.context.shutdown.requested(), if drain_until.is_none() => continue,
            };
            for group in groups(&deliveries, self.worker.config.batch_ticks_max) {
                self.attempt(group).await?;
            }
            let late = drain_until.is_some_and(|until| tokio::time::Instant::now() > until);
            if drain_until.is_some() && (deliveries.is_empty() || late) {
                return self.commit(&[], Duration::ZERO).await;
            }
            if deliveries.is_empty() {
                self.commit(&[], self.worker.config.snapshot_interval).await?;
            }
        }
    }

    /// Stores a group of messages and acknowledges it once everything is durable.
    pub(crate) async fn group(&mut self, group: &[Delivery]) -> Result<(), Error> {
        let now = UnixNanos::now();
        for delivery in group {
            if let Err(what) = &delivery.content {
                self.refuse(undecodable(delivery, what, "ticks", &self.worker.source(), now)).await?;
            }
        }
        let rows = rows(group);
        self.in_hand = rows.len();
        // In memory what was said of a gap dies with the process, and once the trade behind it is stored nothing tells of it
        // again: there the gap has to be recorded first.
        let has_fills = group.iter().any(|delivery| delivery.source == Source::Fill);
        if has_fills || self.worker.bus.is_embedded() {
            settled(self.worker).await?;
        }
        tell_gaps(self.worker, &self.latest, group).await?;
        self.latest.apply(rows.iter().map(|row| row.tick));
        self.commit(&rows, self.worker.config.snapshot_interval).await?;
        self.in_hand = 0;
        self.reader.ack(group).await.map_err(bus_error)
    }

    /// Stores ticks with the snapshots that are due, in one transaction, then publishes those.
    async fn commit(&mut self, rows: &[TickRow<'_>], interval: Duration) -> Result<(), Error> {
        let mut due = self.latest.due(UnixNanos::now(), interval);
        if rows.is_empty() && due.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.write(rows, &due).await? {
            warn!(shard = %self.worker.shard, error = %ErrorChain(&error), "a batch is refused, looking for the row");
            self.latest.undo();
            let stored = self.write_apart(rows).await?;
            self.latest.apply(stored.into_iter());
            due = self.latest.due(UnixNanos::now(), interval);
            self.write(&[], &due).await??;
        }
        if !rows.is_empty() {
            fail_point::pass("snapshotter-committed");
        }
        for snapshot in &due {
            let published = self.worker.bus.publish_snapshot_of(Some(&self.history), snapshot);
            published.await.map_err(bus_error)?;
        }
        if !rows.is_empty() && !due.is_empty() {
            fail_point::pass("snapshotter-snapshot-published");
        }
        counter!(names::SNAPSHOTS, "shard" => self.label.clone()).increment(due.len() as u64);
        self.latest.written(&due);
        self.tell_progress();
        Ok(())
    }

    /// Halves a batch that the database refuses until each row that it refuses stands alone, and files those. Returns the
    /// ticks of the others, in order.
    async fn write_apart<'t>(&mut self, rows: &[TickRow<'t>]) -> Result<Vec<&'t Tick>, Error> {
        let mut stored = Vec::with_capacity(rows.len());
        let mut parts = vec![rows];
        while let Some(part) = parts.pop() {
            match (part, self.write(part, &[]).await?) {
                (_, Ok(())) => stored.extend(part.iter().map(|row| row.tick)),
                ([row], Err(error)) => {
                    let why = ErrorChain(&error).to_string();
                    let now = UnixNanos::now();
                    let reject = not_stored(row, RejectReason::Unstorable, &why, &self.worker.source(), now);
                    self.refuse(reject).await?;
                }
                (_, Err(_)) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.push(second);
                    parts.push(first);
                }
            }
        }
        Ok(stored)
    }

    /// Writes, and tries again for as long as the database is away. The inner error is one that trying again would not
    /// mend.
    async fn write(
        &mut self,
        ticks: &[TickRow<'_>],
        snapshots: &[Snapshot],
    ) -> Result<Result<(), StoreError>, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut failed = false;
        loop {
            let now = UnixNanos::now();
            match self.worker.store.write(&WriteBatch { ticks, snapshots, written_at: now }).await {
                Ok(written) => {
                    if failed {
                        self.worker.latch.set_ready();
                        info!(shard = %self.worker.shard, "the database takes writes again");
                    }
                    return self.note(ticks, written).await.map(Ok);
                }
                // A fault of schema or rights is nobody's row: it is waited for like a database that is away.
                Err(error) if !error.is_of_rows() => {
                    counter!(names::RETRIES, "shard" => self.label.clone()).increment(1);
                    let why = ErrorChain(&error).to_string();
                    self.worker.latch.set_waiting(format!("the database does not take writes: {why}"));
                    if !failed {
                        warn!(shard = %self.worker.shard, error = why, "the database does not take writes; trying until it does");
                    }
                    failed = true;
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_delay()) => {}
                        () = self.worker.context.shutdown.requested() => return Err(self.stopped().await),
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Counts what was stored, tells which gaps are repaired, and files what is older than the horizon.
    async fn note(&mut self, ticks: &[TickRow<'_>], written: Written) -> Result<(), Error> {
        self.worker.reporter.update(|status| {
            status.ticks += written.inserted as u64;
            status.duplicates += written.duplicates as u64;
        });
        counter!(names::TICKS, "shard" => self.label.clone()).increment(written.inserted as u64);
        counter!(names::DUPLICATES, "shard" => self.label.clone()).increment(written.duplicates as u64);
        let now = UnixNanos::now();
        if let Some(newest) = ticks.last() {
            let latency = now.saturating_since(newest.tick.receive_time).as_secs_f64();
            histogram!(names::LATENCY, "shard" => self.label.clone()).record(latency);
        }
        publish_repaired(self.worker, &written.gaps).await.map_err(bus_error)?;
        for row in written.too_old.iter().filter_map(|index| ticks.get(*index)) {
            let why = "older than the horizon of retention";
            self.refuse(not_stored(row, RejectReason::TooOld, why, &self.worker.source(), now)).await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, reject: RejectedTick) -> Result<(), Error> {
        self.worker.reporter.update(|status| status.rejected += 1);
        let labels = [("shard", self.label.clone()), ("reason", reject.reason.as_str().to_owned())];
        counter!(names::REJECTS, &labels).increment(1);
        warn!(shard = %self.worker.shard, reason = reject.reason.as_str(), detail = reject.detail, "refused");
        self.worker.bus.publish_reject(&reject).await.map_err(bus_error)
    }

    /// What is left behind when the database is away at shutdown.
    pub(crate) async fn stopped(&self) -> Error {
        let lag = tokio::time::timeout(LAG_MAX, self.worker.bus.lag(Work::Ticks, self.worker.shard)).await;
        let waiting = lag.ok().and_then(Result::ok).map_or(0, |lag| lag.pending_messages);
        Error::Stopped { in_hand: self.in_hand, waiting }
    }

    /// Brings the progress in the status up to date, at most once a second.
    fn tell_progress(&mut self) {
        let now = UnixNanos::now();
        if !now.is_over(self.told_at, PROGRESS_INTERVAL) {
            return;
        }
        self.told_at = now;
        let progress = |snapshot: &Snapshot| ShardProgress {
            instrument: snapshot.instrument.clone(),
            shard: self.worker.shard.get(),
            position: snapshot.position,
            event_time: snapshot.state.updated_at().unwrap_or(snapshot.snapshot_time),
        };
        let progress = self.latest.snapshots().map(progress).collect();
        self.worker.reporter.update(|status| status.progress = progress);
    }
}
