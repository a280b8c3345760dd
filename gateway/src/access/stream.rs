//! Streams that end with the time of their caller, and keep to its quota of messages.

use std::{
    num::NonZeroU32,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use live::{Rate, TokenBucket};
use metrics::counter;
use tokio::time::sleep;
use tonic::Status;

use super::{Caller, Ended, Seat, status};
use crate::{grpc, metrics as names};

/// How many seconds of its quota a stream may be ahead: a market bursts.
const BURST_SECONDS: u32 = 10;
/// What stands at the start of a stream is no burst of the market.
const START_MESSAGES: u32 = 2_000;

/// A stream of messages, or of an error at its end.
pub(crate) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How long a stream may take to say from where its client may go on, once the time of its caller is over.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// `messages` until the time of `caller` is over or, where every message is sent (`is_metered`), until they are more than it may
/// take. It holds the seat for as long. Messages that end by themselves then have `farewell` for it.
pub(crate) fn until_ended<T: Send + 'static>(
    messages: Messages<T>,
    caller: Caller,
    seat: Seat,
    is_metered: bool,
    farewell: Duration,
) -> Messages<T> {
    if caller.is_anybody() {
        return messages;
    }
    let meter = is_metered.then(|| Meter::of(&caller)).flatten();
    let ended = async move {
        let ended = caller.ended().await;
        if !farewell.is_zero() {
            sleep(farewell).await;
        }
        ended
    };
    Box::pin(UntilEnded { messages: Some(messages), ended: ended.boxed(), meter, _seat: seat })
}

struct UntilEnded<T> {
    /// `None` once the last message has been given.
    messages: Option<Messages<T>>,
    ended: BoxFuture<'static, Ended>,
    meter: Option<Meter>,
    _seat: Seat,
}

impl<T> Stream for UntilEnded<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(messages) = &mut this.messages else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(ended) = this.ended.poll_unpin(context) {
            counter!(names::ACCESS_ENDED, "reason" => ended.as_str()).increment(1);
            return this.refuse(status::ended(ended));
        }
        let next = messages.poll_next_unpin(context);
        let (Poll::Ready(Some(Ok(_))), Some(meter)) = (&next, &mut this.meter) else {
            return next;
        };
        if meter.has_room() {
            return next;
        }
        counter!(names::QUOTA_REFUSED, "quota" => "messages").increment(1);
        let refusal = status::too_many_messages(meter.per_second.get());
        this.refuse(refusal)
    }
}

impl<T> UntilEnded<T> {
    fn refuse(&mut self, status: Status) -> Poll<Option<Result<T, Status>>> {
        self.messages = None;
        grpc::status::count(&status);
        Poll::Ready(Some(Err(status)))
    }
}

/// What is left of a quota of messages where every message is sent.
#[derive(Debug)]
pub(crate) struct Meter {
    per_second: NonZeroU32,
    bucket: TokenBucket,
}

impl Meter {
    /// That of a new connection of `caller`, if it has a quota.
    pub(crate) fn of(caller: &Caller) -> Option<Self> {
        caller.messages_per_second().map(Self::new)
    }

    fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
        let rate = Rate { per_second, burst: burst.saturating_add(START_MESSAGES) };
        Self { per_second, bucket: TokenBucket::new(rate) }
    }

    /// Counts a message, if it may be sent.
    pub(crate) fn has_room(&mut self) -> bool {
        self.bucket.try_take(Instant::now()).is_ok()
    }
}
