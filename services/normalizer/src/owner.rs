//! Owning a shard: recover, read, publish, acknowledge.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bus::{Delivery, Source, TickPublisher, Work, WorkReader, fail_point};
use domain::{
    EventKind, FeedEvent, Instrument, RejectReason, RejectedTick, ShardProgress, TickBatch, UnixNanos,
};
use futures::future::try_join_all;
use metrics::{counter, histogram};
use tracing::info;

use crate::{
    metrics as names,
    normalise::{Normalised, ShardState},
    pause::Pause,
    pending::Pending,
    worker::{Error, Worker, bus_error},
};

/// How many rejects may be on their way at once.
const PUBLISHES_IN_FLIGHT_MAX: usize = 64;
/// How long the first fetch waits: it only shows that the consumer is held.
const FIRST_FETCH_WAIT: Duration = Duration::from_millis(10);

/// This process as the owner of the shard, from one recovery to the next failure.
pub(crate) struct Owner<'a> {
    worker: &'a Worker,
    label: String,
    source: String,
    publisher: TickPublisher,
    reader: WorkReader,
    state: ShardState,
    /// Progress of products since it was last told.
    progress: HashMap<Instrument, ShardProgress>,
    pause: Pause,
}

impl<'a> Owner<'a> {
    pub(crate) async fn recover(worker: &'a Worker) -> Result<Self, Error> {
        let (bus, shard) = (&worker.bus, worker.shard);
        // After a broker came back empty there are no streams.
        bus.ensure_streams().await.map_err(bus_error)?;
        let source = format!("normalizer/{}", worker.instance);
        let mut state = ShardState::new(source.clone());
        let mut publisher = bus.tick_publisher(shard);
        let recovered = publisher.recover().await.map_err(bus_error)?;
        for recovered in &recovered.batches {
            state.recover_batch(&recovered.batch, recovered.raw_is_current);
        }
        for snapshot in &recovered.snapshots {
            state.recover_snapshot(snapshot);
        }
        let reader = bus.work(Work::Raw, shard);
        info!(%shard, products = state.products(), "owns the shard");
        Ok(Self {
            worker,
            label: shard.to_string(),
            source,
            publisher,
            reader,
            state,
            progress: HashMap::new(),
            pause: Pause::new(),
        })
    }

    /// Works until shutdown is requested and what is waiting is done, or until something fails. Ready once the consumer is
    /// held, which the first fetch tells.
    pub(crate) async fn work(&mut self) -> Result<(), Error> {
        let mut drain_until = None;
        let mut holds_consumer = false;
        loop {
            if drain_until.is_none() && self.worker.context.shutdown.is_requested() {
                drain_until = Some(Instant::now() + self.worker.config.drain_max);
            }
            if self.pause.is_due(self.worker).await {
                match drain_until {
                    None => continue,
                    Some(_) => return Ok(()),
                }
            }
            let wait = match drain_until {
                Some(_) => Duration::ZERO,
                None if holds_consumer => self.worker.config.fetch_wait,
                None => FIRST_FETCH_WAIT,
            };
            let fetch = self.reader.fetch(self.worker.config.fetch_messages_max, wait);
            let deliveries = tokio::select! {
                deliveries = fetch => deliveries.map_err(bus_error)?,
                () = self.worker.context.shutdown.requested(), if drain_until.is_none() => continue,
            };
            if !holds_consumer {
                holds_consumer = true;
                self.worker.latch.set_ready();
            }
            let drained = deliveries.is_empty() || drain_until.is_some_and(|until| Instant::now() > until);
            if !deliveries.is_empty() {
                self.round(deliveries).await?;
            }
            if drain_until.is_some() && drained {
                return Ok(());
            }
        }
    }

