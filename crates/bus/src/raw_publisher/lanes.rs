//! The task of a raw publisher: a lane for each product, in which one batch travels at a time.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::AtomicU64},
};

use domain::{BATCH_TICKS_MAX, FeedSession, Instrument, TickBatch};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use opentelemetry::{Context, trace::TraceContextExt as _};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Buffered, delivery::Departure};
use crate::{Bus, metrics};

/// The most traces that a batch links to besides the one it continues.
const LINKS_MAX: usize = 8;

pub(super) struct Lanes {
    bus: Bus,
    session: FeedSession,
    lanes: HashMap<Instrument, Lane>,
    in_flight: FuturesUnordered<BoxFuture<'static, Acknowledged>>,
    /// Ticks that were taken and not acknowledged.
    open_ticks: usize,
    /// Ticks that the broker never took.
    refused_ticks: Arc<AtomicU64>,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Buffered>,
    busy: bool,
    /// The number of the next batch, which makes its message id.
    next_batch: u64,
}

/// The broker has the batch, or what it never takes is filed. Its ticks give up their places in the buffer now.
struct Acknowledged {
    instrument: Instrument,
    ticks: Vec<Buffered>,
}

impl Lanes {
    pub(super) fn new(bus: Bus, session: FeedSession) -> Self {
        Self {
            bus,
            session,
            lanes: HashMap::new(),
            in_flight: FuturesUnordered::new(),
            open_ticks: 0,
            refused_ticks: Arc::default(),
        }
    }

    /// Ends when the channel is closed and everything is acknowledged.
    pub(super) async fn run(mut self, mut receiver: mpsc::Receiver<Buffered>) {
        let mut open = true;
        let mut arrived = Vec::with_capacity(BATCH_TICKS_MAX);
        while open || !self.in_flight.is_empty() {
            tokio::select! {
                // What has come gathers before the next batch departs. It cannot crowd out the acknowledgements for
                // long: the buffer is bounded, and only they make room in it.
                biased;
                count = receiver.recv_many(&mut arrived, BATCH_TICKS_MAX), if open => {
                    open = count > 0;
                    self.take(arrived.drain(..));
                },
                Some(acknowledged) = self.in_flight.next() => self.acknowledged(acknowledged),
            }
        }
    }

    /// Puts ticks into their lanes. Only then the free lanes depart, so that what came together leaves together.
    fn take(&mut self, arrived: impl Iterator<Item = Buffered>) {
        let mut free = Vec::new();
        for buffered in arrived {
            self.open_ticks += 1;
            let lane = match self.lanes.get_mut(&buffered.tick.instrument) {
                Some(lane) => lane,
                None => self.lanes.entry(buffered.tick.instrument.clone()).or_default(),
            };
            if !lane.busy && lane.waiting.is_empty() {
                free.push(buffered.tick.instrument.clone());
            }
            lane.waiting.push_back(buffered);
        }
        for instrument in free {
            self.depart(instrument);
        }
    }

    fn acknowledged(&mut self, acknowledged: Acknowledged) {
        let Acknowledged { instrument, ticks } = acknowledged;
        self.open_ticks = self.open_ticks.saturating_sub(ticks.len());
        drop(ticks);
        let Some(lane) = self.lanes.get_mut(&instrument) else {
            return;
        };
        lane.busy = false;
        if !lane.waiting.is_empty() {
            self.depart(instrument);
        }
    }

    /// Sends the next batch of a product on its way, with everything that has gathered, up to the limits. So many
    /// ticks never take more than the 256 KiB that a batch may have: the crate of the wire format asserts it.
    fn depart(&mut self, instrument: Instrument) {
        let Some(lane) = self.lanes.get_mut(&instrument) else {
            return;
        };
        let count = lane.waiting.len().min(BATCH_TICKS_MAX);
        let ticks: Vec<Buffered> = lane.waiting.drain(..count).collect();
        let batch = batch_of(&instrument, &self.session, &ticks);
        lane.busy = true;
        let number = lane.next_batch;
        lane.next_batch += 1;
        let subject = self.bus.subjects().raw(&instrument);
        let id = format!("{}/{subject}/{number}", self.session.id);
        let (span, context) = span_of(&ticks, &subject);
        let refused_ticks = Arc::clone(&self.refused_ticks);
        let departure = Departure { bus: self.bus.clone(), subject, context, refused_ticks };
        let publish = async move {
            departure.deliver(batch, id).await;
            Acknowledged { instrument, ticks }
        };
        self.in_flight.push(Box::pin(publish.instrument(span)));
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        if self.open_ticks > 0 {
            metrics::raw_abandoned(self.open_ticks);
            let (ticks, session) = (self.open_ticks, &self.session.id);
            tracing::warn!(ticks, session, "ticks given up before the broker acknowledged them");
        }
    }
}

fn batch_of(instrument: &Instrument, session: &FeedSession, ticks: &[Buffered]) -> TickBatch {
    TickBatch {
        instrument: instrument.clone(),
        ticks: ticks.iter().map(|buffered| buffered.tick.clone()).collect(),
        session: session.clone(),
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    }
}

/// The span of a publish continues the trace of the first tick that has one, and links to those of the others. With
/// it goes the context for the message: where the span itself is not recorded, the trace goes on without it.
fn span_of(ticks: &[Buffered], subject: &str) -> (tracing::Span, Context) {
    let span = tracing::info_span!("publish raw", subject, ticks = ticks.len());
    let mut continued = Context::new();
    let mut traces = Vec::new();
    for buffered in ticks {
        let trace = buffered.context.span().span_context().clone();
        if !trace.is_valid() || traces.len() > LINKS_MAX || traces.contains(&trace) {
            continue;
        }
        if traces.is_empty() {
            continued = buffered.context.clone();
            // Fails only where no tracer is installed.
            let _ = span.set_parent(continued.clone());
        } else {
            span.add_link(trace.clone());
        }
        traces.push(trace);
    }
    let own = span.context();
    let context = if own.span().span_context().is_valid() { own } else { continued };
    (span, context)
}
