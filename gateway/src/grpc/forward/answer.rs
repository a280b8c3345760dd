//! Answers of query. One that is no stream is taken in before it is passed on, as far as there is room: until then, an
//! instance that dies in the middle of it can be replaced by another.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Response, response::Parts};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame};
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};

use super::{
    call::Call,
    pool::{Answered, Counted},
    retry::Failure,
};
use crate::{
    access::{self, Caller, Ended, Seat},
    metrics as names,
};

/// How much of one answer is taken in; what is longer is passed on as it comes, and cut where its instance dies.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How much of all answers is in memory at one time; beyond that answers are passed on as they come.
const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What the room is counted in.
const UNIT_BYTES: usize = 1024;
const UNAVAILABLE: &[u8] = b"14";

/// Takes in the answers of what is inside.
#[derive(Clone, Debug)]
pub(super) struct Gathering<S> {
    inner: S,
    room: Arc<Semaphore>,
}

/// An answer that is passed on.
pub(super) struct Answer {
    parts: Parts,
    body: Gathered,
    pub(super) member: SocketAddr,
    /// It says that somebody else, or the same instance later, could do better.
    pub(super) is_unavailable: bool,
}

/// What was taken in of a body, and the rest of it.
struct Gathered {
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
    room: Vec<OwnedSemaphorePermit>,
    /// Its place among the calls, and with its instance, while there is a rest.
    place: Option<(OwnedSemaphorePermit, Counted)>,
    counted: Option<Counted>,
    stay: Option<Stay>,
}

/// The connection that a stream is for its caller, and the end of its time.
pub(super) struct Stay {
    ended: BoxFuture<'static, Ended>,
    _seat: Seat,
}

impl Stay {
    pub(super) fn new(caller: &Caller) -> Result<Self, Status> {
        let seat = access::sit_down(caller)?;
        Ok(Self { ended: caller.clone().ended().boxed(), _seat: seat })
    }
}

impl<S> Gathering<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, room: Arc::new(Semaphore::new(ANSWERS_BYTES_MAX / UNIT_BYTES)) }
    }
}

impl<S> Service<Call> for Gathering<S>
where
    S: Service<Call, Response = Answered, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answer;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let (inner, room) = (self.inner.clone(), Arc::clone(&self.room));
        Box::pin(async move {
            let is_stream = call.is_stream();
            let answered = inner.oneshot(call).await?;
            let (parts, body) = answered.response.into_parts();
            let mut body = Gathered {
                frames: VecDeque::new(),
                rest: Some(body),
                room: Vec::new(),
                place: None,
                counted: Some(answered.counted),
                stay: None,
            };
            if !is_stream {
                let taken_in = body.take_in(&room).await;
                taken_in.map_err(|status| Failure::of(&answered.member, status.message().to_owned()))?;
            }
            let trailers = body.frames.back().and_then(Frame::trailers_ref);
            let is_unavailable = [Some(&parts.headers), trailers].into_iter().flatten().any(says_unavailable);
            Ok(Answer { parts, body, member: answered.member.address, is_unavailable })
        })
    }
}

fn says_unavailable(headers: &HeaderMap) -> bool {
    headers.get(Status::GRPC_STATUS).is_some_and(|code| code.as_bytes() == UNAVAILABLE)
}

impl Answer {
    /// The answer for the client; it holds `place` for as long as query has something to do with it, and a stream goes on for
    /// as long as `stay` lets it.
    pub(super) fn into_response(mut self, place: OwnedSemaphorePermit, stay: Option<Stay>) -> Response<Body> {
        self.body.stay = stay;
        let counted = self.body.counted.take();
        self.body.place = self.body.rest.is_some().then_some(place).zip(counted);
        Response::from_parts(self.parts, Body::new(self.body))
    }
}

impl Gathered {
    async fn take_in(&mut self, room: &Arc<Semaphore>) -> Result<(), Status> {
        let mut size = 0;
        while let Some(body) = &mut self.rest {
            let Some(frame) = body.frame().await else {
                self.rest = None;
                return Ok(());
            };
            let frame = frame?;
            let length = frame.data_ref().map_or(0, Bytes::len);
            size += length;
            self.frames.push_back(frame);
            let units = u32::try_from(length.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
            match Arc::clone(room).try_acquire_many_owned(units) {
                Ok(taken) if size <= ANSWER_BYTES_MAX => self.room.push(taken),
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

impl HttpBody for Gathered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        self.room.clear();
        if let Some(stay) = &mut self.stay
            && let Poll::Ready(ended) = stay.ended.poll_unpin(context)
        {
            (self.rest, self.stay) = (None, None);
            counter!(names::ACCESS_ENDED, "reason" => ended.as_str()).increment(1);
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(match access::status::ended(ended).add_header(&mut trailers) {
                Ok(()) => Ok(Frame::trailers(trailers)),
                Err(status) => Err(status),
            }));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }
}