    /// One round: everything that was fetched is judged, published and, once that is durable, acknowledged.
    async fn round(&mut self, mut deliveries: Vec<Delivery>) -> Result<(), Error> {
        let now = UnixNanos::now();
        let mut pending = Pending::default();
        let mut rejects = Vec::new();
        let mut events = Vec::new();
        let mut seen_before = 0;
        for delivery in &mut deliveries {
            let (raw, source) = (delivery.stream_sequence, delivery.source);
            let batch = match &mut delivery.content {
                Ok(batch) => batch,
                Err(undecodable) => {
                    rejects.push(refuse_undecodable(undecodable, &self.source, now));
                    continue;
                }
            };
            if source == Source::Live && self.state.is_done(&batch.instrument, raw) {
                counter!(names::REPEATED, "shard" => self.label.clone()).increment(1);
                continue;
            }
            let (instrument, session) = (batch.instrument.clone(), batch.session.clone());
            // The ticks move on; the delivery is only needed to be acknowledged.
            let batch = TickBatch {
                instrument: instrument.clone(),
                ticks: std::mem::take(&mut batch.ticks),
                session: session.clone(),
                raw_sequence: None,
                normalised_at: None,
                heartbeat: None,
            };
            let Normalised { ticks, rejects: refused, events: told, duplicates } = match source {
                Source::Fill => self.state.fill(batch, raw, now),
                Source::Live => self.state.live(batch, raw, now),
            };
            seen_before += duplicates;
            rejects.extend(refused);
            events.extend(told);
            pending.add(source, instrument, ticks, session, raw, now);
        }
        counter!(names::DUPLICATES, "shard" => self.label.clone()).increment(seen_before);
        self.file(&rejects).await?;
        self.announce(&events).await?;
        let ticks = self.publish(pending).await?;
        fail_point::pass("normalizer-published");
        self.tell(ticks, rejects.len() as u64, seen_before);
        self.reader.ack(&deliveries).await.map_err(bus_error)
    }

    async fn file(&self, rejects: &[RejectedTick]) -> Result<(), Error> {
        for reject in rejects {
            let labels = [("shard", self.label.clone()), ("reason", reject.reason.as_str().to_owned())];
            counter!(names::REJECTS, &labels).increment(1);
        }
        for chunk in rejects.chunks(PUBLISHES_IN_FLIGHT_MAX) {
            try_join_all(chunk.iter().map(|reject| self.worker.bus.publish_reject(reject)))
                .await
                .map_err(bus_error)?;
        }
        Ok(())
    }

    async fn announce(&self, events: &[FeedEvent]) -> Result<(), Error> {
        for event in events {
            if let EventKind::NewRun { previous, first } = &event.kind {
                counter!(names::NEW_RUNS, "shard" => self.label.clone()).increment(1);
                info!(instrument = %event.instrument, %previous, %first, "the sequence of the exchange started anew");
            }
            self.worker.bus.publish_event(event).await.map_err(bus_error)?;
        }
        Ok(())
    }

    /// Publishes everything, then counts it. Returns how many ticks went out.
    async fn publish(&mut self, pending: Pending) -> Result<u64, Error> {
        let batches = pending.into_batches();
        self.publisher.publish_all(&batches).await?;
        let now = UnixNanos::now();
        let mut ticks = 0;
        for (source, batch) in &batches {
            ticks += batch.ticks.len() as u64;
            self.note(*source, batch, now);
        }
        counter!(names::TICKS, "shard" => self.label.clone()).increment(ticks);
        self.pause.published(ticks);
        Ok(ticks)
    }

    fn note(&mut self, source: Source, batch: &TickBatch, now: UnixNanos) {
        let Some(newest) = batch.ticks.last() else { return };
        let latency = now.saturating_since(newest.receive_time).as_secs_f64();
        histogram!(names::LATENCY, "shard" => self.label.clone()).record(latency);
        if source == Source::Fill {
            return;
        }
        if let Some(raw_sequence) = batch.raw_sequence {
            self.state.published(&batch.instrument, raw_sequence);
        }
        if let Some(position) = newest.position() {
            let instrument = batch.instrument.clone();
            let shard = self.worker.shard.get();
            let progress = ShardProgress {
                instrument: instrument.clone(),
                shard,
                position,
                event_time: newest.event_time,
            };
            self.progress.insert(instrument, progress);
        }
    }

    /// Brings the status up to date with what a round did.
    fn tell(&mut self, ticks: u64, rejected: u64, duplicates: u64) {
        let progress = std::mem::take(&mut self.progress);
        self.worker.reporter.update(|status| {
            status.ticks += ticks;
            status.rejected += rejected;
            status.duplicates += duplicates;
            for (instrument, progress) in progress {
                match status.progress.iter_mut().find(|known| known.instrument == instrument) {
                    Some(known) => *known = progress,
                    None => status.progress.push(progress),
                }
            }
        });
    }
}

fn refuse_undecodable(what: &bus::Undecodable, source: &str, now: UnixNanos) -> RejectedTick {
    RejectedTick {
        instrument: None,
        tick: None,
        raw: RejectedTick::clip(&what.raw),
        raw_length: what.raw.len() as u64,
        reason: RejectReason::Undecodable,
        detail: format!("{}: {}", what.subject, what.why),
        source: source.to_owned(),
        time: now,
        identity: format!("{}/0", what.stream_sequence),
    }
}
