//! The messages of one `Subscribe` call.

use std::{pin::Pin, vec};

use bytes::Bytes;
use domain::{EventKind, FeedEvent, FeedState, Instrument, MarketState, Snapshot, UnixNanos};
use futures::{FutureExt as _, Stream, StreamExt, future::BoxFuture, stream};
use live::{Delivery, Encoding, Ended, Event, LiveFeed, LiveTick, Policy, Subscription};
use metrics::counter;
use prost::Message;
use proto::v1::{self, StreamEventKind, subscribe_response};
use runtime::{ErrorChain, Shutdown};
use tonic::{Code, Status};

use super::{status, subscribe::Plan};
use crate::{
    access::{self, Caller, Meter},
    clients::Client,
    metrics as names,
};

/// How many messages are handed over at once.
const BATCH_MAX: usize = 256;

/// Encoded messages of type `SubscribeResponse`, and an error at the end.
pub(super) type Frames = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A subscriber. It is asked for the next batch when the one before has been taken: HTTP/2 flow control is what paces it.
struct Subscriber {
    subscription: Subscription,
    client: Client,
    shutdown: Shutdown,
    /// What is left of its quota, where every message is sent.
    meter: Option<Meter>,
    /// When the time of its caller is over.
    over: BoxFuture<'static, access::Ended>,
    /// Nothing follows.
    is_over: bool,
}

/// Begins a subscription.
pub(super) fn frames(
    feed: &LiveFeed,
    plan: &Plan,
    client: Client,
    shutdown: Shutdown,
    caller: Caller,
) -> Frames {
    let mut subscription = Subscription::idle(feed, plan.policy).with_checkpoints();
    plan.apply(&mut subscription);
    let meter = (plan.policy == Policy::Lossless).then(|| Meter::of(&caller)).flatten();
    let over = caller.ended().boxed();
    let subscriber = Subscriber { subscription, client, shutdown, meter, over, is_over: false };
    let batches = stream::unfold(subscriber, |mut subscriber| async move {
        let batch = subscriber.next().await?;
        Some((stream::iter(batch), subscriber))
    });
    Box::pin(batches.flatten())
}

impl Subscriber {
    async fn next(&mut self) -> Option<vec::IntoIter<Result<Bytes, Status>>> {
        if self.is_over {
            return None;
        }
        // Where the next batch may be too much, its client goes on without it.
        let is_low = self.meter.as_ref().is_some_and(Meter::is_low);
        let unsent_from = is_low.then(|| self.subscription.token()).flatten();
        let next = self.shutdown.run_until(self.subscription.next_batch(BATCH_MAX));
        let batch = tokio::select! {
            biased;
            over = &mut self.over => self.end_access(over),
            next = next => match next {
                Some(Ok(deliveries)) => match self.charge(deliveries.len()) {
                    Ok(()) => self.encode(&deliveries),
                    Err(status) => self.close_from(unsent_from, status.message().to_owned(), status),
                },
                Some(Err(ended)) => self.end(&ended),
                None => self.close("the server restarts".into(), status::restarting()),
            },
        };
        Some(batch.into_iter())
    }

    /// Counts messages, where every one has to be sent.
    fn charge(&mut self, messages: usize) -> Result<(), Status> {
        let Some(meter) = &mut self.meter else {
            return Ok(());
        };
        match meter.have_room(messages) {
            true => Ok(()),
            false => Err(access::status::too_many_messages(meter.per_second())),
        }
    }

    fn end(&mut self, ended: &Ended) -> Vec<Result<Bytes, Status>> {
        let lagged = matches!(ended, Ended::FellBehind { .. }).then(|| {
            event(StreamEventKind::Lagged, Some(ended.instrument()), |event| event.detail = ended.to_string())
        });
        let closing = self.close(ErrorChain(ended).to_string(), status::ended(ended));
        lagged.into_iter().map(Ok).chain(closing).collect()
    }

    fn end_access(&mut self, over: access::Ended) -> Vec<Result<Bytes, Status>> {
        counter!(names::ACCESS_ENDED, "reason" => over.as_str()).increment(1);
        let status = access::status::ended(over);
        self.close(status.message().to_owned(), status)
    }

