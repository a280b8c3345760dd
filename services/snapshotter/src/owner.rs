//! Owning the writes of a shard: read, commit, publish snapshots, acknowledge.

use std::time::Duration;

use bus::{Bus, Delivery, Lag, Work, WorkReader};
use domain::{RejectReason, RejectedTick, RoleStatus, Shard, ShardProgress, Snapshot, UnixNanos};
use metrics::{counter, gauge, histogram};
use runtime::{Backoff, ErrorChain, Latch, RoleContext};
use store::{Store, StoreError, TickRow, WriteBatch, Written};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    Config,
    latest::Latest,
    metrics as names,
    write::{groups, not_stored, rows, undecodable, unpublished},
};

/// How often a worker says how it is doing.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Why a snapshotter has to start over.
#[derive(Debug, Error)]
pub enum Error {
    /// The bus does not do what it is asked.
    #[error("the bus failed")]
    Bus(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database cannot be read at start.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// Shutdown was requested while the database was away; what was not committed is delivered again.
    #[error("stopped while the database was away")]
    Stopped,
}

fn bus_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Bus(Box::new(error))
}

/// Writes what `shard` brings until shutdown is requested; it goes on after every failure, with backoff.
pub async fn run(
    config: Config,
    shard: Shard,
    bus: Bus,
    store: Store,
    context: RoleContext,
) -> Result<(), Error> {
    let latch = context.readiness.latch(&format!("snapshotter-{shard}"));
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let error = match Owner::recover(&config, shard, &bus, &store, &context, &latch).await {
            Ok(mut owner) => {
                latch.set_ready();
                backoff.reset();
                match owner.work().await {
                    Ok(()) | Err(Error::Stopped) => return Ok(()),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        latch.set_waiting(ErrorChain(&error).to_string());
        let delay = backoff.next_delay();
        warn!(%shard, ?delay, error = %ErrorChain(&error), "the shard starts over");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = context.shutdown.requested() => return Ok(()),
        }
    }
}

struct Owner<'a> {
    config: &'a Config,
    shard: Shard,
    label: String,
    instance: String,
    bus: &'a Bus,
    store: &'a Store,
    context: &'a RoleContext,
    latch: &'a Latch,
    reader: WorkReader,
    latest: Latest,
    ticks: u64,
    duplicates: u64,
    rejected: u64,
    status_at: UnixNanos,
}

impl<'a> Owner<'a> {
    /// Publishes what only the database still knows, then takes up the work.
    async fn recover(
        config: &'a Config,
        shard: Shard,
        bus: &'a Bus,
        store: &'a Store,
        context: &'a RoleContext,
        latch: &'a Latch,
    ) -> Result<Self, Error> {
        let shards = bus.shards();
        let mut stored = store.snapshots().await?;
        stored.retain(|snapshot| shards.shard_of(&snapshot.instrument) == shard);
        let published = bus.last_snapshots().await.map_err(bus_error)?;
        let missing = unpublished(stored.clone(), &published);
        for snapshot in &missing {
            bus.publish_snapshot(snapshot).await.map_err(bus_error)?;
        }
        let reader = bus.work(Work::Ticks, shard);
        info!(%shard, stored = stored.len(), published = missing.len(), "writes the shard");
        let mut owner = Self {
            config,
            shard,
            label: shard.to_string(),
            instance: RoleStatus::worker_instance(&context.instance, shard),
            bus,
            store,
            context,
            latch,
            reader,
            latest: Latest::stored(stored),
            ticks: 0,
            duplicates: 0,
            rejected: 0,
            status_at: UnixNanos::MIN,
        };
        owner.say_status().await;
        Ok(owner)
    }

    /// Works until shutdown is requested and what is waiting is done, or until something fails.
    async fn work(&mut self) -> Result<(), Error> {
        let mut drain_until = None;
        loop {
            if drain_until.is_none() && self.context.shutdown.is_requested() {
                drain_until = Some(tokio::time::Instant::now() + self.config.drain_max);
            }
            let wait = if drain_until.is_some() { Duration::ZERO } else { self.config.fetch_wait };
            let fetch = self.reader.fetch(self.config.fetch_messages_max, wait);
            let deliveries = tokio::select! {
                deliveries = fetch => deliveries.map_err(bus_error)?,
                () = self.context.shutdown.requested(), if drain_until.is_none() => continue,
            };
            for group in groups(&deliveries, self.config.batch_ticks_max) {
                self.group(group).await?;
            }
            self.say_status().await;
            let late = drain_until.is_some_and(|until| tokio::time::Instant::now() > until);
            if drain_until.is_some() && (deliveries.is_empty() || late) {
                return self.commit(&[], Duration::ZERO).await;
            }
            if deliveries.is_empty() {
                self.commit(&[], self.config.snapshot_interval).await?;
            }
        }
    }

    /// Stores a group of messages and acknowledges it once everything is durable.
    async fn group(&mut self, group: &[Delivery]) -> Result<(), Error> {
        let now = UnixNanos::now();
        for delivery in group {
            if let Err(what) = &delivery.content {
                self.refuse(undecodable(delivery, what, &self.source(), now)).await?;
            }
        }
        let rows = rows(group);
        for row in &rows {
            self.latest.apply(row.tick);
        }
        self.commit(&rows, self.config.snapshot_interval).await?;
        self.reader.ack(group).await.map_err(bus_error)
    }

