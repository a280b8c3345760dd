//! Owning a shard: recover, read, publish, acknowledge; and give way to whoever started later.

use std::time::{Duration, Instant};

use bus::{Bus, Delivery, Lag, PublishError, Source, TickPublisher, Work, WorkReader};
use domain::{EventKind, RejectReason, RejectedTick, RoleStatus, Shard, ShardProgress, Tick, UnixNanos};
use futures::future::try_join_all;
use metrics::{counter, gauge, histogram};
use runtime::{Backoff, ErrorChain, Latch, RoleContext};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    Config, metrics as names,
    normalise::{Normalised, ShardState},
    pending::Pending,
};

/// How often a worker says how it is doing.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How many rejects may be on their way at once.
const PUBLISHES_IN_FLIGHT_MAX: usize = 64;
/// A normalizer pauses while the unread backlog of the snapshotters is this share of what `LF_TICKS` may hold, in percent.
const PAUSE_PERCENT: u64 = 80;
/// How often the backlog is measured, and after how many ticks at the latest.
const PAUSE_MEASURED_EVERY: Duration = Duration::from_millis(500);
const PAUSE_MEASURED_TICKS: u64 = 8192;
/// A fenced owner never waits longer than this many times its first wait.
const FENCED_WAITS_MAX: u32 = 16;

/// Why a normalizer cannot go on.
#[derive(Debug, Error)]
pub enum Error {
    /// Another process owns the shard.
    #[error("shard is owned by {owner}, which started later")]
    Fenced {
        /// Who.
        owner: String,
    },
    /// This process has just taken the shard over and must recover again.
    #[error("took the shard over from {owner}")]
    TakenOver {
        /// From whom.
        owner: String,
    },
    /// The bus does not do what it is asked.
    #[error("the bus failed")]
    Bus(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn bus_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Bus(Box::new(error))
}

/// Owns `shard` until shutdown is requested: it goes on after every failure, with backoff, and gives way when another
/// process that started later owns the shard.
pub async fn run(config: Config, shard: Shard, bus: Bus, context: RoleContext) -> Result<(), Error> {
    let latch = context.readiness.latch(&format!("normalizer-{shard}"));
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let mut fenced_wait = config.fenced_wait;
    loop {
        if !await_snapshotter(shard, &bus, &context, &latch).await {
            return Ok(());
        }
        let error = match Owner::recover(&config, shard, &bus, &context, &latch).await {
            Ok(mut owner) => {
                latch.set_ready();
                backoff.reset();
                match owner.work().await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        latch.set_waiting(ErrorChain(&error).to_string());
        let delay = match &error {
            Error::TakenOver { .. } => Duration::ZERO,
            Error::Fenced { .. } => {
                let delay = fenced_wait;
                fenced_wait = (fenced_wait * 2).min(config.fenced_wait * FENCED_WAITS_MAX);
                delay
            }
            Error::Bus(_) => backoff.next_delay(),
        };
        if !matches!(error, Error::Bus(_)) {
            counter!(names::OWNERSHIP_CHANGES, "shard" => shard.to_string()).increment(1);
        }
        warn!(%shard, ?delay, error = %ErrorChain(&error), "the shard is left and recovered again");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = context.shutdown.requested() => return Ok(()),
        }
    }
}

/// Positions are recovered from what is published; the snapshotter of the shard must first have published what only the
/// database still knows. Returns `false` when shutdown is requested.
async fn await_snapshotter(shard: Shard, bus: &Bus, context: &RoleContext, latch: &Latch) -> bool {
    latch.set_waiting(format!("the snapshotter of shard {shard} has not yet published what is stored"));
    loop {
        let seen = bus.statuses().await.is_ok_and(|statuses| {
            statuses.iter().any(|status| {
                status.role == "snapshotter" && status.ready && status.worker_shard() == Some(shard.get())
            })
        });
        if seen {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = context.shutdown.requested() => return false,
        }
    }
}

struct Owner<'a> {
    config: &'a Config,
    shard: Shard,
    label: String,
    instance: String,
    bus: &'a Bus,
    context: &'a RoleContext,
    publisher: TickPublisher,
    reader: WorkReader,
    state: ShardState,
    progress: std::collections::HashMap<domain::Instrument, ShardProgress>,
    counts: Counts,
    status_at: UnixNanos,
    latch: &'a Latch,
    paused: bool,
    measured_at: Instant,
    unmeasured_ticks: u64,
}

#[derive(Default)]
struct Counts {
    ticks: u64,
    rejected: u64,
    duplicates: u64,
}

impl<'a> Owner<'a> {
    async fn recover(
        config: &'a Config,
        shard: Shard,
        bus: &'a Bus,
        context: &'a RoleContext,
        latch: &'a Latch,
    ) -> Result<Self, Error> {
        let instance = RoleStatus::worker_instance(&context.instance, shard);
        let mut state = ShardState::new(format!("normalizer/{instance}"));
        let mut publisher = bus.tick_publisher(shard);
        let recovered = publisher.recover().await.map_err(bus_error)?;
        let raw_created = bus.raw_stream_created().await.map_err(bus_error)?;
        for recovered in &recovered.batches {
            let raw_is_same = recovered.batch.normalised_at.is_some_and(|at| at >= raw_created);
            state.recover_batch(&recovered.batch, raw_is_same);
        }
        for snapshot in &recovered.snapshots {
            state.recover_snapshot(snapshot);
        }
        let reader = bus.work(Work::Raw, shard);
        info!(%shard, products = state.products(), "owns the shard");
        Ok(Self {
            config,
            shard,
            label: shard.to_string(),
            instance,
            bus,
            context,
            publisher,
            reader,
            state,
            progress: std::collections::HashMap::new(),
            counts: Counts::default(),
            status_at: UnixNanos::MIN,
            latch,
            paused: false,
            measured_at: Instant::now(),
            unmeasured_ticks: 0,
        })
    }

