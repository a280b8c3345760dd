//! The messages of one `Subscribe` call.

use std::{pin::Pin, vec};

use bytes::Bytes;
use domain::{EventKind, FeedEvent, FeedState, Instrument, MarketState, Snapshot, Tick, UnixNanos};
use futures::{Stream, StreamExt, stream};
use live::{Delivery, Encoding, Event, LiveFeed, Subscription};
use prost::Message;
use proto::v1::{self, StreamEventKind, subscribe_response};
use runtime::Shutdown;
use tonic::Status;

use super::{status, subscribe::Plan};
use crate::clients::Client;

/// How many messages are handed over at once.
const BATCH_MAX: usize = 256;

/// Encoded messages of type `SubscribeResponse`, and an error at the end.
pub(super) type Frames = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A subscriber. It is asked for the next batch when the one before has been taken: HTTP/2 flow control is what paces it.
struct Subscriber {
    subscription: Subscription,
    client: Client,
    shutdown: Shutdown,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What is there at the start is being sent; then the client is told that it is live.
    Starting,
    Live,
    /// Nothing follows.
    Over,
}

/// Begins a subscription.
pub(super) fn frames(
    feed: &LiveFeed,
    plan: Plan,
    client: Client,
    shutdown: Shutdown,
) -> Result<Frames, Status> {
    let subscription = Subscription::new(feed, plan.products, plan.start, plan.policy)
        .map_err(|error| status::invalid("start", error.to_string()))?;
    let subscriber = Subscriber { subscription, client, shutdown, phase: Phase::Starting };
    let batches = stream::unfold(subscriber, |mut subscriber| async move {
        let batch = subscriber.next().await?;
        Some((stream::iter(batch), subscriber))
    });
    Ok(Box::pin(batches.flatten()))
}

impl Subscriber {
    async fn next(&mut self) -> Option<vec::IntoIter<Result<Bytes, Status>>> {
        let batch = match self.phase {
            Phase::Starting => self.start(),
            Phase::Live => self.follow().await,
            Phase::Over => return None,
        };
        Some(batch.into_iter())
    }

    fn start(&mut self) -> Vec<Result<Bytes, Status>> {
        match self.subscription.ready_batch(BATCH_MAX) {
            Ok(deliveries) if deliveries.is_empty() => {
                self.phase = Phase::Live;
                vec![Ok(event(StreamEventKind::Live, None, |_| {}))]
            }
            Ok(deliveries) => self.encode(&deliveries),
            Err(error) => self.end(status::fell_behind(&error)),
        }
    }

    async fn follow(&mut self) -> Vec<Result<Bytes, Status>> {
        match self.shutdown.run_until(self.subscription.next_batch(BATCH_MAX)).await {
            Some(Ok(deliveries)) => self.encode(&deliveries),
            Some(Err(error)) => {
                let lagged = event(StreamEventKind::Lagged, Some(&error.instrument), |event| {
                    event.detail = error.to_string();
                });
                [vec![Ok(lagged)], self.end(status::fell_behind(&error))].concat()
            }
            None => {
                let closing = event(StreamEventKind::Closing, None, |event| {
                    event.detail = "the server restarts".into();
                });
                [vec![Ok(closing)], self.end(status::restarting())].concat()
            }
        }
    }

    fn end(&mut self, status: Status) -> Vec<Result<Bytes, Status>> {
        self.phase = Phase::Over;
        status::count(&status);
        vec![Err(status)]
    }

    fn encode(&self, deliveries: &[Delivery]) -> Vec<Result<Bytes, Status>> {
        self.client.count(deliveries);
        deliveries.iter().flat_map(encode).map(Ok).collect()
    }
}

