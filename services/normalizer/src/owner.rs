//! Owning a shard: recover, read, publish, acknowledge.

use std::{
    collections::{BTreeMap, HashMap},
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
    refusals::Refusals,
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
    pub(crate) state: ShardState,
    /// Messages of which something is held back: they are acknowledged when it has gone out. Never more than the consumer
    /// gives out unacknowledged.
    held: BTreeMap<u64, Delivery>,
    /// Progress of products since it was last told.
    progress: HashMap<Instrument, ShardProgress>,
    pause: Pause,
    gap_log: LogGate,
    /// Where the rejects are in memory.
    refusals: Option<Refusals>,
}

impl<'a> Owner<'a> {
    pub(crate) async fn recover(worker: &'a Worker) -> Result<Self, Error> {
        let (bus, shard) = (&worker.bus, worker.shard);
        // After a broker came back empty there are no streams.
        bus.ensure_streams().await.map_err(bus_error)?;
        let mut state = ShardState::new(worker.config.merge_wait, UnixNanos::now());
        let mut publisher = bus.tick_publisher(shard);
        let recovered = publisher.recover().await.map_err(bus_error)?;
        for recovered in &recovered.batches {
            state.recover_batch(&recovered.batch, recovered.raw_is_current);
        }
        for snapshot in &recovered.snapshots {
            state.recover_snapshot(snapshot);
        }
        recovered.gaps.iter().for_each(|gap| state.recover_gap(gap));
        recovered.refused.iter().for_each(|refused| state.recover_refused(refused));
        let reader = bus.work(Work::Raw, shard);
        info!(%shard, products = state.products(), "owns the shard");
        Ok(Self {
            worker,
            label: shard.to_string(),
            source: format!("normalizer/{}", worker.instance).into(),
            publisher,
            reader,
            state,
            held: BTreeMap::new(),
            progress: HashMap::new(),
            pause: Pause::new(),
            gap_log: LogGate::new(GAP_LOG_PERIOD),
            refusals: bus.is_embedded().then(|| Refusals::new(shard)),
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
            if self.pause.is_due(self.worker, self.publisher.message_bytes()).await {
                match drain_until {
                    None => continue,
                    Some(_) => return Ok(()),
                }
            }
            let deadline = self.state.deadline().map(|at| at.saturating_since(UnixNanos::now()));
            let wait = match drain_until {
                // Nothing more is waited for, except what another leg may still bring; by a clock that was set back that would
                // be far ahead.
                Some(_) => deadline.unwrap_or_default().min(self.worker.config.fetch_wait),
                None if holds_consumer => {
                    deadline.unwrap_or(Duration::MAX).min(self.worker.config.fetch_wait)
                }
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
            let nothing_came = deliveries.is_empty();
            self.refusals.iter_mut().for_each(Refusals::tell_rest);
            if !nothing_came || self.state.held() > 0 {
                self.attempt(deliveries).await?;
            }
            let drained = (nothing_came && self.state.held() == 0)
                || drain_until.is_some_and(|until| Instant::now() > until);
            if drain_until.is_some() && drained {
                return Ok(());
            }
        }
    }

    /// The messages of which something is held back.
    pub(crate) fn held(&self) -> impl Iterator<Item = u64> + Clone {
        self.held.keys().copied()
    }

    /// One round: everything that was fetched is judged, published and, once that is durable, acknowledged. What is held back
    /// stays unacknowledged.
    pub(crate) async fn round(&mut self, deliveries: Vec<Delivery>) -> Result<(), Error> {
        let mut round = Round::new(Arc::clone(&self.source), UnixNanos::now());
        let mut repeated = 0;
        let mut judged = Vec::with_capacity(deliveries.len());
        for mut delivery in deliveries {
            let (raw, source) = (delivery.stream_sequence, delivery.source);
            if let Some(held) = self.held.get_mut(&raw) {
                // It came again, and is to be acknowledged as this delivery.
                *held = delivery;
                continue;
            }
            match &mut delivery.content {
                Ok(batch) if source == Source::Live && self.state.is_done(&batch.instrument, raw) => {
                    repeated += 1
                }
                Ok(batch) => self.judge(batch, source, raw, &mut round),
                Err(undecodable) => round.refuse_undecodable(undecodable),
            }
            judged.push(delivery);
        }
        self.state.release(&mut round);
        let count = |name, count| counter!(name, "shard" => self.label.clone()).increment(count);
        count(names::REPEATED, repeated);
        self.count(&round);
        self.file(&round.rejects).await?;
        let mut ticks = 0;
        for step in round.steps {
            self.announce(&step.events).await?;
            ticks += self.publish(step.pending).await?;
        }
        fail_point::pass("normalizer-published");
        self.tell(ticks, round.rejects.len() as u64, round.duplicates);
        let whole = self.whole(judged);
        self.reader.ack(&whole).await.map_err(bus_error)
    }

    /// The ticks move on; the delivery is only needed to be acknowledged.
    fn judge(&mut self, batch: &mut TickBatch, source: Source, raw: u64, round: &mut Round) {
        let batch = TickBatch {
            ticks: std::mem::take(&mut batch.ticks),
            instrument: batch.instrument.clone(),
            session: batch.session.clone(),
            heartbeat: batch.heartbeat,
            raw_sequence: None,
            normalised_at: None,
        };
        match source {
            Source::Fill => self.state.fill(batch, raw, round),
            Source::Live => self.state.live(batch, raw, round),
        }
    }

    /// Those of the messages held so far and of these that are whole in what went out. The others are held.
    fn whole(&mut self, judged: Vec<Delivery>) -> Vec<Delivery> {
        let is_held = |state: &ShardState, delivery: &Delivery| {
            let batch = delivery.content.as_ref().ok().filter(|_| delivery.source == Source::Live);
            batch.is_some_and(|batch| state.holds(&batch.instrument, delivery.stream_sequence))
        };
        let earlier = self.held.extract_if(.., |_, delivery| !is_held(&self.state, delivery));
        let mut whole: Vec<Delivery> = earlier.map(|(_, delivery)| delivery).collect();
        for delivery in judged {
            if is_held(&self.state, &delivery) {
                self.held.insert(delivery.stream_sequence, delivery);
            } else {
                whole.push(delivery);
            }
        }
        whole
    }
}