    /// Works until shutdown is requested and what is waiting is done, or until something fails.
    async fn work(&mut self) -> Result<(), Error> {
        let mut drain_until = None;
        loop {
            if drain_until.is_none() && self.context.shutdown.is_requested() {
                drain_until = Some(tokio::time::Instant::now() + self.config.drain_max);
            }
            if drain_until.is_none() && self.must_pause().await {
                continue;
            }
            let wait = if drain_until.is_some() { Duration::ZERO } else { self.config.fetch_wait };
            let fetch = self.reader.fetch(self.config.fetch_messages_max, wait);
            let deliveries = tokio::select! {
                deliveries = fetch => deliveries.map_err(bus_error)?,
                () = self.context.shutdown.requested(), if drain_until.is_none() => continue,
            };
            let drained =
                deliveries.is_empty() || drain_until.is_some_and(|until| tokio::time::Instant::now() > until);
            if !deliveries.is_empty() {
                self.round(deliveries).await?;
            }
            self.say_status().await;
            if drain_until.is_some() && drained {
                return Ok(());
            }
        }
    }

    /// Whether the snapshotters are so far behind that `LF_TICKS` is about to drop what they have not read. Then `LF_RAW` is
    /// left to fill, which refuses instead of dropping. Returns after a moment, so that the caller asks again.
    async fn must_pause(&mut self) -> bool {
        let due = self.measured_at.elapsed() >= PAUSE_MEASURED_EVERY
            || self.unmeasured_ticks >= PAUSE_MEASURED_TICKS;
        if !due && !self.paused {
            return false;
        }
        self.measured_at = Instant::now();
        self.unmeasured_ticks = 0;
        let mut percent = 0;
        for shard in self.bus.shards().shards() {
            // A snapshotter that never was has no backlog that could be measured; a broker that is away tells nothing.
            percent += self.bus.lag(Work::Ticks, shard).await.map_or(0, |lag| lag.percent_of_limit);
        }
        let paused = percent >= PAUSE_PERCENT;
        if paused != self.paused {
            self.paused = paused;
            gauge!(names::PAUSED, "shard" => self.label.clone()).set(f64::from(u8::from(paused)));
            if paused {
                warn!(shard = %self.shard, percent, "paused: the snapshotters are too far behind");
                self.latch.set_waiting(format!(
                    "paused: {percent} % of the tick stream waits for the snapshotters"
                ));
            } else {
                info!(shard = %self.shard, percent, "goes on: the snapshotters have caught up");
                self.latch.set_ready();
            }
        }
        if paused {
            self.say_status().await;
            tokio::select! {
                () = tokio::time::sleep(PAUSE_MEASURED_EVERY) => {}
                () = self.context.shutdown.requested() => {}
            }
        }
        paused
    }

    /// One round: everything that was fetched is judged, published and, once that is durable, acknowledged.
    async fn round(&mut self, deliveries: Vec<Delivery>) -> Result<(), Error> {
        let now = UnixNanos::now();
        let mut pending = Pending::default();
        let mut rejects = Vec::new();
        let mut events = Vec::new();
        for delivery in &deliveries {
            let raw = delivery.stream_sequence;
            let batch = match &delivery.content {
                Ok(batch) => batch.clone(),
                Err(undecodable) => {
                    rejects.push(self.undecodable(delivery, undecodable, now));
                    continue;
                }
            };
            let source = delivery.source;
            if source == Source::Live && self.state.is_done(&batch.instrument, raw) {
                counter!(names::REPEATED, "shard" => self.label.clone()).increment(1);
                continue;
            }
            let instrument = batch.instrument.clone();
            let session = batch.session.clone();
            let Normalised { ticks, rejects: refused, events: told, duplicates } = match source {
                Source::Fill => self.state.fill(batch, raw, now),
                Source::Live => self.state.live(batch, raw, now),
            };
            self.counts.duplicates += duplicates;
            counter!(names::DUPLICATES, "shard" => self.label.clone()).increment(duplicates);
            rejects.extend(refused);
            events.extend(told);
            pending.add(source, instrument, ticks, session, raw, now);
        }
        self.file(rejects).await?;
        self.tell(events).await?;
        self.publish(pending).await?;
        self.reader.ack(&deliveries).await.map_err(bus_error)
    }