/// The messages of a delivery, in order.
fn encode(delivery: &Delivery) -> Vec<Bytes> {
    match delivery {
        Delivery::Tick { tick, skipped: 0 } => {
            vec![tick.frame(Encoding::Protobuf, |tick| tick_frame(tick, 0))]
        }
        Delivery::Tick { tick, skipped } => vec![tick_frame(tick.tick(), *skipped)],
        Delivery::Snapshot { snapshot, skipped: 0 } => vec![snapshot_frame(snapshot)],
        // A snapshot has no field for what it replaces, so that an event before it tells.
        Delivery::Snapshot { snapshot, skipped } => {
            let lagged = event(StreamEventKind::Lagged, Some(&snapshot.instrument), |event| {
                event.skipped = Some(*skipped);
            });
            vec![lagged, snapshot_frame(snapshot)]
        }
        Delivery::Event(happened) => event_frame(happened).into_iter().collect(),
    }
}

fn tick_frame(tick: &Tick, skipped: u64) -> Bytes {
    let update = v1::TickUpdate { tick: Some(tick.into()), skipped, resume_token: String::new() };
    frame(subscribe_response::Message::Tick(update))
}

fn snapshot_frame(snapshot: &Snapshot) -> Bytes {
    let mut encoded = v1::Snapshot::from(snapshot);
    if snapshot.state == MarketState::default() {
        // Nothing is known, so that there is no position either.
        encoded.sequence = None;
    }
    let update = v1::SnapshotUpdate { snapshot: Some(encoded), resume_token: String::new() };
    frame(subscribe_response::Message::Snapshot(update))
}

fn event_frame(happened: &Event) -> Option<Bytes> {
    Some(match happened {
        Event::RateLimited { retry } => event(StreamEventKind::RateLimited, None, |event| {
            event.retry_delay = Some(proto::duration(*retry));
        }),
        Event::Missed { instrument, .. } => event(StreamEventKind::Lagged, Some(instrument), |event| {
            event.detail = "the broker no longer had the ticks in between; the full state follows".into();
        }),
        Event::EventsSkipped(count) => event(StreamEventKind::Lagged, None, |event| {
            event.detail = format!("{count} events of feeds were left out");
        }),
        Event::Feed(feed_event) => return feed_event_frame(feed_event),
    })
}

/// `None` for what has no kind of its own in the API: a feed that is well, and losses inside the pipeline, whose gaps are
/// told as gaps.
fn feed_event_frame(feed_event: &FeedEvent) -> Option<Bytes> {
    let kind = match &feed_event.kind {
        EventKind::Gap(_) => StreamEventKind::Gap,
        EventKind::Repaired(_) => StreamEventKind::Repaired,
        EventKind::NewRun { .. } => StreamEventKind::NewRun,
        EventKind::FeedState(FeedState::Stale) => StreamEventKind::Stale,
        EventKind::FeedState(_) | EventKind::Overrun { .. } | EventKind::Product(_) => return None,
    };
    Some(event(kind, Some(&feed_event.instrument), |event| {
        event.report_time = Some(proto::timestamp(feed_event.time));
        match &feed_event.kind {
            EventKind::Gap(gap) | EventKind::Repaired(gap) => event.gap = Some(gap.into()),
            EventKind::NewRun { previous, first } => {
                event.new_run = Some(v1::NewRun {
                    previous_run: previous.run,
                    previous_sequence: previous.sequence,
                    run: first.run,
                    sequence: first.sequence,
                });
            }
            EventKind::FeedState(_) | EventKind::Overrun { .. } | EventKind::Product(_) => {}
        }
    }))
}

fn event(
    kind: StreamEventKind,
    about: Option<&Instrument>,
    fill: impl FnOnce(&mut v1::StreamEvent),
) -> Bytes {
    let mut event = v1::StreamEvent {
        kind: kind.into(),
        venue: about.map(|about| about.venue.to_string()).unwrap_or_default(),
        product: about.map(|about| about.product.to_string()).unwrap_or_default(),
        report_time: Some(proto::timestamp(UnixNanos::now())),
        ..v1::StreamEvent::default()
    };
    fill(&mut event);
    frame(subscribe_response::Message::Event(event))
}

fn frame(message: subscribe_response::Message) -> Bytes {
    v1::SubscribeResponse { message: Some(message) }.encode_to_vec().into()
}
