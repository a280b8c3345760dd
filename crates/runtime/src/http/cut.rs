//! Ends answers that are not read.
//!
//! hyper asks a body for more only when there is room for what it has, so that nothing inside of a body can see that its client
//! has stopped to read. What carries the answer is watched instead, from outside: the stream of HTTP/2, or the connection of
//! HTTP/1. Ending it drops the body, with all that it holds.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, Sleep, sleep};

use super::refused;

/// So much of an answer is handed on at a time. A client that takes this within the limit is slow and not stuck, however large
/// the messages are that it is sent.
const PIECE_BYTES_MAX: usize = 8 * 1024;

tokio::task_local! {
    /// What is under way in this task.
    static CARRIER: Cut;
}

/// Cuts off what carries an answer. Handlers find it among the extensions of a request.
#[derive(Clone, Default)]
pub struct Cut(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How many frames the body has given.
    given: u64,
    /// The last of them may still wait for the client: nobody has asked for the next one.
    is_waiting: bool,
    over: Option<BoxFuture<'static, ()>>,
}

/// The time until which the client has to take what waits for it.
struct Alarm {
    limit: Duration,
    /// The frame that it was set for.
    given: u64,
    /// Only clients that are behind need one.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Cut {
    /// Cuts the answer off when `over` is done, at whatever point it is then. Of two, the last one counts. To be called by the handler of the request,
    /// before it has answered.
    pub fn when(&self, over: impl Future<Output = ()> + Send + 'static) {
        self.state().over = Some(over.boxed());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_due(&self, alarm: &mut Alarm, context: &mut Context<'_>) -> Poll<&'static str> {
        let mut state = self.state();
        if let Some(over) = &mut state.over
            && over.poll_unpin(context).is_ready()
        {
            return Poll::Ready("over");
        }
        if !state.is_waiting {
            return Poll::Pending;
        }
        let is_new = alarm.given != state.given;
        alarm.given = state.given;
        let sleep = alarm.sleep.get_or_insert_with(|| Box::pin(sleep(alarm.limit)));
        if is_new {
            sleep.as_mut().reset(Instant::now() + alarm.limit);
        }
        sleep.as_mut().poll(context).map(|()| "stalled")
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cut").finish_non_exhaustive()
    }
}

/// Runs what carries answers until it ends, or one of them has to be cut off: because its client takes nothing of it for `limit`, or because
/// its handler has said so.
pub(super) async fn watched<F: Future>(limit: Duration, carrier: F) -> Option<F::Output> {
    let cut = Cut::default();
    let mut alarm = Alarm { limit, given: 0, sleep: None };
    let mut carrier = pin!(CARRIER.scope(cut.clone(), carrier));
    poll_fn(|context| match carrier.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => cut.poll_due(&mut alarm, context).map(|reason| {
            refused(reason);
            None
        }),
    })
    .await
}

/// Runs the streams of HTTP/2 connections, each watched by itself.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) stall_timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        TokioExecutor::new().execute(watched(self.stall_timeout, stream));
    }
}

/// Gives the handler the means to cut its answer off.
pub(super) fn carry<B>(mut request: Request<B>) -> Request<B> {
    if let Ok(cut) = CARRIER.try_with(Cut::clone) {
        // Of the request before, on the same connection of HTTP/1.
        cut.state().over = None;
        request.extensions_mut().insert(cut);
    }
    request
}

/// Sees whether the answer is taken.
pub(super) fn watch(response: Response<Body>) -> Response<Body> {
    match CARRIER.try_with(Cut::clone) {
        Ok(cut) => response.map(|body| Body::new(Watched { body, rest: Bytes::new(), cut })),
        Err(_) => response,
    }
}

struct Watched {
    body: Body,
    /// What is left of the frame that was begun.
    rest: Bytes,
    cut: Cut,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut polled = if self.rest.is_empty() {
            Pin::new(&mut self.body).poll_frame(context)
        } else {
            Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.rest)))))
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(data) = frame.data_mut()
            && data.len() > PIECE_BYTES_MAX
        {
            self.rest = data.split_off(PIECE_BYTES_MAX);
        }
        let mut state = self.cut.state();
        state.is_waiting = matches!(polled, Poll::Ready(Some(Ok(_))));
        state.given += u64::from(state.is_waiting);
        drop(state);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (behind, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut all = SizeHint::new();
        all.set_lower(behind.lower() + rest);
        if let Some(upper) = behind.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.cut.state().is_waiting = false;
    }
}