    fn undecodable(&self, delivery: &Delivery, what: &bus::Undecodable, now: UnixNanos) -> RejectedTick {
        RejectedTick {
            instrument: None,
            tick: None,
            raw: RejectedTick::clip(&what.raw),
            raw_length: what.raw.len() as u64,
            reason: RejectReason::Undecodable,
            detail: format!("{}: {}", delivery.subject, what.why),
            source: format!("normalizer/{}", self.instance),
            time: now,
            identity: format!("{}/0", delivery.stream_sequence),
        }
    }

    async fn file(&mut self, rejects: Vec<RejectedTick>) -> Result<(), Error> {
        for reject in &rejects {
            let labels = [("shard", self.label.clone()), ("reason", reject.reason.as_str().to_owned())];
            counter!(names::REJECTS, &labels).increment(1);
        }
        self.counts.rejected += rejects.len() as u64;
        for chunk in rejects.chunks(PUBLISHES_IN_FLIGHT_MAX) {
            try_join_all(chunk.iter().map(|reject| self.bus.publish_reject(reject)))
                .await
                .map_err(bus_error)?;
        }
        Ok(())
    }

    async fn tell(&self, events: Vec<domain::FeedEvent>) -> Result<(), Error> {
        for event in &events {
            if let EventKind::NewRun { previous, first } = &event.kind {
                counter!(names::NEW_RUNS, "shard" => self.label.clone()).increment(1);
                info!(instrument = %event.instrument, %previous, %first, "the sequence of the exchange started anew");
            }
            self.bus.publish_event(event).await.map_err(bus_error)?;
        }
        Ok(())
    }

    /// Publishes everything, then counts it.
    async fn publish(&mut self, pending: Pending) -> Result<(), Error> {
        let batches = pending.into_batches();
        self.publisher.publish_all(&batches).await.map_err(publish_error)?;
        let now = UnixNanos::now();
        for (source, batch) in &batches {
            self.note(*source, batch, now);
        }
        Ok(())
    }

    fn note(&mut self, source: Source, batch: &domain::TickBatch, now: UnixNanos) {
        self.counts.ticks += batch.ticks.len() as u64;
        self.unmeasured_ticks += batch.ticks.len() as u64;
        counter!(names::TICKS, "shard" => self.label.clone()).increment(batch.ticks.len() as u64);
        let Some(newest) = batch.ticks.last() else { return };
        let latency = now.saturating_since(newest.receive_time).as_secs_f64();
        histogram!(names::LATENCY, "shard" => self.label.clone()).record(latency);
        if source == Source::Fill {
            return;
        }
        if let Some(raw_sequence) = batch.raw_sequence {
            self.state.published(&batch.instrument, raw_sequence);
        }
        if let Some(position) = Tick::position(newest) {
            let progress = ShardProgress {
                instrument: batch.instrument.clone(),
                shard: self.shard.get(),
                position,
                event_time: newest.event_time,
            };
            self.progress.insert(batch.instrument.clone(), progress);
        }
    }

    /// A status that cannot be published is missing from it: that says enough, and the work goes on.
    async fn say_status(&mut self) {
        let now = UnixNanos::now();
        if now.saturating_since(self.status_at) < STATUS_INTERVAL {
            return;
        }
        self.status_at = now;
        let backlog = match self.bus.lag(Work::Raw, self.shard).await {
            Ok(Lag { pending_messages, .. }) => Some(pending_messages),
            Err(_) => None,
        };
        if let Some(backlog) = backlog {
            gauge!(names::BACKLOG, "shard" => self.label.clone()).set(backlog as f64);
        }
        let status = RoleStatus {
            role: "normalizer".into(),
            instance: self.instance.clone(),
            time: now,
            ready: true,
            feed_state: None,
            heartbeat_age: None,
            progress: self.progress.values().cloned().collect(),
            backlog_messages: backlog,
            ticks: self.counts.ticks,
            rejected: self.counts.rejected,
            duplicates: self.counts.duplicates,
        };
        if let Err(error) = self.bus.publish_status(&status).await {
            tracing::debug!(error = %ErrorChain(&error), "the status was not published");
        }
    }
}

fn publish_error(error: PublishError) -> Error {
    match error {
        PublishError::Fenced { by, .. } => Error::Fenced { owner: by.to_string() },
        PublishError::TakenOver { from, .. } => Error::TakenOver { owner: from.to_string() },
        PublishError::UnknownOwner { .. } => Error::TakenOver { owner: "somebody unknown".into() },
        PublishError::Unrecovered { .. } => {
            Error::TakenOver { owner: "an earlier publish of its own".into() }
        }
        other => bus_error(other),
    }
}
