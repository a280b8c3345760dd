//! Streams that end with the time of their caller, and its quota of messages.

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

/// `messages` until the time of `caller` is over. It holds the seat for as long. Messages that end by themselves then have `farewell`
/// for it.
pub(crate) fn until_ended<T: Send + 'static>(
    messages: Messages<T>,
    caller: Caller,
    seat: Seat,
    farewell: Duration,
) -> Messages<T> {
    if caller.is_anybody() {
        return messages;
    }
    let ended = async move {
        let ended = caller.ended().await;
        if !farewell.is_zero() {
            sleep(farewell).await;
        }
        ended
    };
    Box::pin(UntilEnded { messages: Some(messages), ended: ended.boxed(), _seat: seat })
}

struct UntilEnded<T> {
    /// `None` once the last message has been given.
    messages: Option<Messages<T>>,
    ended: BoxFuture<'static, Ended>,
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
            let status = status::ended(ended);
            this.messages = None;
            grpc::status::count(&status);
            return Poll::Ready(Some(Err(status)));
        }
        messages.poll_next_unpin(context)
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

    /// Counts messages, and says whether they may be sent.
    pub(crate) fn have_room(&mut self, messages: usize) -> bool {
        let now = Instant::now();
        let has_room = (0..messages).all(|_| self.bucket.try_take(now).is_ok());
        if !has_room {
            counter!(names::QUOTA_REFUSED, "quota" => "messages").increment(1);
        }
        has_room
    }

    /// Whether the next messages may be too many. Whoever sends them needs to know by then how its client can do without: what was
    /// read and not sent must not be behind the token that the client is given.
    pub(crate) fn is_low(&self) -> bool {
        !self.bucket.is_half_full(Instant::now())
    }

    /// The messages a second that the quota allows.
    pub(crate) fn per_second(&self) -> u32 {
        self.per_second.get()
    }
}
