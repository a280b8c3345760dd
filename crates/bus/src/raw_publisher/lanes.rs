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

use super::{Beat, Buffered, Sent, delivery::Departure};
use crate::{Bus, metrics};

/// For how many ticks a lane that is empty keeps room: 16 KiB.
const ROOM_KEPT: usize = 64;
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
    /// The newest heartbeat that waits, and how many of the ticks that wait came before it.
    beat: Option<(Beat, usize)>,
    busy: bool,
    /// The number of the next batch, which makes its message id.
    next_batch: u64,
}

/// The broker has the batch, or what it never takes is filed. Its ticks give up their places in the buffer now.
struct Acknowledged {
    instrument: Instrument,
    load: Load,
}

/// What leaves together: ticks, then a heartbeat.
struct Load {
    ticks: Vec<Buffered>,
    beat: Option<Beat>,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.beat.is_none()
    }

    /// The next batch: everything that has gathered, up to the limit, and up to the heartbeat.
    fn load(&mut self) -> Load {
        let mut count = self.waiting.len().min(BATCH_TICKS_MAX);
        let beat = match self.beat.take() {
            Some((beat, before)) if before <= count => {
                count = before;
                Some(beat)
            }
            later => {
                self.beat = later.map(|(beat, before)| (beat, before - count));
                None
            }
        };
        let ticks = self.waiting.drain(..count).collect();
        // What an outage took is given back: the lanes together may have grown to the bound of the buffer.
        if self.waiting.is_empty() {
            self.waiting.shrink_to(ROOM_KEPT);
        }
        Load { ticks, beat }
    }
}

impl Load {
    fn batch(&self, instrument: &Instrument, session: &FeedSession) -> TickBatch {
        TickBatch {
            instrument: instrument.clone(),
            ticks: self.ticks.iter().map(|buffered| buffered.tick.clone()).collect(),
            session: session.clone(),
            raw_sequence: None,
            normalised_at: None,
            heartbeat: self.beat.as_ref().map(|beat| beat.heartbeat),
        }
    }

    fn contexts(&self) -> impl Iterator<Item = &Context> {
        let beat = self.beat.iter().map(|beat| &beat.context);
        self.ticks.iter().map(|buffered| &buffered.context).chain(beat)
    }
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
    pub(super) async fn run(mut self, mut receiver: mpsc::Receiver<Sent>) {
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

    /// Puts what came into its lanes. Only then the free lanes depart, so that what came together leaves together.
    fn take(&mut self, arrived: impl Iterator<Item = Sent>) {
        let mut free = Vec::new();
        for sent in arrived {
            let instrument = match &sent {
                Sent::Tick(buffered) => &buffered.tick.instrument,
                Sent::Heartbeat(beat) => &beat.instrument,
            };
            let lane = match self.lanes.get_mut(instrument) {
                Some(lane) => lane,
                None => self.lanes.entry(instrument.clone()).or_default(),
            };
            if !lane.busy && lane.is_empty() {
                free.push(instrument.clone());
            }
            match sent {
                Sent::Tick(buffered) => {
                    self.open_ticks += 1;
                    lane.waiting.push_back(buffered);
                }
                Sent::Heartbeat(beat) => lane.beat = Some((beat, lane.waiting.len())),
            }
        }
        for instrument in free {
            self.depart(instrument);
        }
    }

    fn acknowledged(&mut self, acknowledged: Acknowledged) {
        let Acknowledged { instrument, load } = acknowledged;
        self.open_ticks = self.open_ticks.saturating_sub(load.ticks.len());
        drop(load);
        let Some(lane) = self.lanes.get_mut(&instrument) else {
            return;
        };
        lane.busy = false;
        if !lane.is_empty() {
            self.depart(instrument);
        }
    }

    /// Sends the next batch of a product on its way. So many ticks never take more than the 256 KiB that a batch may
    /// have: the crate of the wire format asserts it.
    fn depart(&mut self, instrument: Instrument) {
        let Some(lane) = self.lanes.get_mut(&instrument) else {
            return;
        };
        let load = lane.load();
        let batch = load.batch(&instrument, &self.session);
        lane.busy = true;
        let number = lane.next_batch;
        lane.next_batch += 1;
        let subject = self.bus.subjects().raw(&instrument);
        let id = format!("{}/{subject}/{number}", self.session.id);
        let (span, context) = span_of(&load, &subject);
        let refused_ticks = Arc::clone(&self.refused_ticks);
        let departure = Departure { bus: self.bus.clone(), subject, context, refused_ticks };
        let publish = async move {
            departure.deliver(batch, id).await;
            Acknowledged { instrument, load }
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

/// The span of a publish continues the trace of the first of its load that has one, and links to those of the others. With
/// it goes the context for the message: where the span itself is not recorded, the trace goes on without it.
fn span_of(load: &Load, subject: &str) -> (tracing::Span, Context) {
    let span = tracing::info_span!("publish raw", subject, ticks = load.ticks.len());
    let mut continued = Context::new();
    let mut traces = Vec::new();
    for context in load.contexts() {
        let trace = context.span().span_context().clone();
        if !trace.is_valid() || traces.len() > LINKS_MAX || traces.contains(&trace) {
            continue;
        }
        if traces.is_empty() {
            continued = context.clone();
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
