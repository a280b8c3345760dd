//! Owning a shard: recover, read, publish, acknowledge.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Delivery, Source, TickPublisher, Work, WorkReader, fail_point};
use domain::{Instrument, ShardProgress, TickBatch, UnixNanos};
use metrics::counter;
use runtime::LogGate;
use tracing::info;

use crate::{
    metrics as names,
    normalise::ShardState,
    pause::Pause,
    round::Round,
    worker::{Error, Worker, bus_error},
};

mod publish;

/// How long the first fetch waits: it only shows that the consumer is held.
const FIRST_FETCH_WAIT: Duration = Duration::from_millis(10);
/// A gap is told in the log at most so often; each is an event.
const GAP_LOG_PERIOD: Duration = Duration::from_secs(10);

/// This process as the owner of the shard, from one recovery to the next failure.
pub(crate) struct Owner<'a> {
    pub(crate) worker: &'a Worker,
    label: String,
    pub(crate) source: Arc<str>,
    publisher: TickPublisher,
    pub(crate) reader: WorkReader,
    state: ShardState,
    /// Progress of products since it was last told.
    progress: HashMap<Instrument, ShardProgress>,
    pause: Pause,
    gap_log: LogGate,
}

impl<'a> Owner<'a> {
    pub(crate) async fn recover(worker: &'a Worker) -> Result<Self, Error> {
        let (bus, shard) = (&worker.bus, worker.shard);
        // After a broker came back empty there are no streams.
        bus.ensure_streams().await.map_err(bus_error)?;
        let mut state = ShardState::default();
        let mut publisher = bus.tick_publisher(shard);
        let recovered = publisher.recover().await.map_err(bus_error)?;
        for recovered in &recovered.batches {
            state.recover_batch(&recovered.batch, recovered.raw_is_current);
        }
        for snapshot in &recovered.snapshots {
            state.recover_snapshot(snapshot);
        }
        for gap in &recovered.gaps {
            state.recover_gap(gap);
        }
        let reader = bus.work(Work::Raw, shard);
        info!(%shard, products = state.products(), "owns the shard");
        Ok(Self {
            worker,
            label: shard.to_string(),
            source: format!("normalizer/{}", worker.instance).into(),
            publisher,
            reader,
            state,
            progress: HashMap::new(),
            pause: Pause::new(),
            gap_log: LogGate::new(GAP_LOG_PERIOD),
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
            let fetch = self.reader.fetch(self.worker.fetch_max(), wait);
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
                self.attempt(deliveries).await?;
            }
            if drain_until.is_some() && drained {
                return Ok(());
            }
        }
    }

    /// One round: everything that was fetched is judged, published and, once that is durable, acknowledged.
    pub(crate) async fn round(&mut self, mut deliveries: Vec<Delivery>) -> Result<(), Error> {
        let mut round = Round::new(Arc::clone(&self.source), UnixNanos::now());
        let mut repeated = 0;
        for delivery in &mut deliveries {
            let (raw, source) = (delivery.stream_sequence, delivery.source);
            let batch = match &mut delivery.content {
                Ok(batch) => batch,
                Err(undecodable) => {
                    round.refuse_undecodable(undecodable);
                    continue;
                }
            };
            if source == Source::Live && self.state.is_done(&batch.instrument, raw) {
                repeated += 1;
                continue;
            }
            // The ticks move on; the delivery is only needed to be acknowledged.
            let batch = TickBatch {
                ticks: std::mem::take(&mut batch.ticks),
                instrument: batch.instrument.clone(),
                session: batch.session.clone(),
                heartbeat: batch.heartbeat,
                raw_sequence: None,
                normalised_at: None,
            };
            match source {
                Source::Fill => self.state.fill(batch, raw, &mut round),
                Source::Live => self.state.live(batch, raw, &mut round),
            }
        }
        let count = |name, count| counter!(name, "shard" => self.label.clone()).increment(count);
        count(names::REPEATED, repeated);
        count(names::DUPLICATES, round.duplicates);
        count(names::FILLED_LATE, round.filled_late);
        count(names::HEARTBEATS, round.heartbeats);
        self.file(&round.rejects).await?;
        self.announce(&round.events).await?;
        let ticks = self.publish(round.pending).await?;
        fail_point::pass("normalizer-published");
        self.tell(ticks, round.rejects.len() as u64, round.duplicates);
        self.reader.ack(&deliveries).await.map_err(bus_error)
    }
}