    /// The last messages: from where the client may go on, and why it has to.
    fn close(&mut self, detail: String, status: Status) -> Vec<Result<Bytes, Status>> {
        self.close_from(self.subscription.token(), detail, status)
    }

    fn close_from(
        &mut self,
        token: Option<String>,
        detail: String,
        status: Status,
    ) -> Vec<Result<Bytes, Status>> {
        self.is_over = true;
        status::count(&status);
        let closing = event(StreamEventKind::Closing, None, |event| {
            event.resume_token = token.unwrap_or_default();
            // Nobody gets in again with what has expired or was revoked.
            event.retry_delay =
                (status.code() != Code::Unauthenticated).then(|| proto::duration(status::RETRY_DELAY));
            event.detail = detail;
        });
        vec![Ok(closing), Err(status)]
    }

    fn encode(&self, deliveries: &[Delivery]) -> Vec<Result<Bytes, Status>> {
        self.client.count(deliveries);
        deliveries.iter().flat_map(encode).map(Ok).collect()
    }
}

/// The messages of a delivery, in order.
pub(crate) fn encode(delivery: &Delivery) -> Vec<Bytes> {
    match delivery {
        Delivery::Tick { tick, skipped: 0 } => {
            vec![tick.frame(Encoding::Protobuf, |tick| tick_frame(tick, 0))]
        }
        Delivery::Tick { tick, skipped } => vec![tick_frame(tick, *skipped)],
        Delivery::Snapshot { snapshot, skipped: 0, token } => vec![snapshot_frame(snapshot, token)],
        // A snapshot has no field for what it replaces, so that an event before it tells.
        Delivery::Snapshot { snapshot, skipped, token } => {
            let lagged = event(StreamEventKind::Lagged, Some(&snapshot.instrument), |event| {
                event.skipped = Some(*skipped);
            });
            vec![lagged, snapshot_frame(snapshot, token)]
        }
        Delivery::Event(happened) => event_frame(happened).into_iter().collect(),
    }
}

pub(crate) fn tick_frame(tick: &LiveTick, skipped: u64) -> Bytes {
    let update = v1::TickUpdate { tick: Some(tick.tick().into()), skipped, resume_token: tick.token() };
    frame(subscribe_response::Message::Tick(update))
}

fn snapshot_frame(snapshot: &Snapshot, token: &str) -> Bytes {
    let mut encoded = v1::Snapshot::from(snapshot);
    if snapshot.state == MarketState::default() {
        // Nothing is known, so that there is no position either.
        encoded.sequence = None;
    }
    let update = v1::SnapshotUpdate { snapshot: Some(encoded), resume_token: token.to_owned() };
    frame(subscribe_response::Message::Snapshot(update))
}

fn event_frame(happened: &Event) -> Option<Bytes> {
    Some(match happened {
        Event::RateLimited { retry } => event(StreamEventKind::RateLimited, None, |event| {
            event.retry_delay = Some(proto::duration(*retry));
        }),
        Event::Live => event(StreamEventKind::Live, None, |_| {}),
        Event::Checkpoint { token } => event(StreamEventKind::Checkpoint, None, |event| {
            event.resume_token.clone_from(token);
        }),
        Event::NotRecovered { instrument, reason, .. } => {
            event(StreamEventKind::NotRecovered, Some(instrument), |event| {
                event.detail = ErrorChain(reason).to_string();
            })
        }
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

pub(crate) fn event(
    kind: StreamEventKind,
    about: Option<&Instrument>,
    fill: impl FnOnce(&mut v1::StreamEvent),
) -> Bytes {
    frame(subscribe_response::Message::Event(stream_event(kind, about, fill)))
}

pub(super) fn stream_event(
    kind: StreamEventKind,
    about: Option<&Instrument>,
    fill: impl FnOnce(&mut v1::StreamEvent),
) -> v1::StreamEvent {
    let mut event = v1::StreamEvent {
        kind: kind.into(),
        venue: about.map(|about| about.venue.to_string()).unwrap_or_default(),
        product: about.map(|about| about.product.to_string()).unwrap_or_default(),
        report_time: Some(proto::timestamp(UnixNanos::now())),
        ..v1::StreamEvent::default()
    };
    fill(&mut event);
    event
}

fn frame(message: subscribe_response::Message) -> Bytes {
    v1::SubscribeResponse { message: Some(message) }.encode_to_vec().into()
}