    /// Stores ticks with the snapshots that are due, in one transaction, then publishes those.
    async fn commit(&mut self, rows: &[TickRow<'_>], interval: Duration) -> Result<(), Error> {
        let due = self.latest.due(UnixNanos::now(), interval);
        if rows.is_empty() && due.is_empty() {
            return Ok(());
        }
        // A batch that the database refuses is halved until the row that it refuses stands alone.
        let mut parts = vec![(rows, due.as_slice())];
        while let Some((part, snapshots)) = parts.pop() {
            let Err(error) = self.write(part, snapshots).await? else {
                continue;
            };
            match part {
                [] => return Err(error.into()),
                [row] => {
                    let why = ErrorChain(&error).to_string();
                    let reject =
                        not_stored(row, RejectReason::Unstorable, &why, &self.source(), UnixNanos::now());
                    self.refuse(reject).await?;
                    parts.push((&[], snapshots));
                }
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.push((second, snapshots));
                    parts.push((first, &[]));
                }
            }
        }
        for snapshot in &due {
            self.bus.publish_snapshot(snapshot).await.map_err(bus_error)?;
        }
        counter!(names::SNAPSHOTS, "shard" => self.label.clone()).increment(due.len() as u64);
        self.latest.written(&due);
        Ok(())
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
            match self.store.write(&WriteBatch { ticks, snapshots, written_at: now }).await {
                Ok(written) => {
                    if failed {
                        self.latch.set_ready();
                        info!(shard = %self.shard, "the database takes writes again");
                    }
                    return self.note(ticks, written).await.map(Ok);
                }
                Err(error) if error.is_retryable() => {
                    counter!(names::RETRIES, "shard" => self.label.clone()).increment(1);
                    let why = ErrorChain(&error).to_string();
                    self.latch.set_waiting(format!("the database does not take writes: {why}"));
                    if !failed {
                        warn!(shard = %self.shard, error = why, "the database does not take writes; trying until it does");
                    }
                    failed = true;
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_delay()) => {}
                        () = self.context.shutdown.requested() => return Err(Error::Stopped),
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Counts what was stored, and files what is older than the horizon.
    async fn note(&mut self, ticks: &[TickRow<'_>], written: Written) -> Result<(), Error> {
        self.ticks += written.inserted as u64;
        self.duplicates += written.duplicates as u64;
        counter!(names::TICKS, "shard" => self.label.clone()).increment(written.inserted as u64);
        counter!(names::DUPLICATES, "shard" => self.label.clone()).increment(written.duplicates as u64);
        let now = UnixNanos::now();
        if let Some(newest) = ticks.last() {
            let latency = now.saturating_since(newest.tick.receive_time).as_secs_f64();
            histogram!(names::LATENCY, "shard" => self.label.clone()).record(latency);
        }
        for row in written.too_old.iter().filter_map(|index| ticks.get(*index)) {
            let why = "older than the horizon of retention";
            self.refuse(not_stored(row, RejectReason::TooOld, why, &self.source(), now)).await?;
        }
        Ok(())
    }

    fn source(&self) -> String {
        format!("snapshotter/{}", self.instance)
    }

    async fn refuse(&mut self, reject: RejectedTick) -> Result<(), Error> {
        self.rejected += 1;
        let labels = [("shard", self.label.clone()), ("reason", reject.reason.as_str().to_owned())];
        counter!(names::REJECTS, &labels).increment(1);
        warn!(shard = %self.shard, reason = reject.reason.as_str(), detail = reject.detail, "refused");
        self.bus.publish_reject(&reject).await.map_err(bus_error)
    }

    /// A status that cannot be published is missing from it: that says enough, and the work goes on.
    async fn say_status(&mut self) {
        let now = UnixNanos::now();
        if now.saturating_since(self.status_at) < STATUS_INTERVAL {
            return;
        }
        self.status_at = now;
        let backlog = match self.bus.lag(Work::Ticks, self.shard).await {
            Ok(Lag { pending_messages, .. }) => Some(pending_messages),
            Err(_) => None,
        };
        if let Some(backlog) = backlog {
            gauge!(names::BACKLOG, "shard" => self.label.clone()).set(backlog as f64);
        }
        let progress = |snapshot: &Snapshot| ShardProgress {
            instrument: snapshot.instrument.clone(),
            shard: self.shard.get(),
            position: snapshot.position,
            event_time: snapshot.state.updated_at().unwrap_or(snapshot.snapshot_time),
        };
        let status = RoleStatus {
            role: "snapshotter".into(),
            instance: self.instance.clone(),
            time: now,
            ready: true,
            feed_state: None,
            heartbeat_age: None,
            progress: self.latest.snapshots().map(progress).collect(),
            backlog_messages: backlog,
            ticks: self.ticks,
            rejected: self.rejected,
            duplicates: self.duplicates,
        };
        if let Err(error) = self.bus.publish_status(&status).await {
            tracing::debug!(error = %ErrorChain(&error), "the status was not published");
        }
    }
}
