//! Answers of query. One is taken in before it is passed on, as far as there is room, and of a stream the beginning: until
//! then, an instance that dies in the middle of it can be replaced by another.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Response, response::Parts};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame};
use metrics::counter;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};
use tracing::debug;

use super::{
    call::Call,
    pool::{Answered, Counted},
    retry::Failure,
    status,
};
use crate::{
    access::{self, Caller, Ended, Seat},
    metrics as names,
};

/// How much of one answer is taken in; what is longer is passed on as it comes, and cut where its instance dies.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How much of a stream is taken in, and for how long since its first part: short ones are at their end by then.
const STREAM_BYTES_MAX: usize = 64 * 1024;
const STREAM_TIME_MAX: Duration = Duration::from_secs(1);
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
    /// Of a stream: the beginning of a message whose end has not come.
    begun: Option<BytesMut>,
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
                begun: is_stream.then(BytesMut::new),
            };
            let taken_in = if is_stream {
                body.take_in_beginning(&room).await
            } else {
                body.take_in(&room, ANSWER_BYTES_MAX).await
            };
            taken_in.map_err(|status| Failure::of(&answered.member, status.message().to_owned()))?;
            let trailers = body.frames.back().and_then(Frame::trailers_ref);
            let is_unavailable = [Some(&parts.headers), trailers].into_iter().flatten().any(says_unavailable);
            if is_unavailable {
                answered.member.set_down(true);
            }
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
    /// Headers alone tell a client nothing, so that there is no hurry before the first part.
    async fn take_in_beginning(&mut self, room: &Arc<Semaphore>) -> Result<(), Status> {
        self.take_in(room, 0).await?;
        let more = timeout(STREAM_TIME_MAX, self.take_in(room, STREAM_BYTES_MAX)).await;
        more.unwrap_or(Ok(()))
    }

    /// Takes in until there are more than `bytes_max` bytes. May be given up at any time: what has come is kept.
    async fn take_in(&mut self, room: &Arc<Semaphore>, bytes_max: usize) -> Result<(), Status> {
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
                Ok(taken) if size <= bytes_max => self.room.push(taken),
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
        loop {
            let frame = match self.frames.pop_front() {
                Some(frame) => Some(Ok(frame)),
                None => std::task::ready!(self.poll_rest(context)),
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Some(frame) = self.in_messages(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                frame => return Poll::Ready(frame),
            }
        }
    }
}

impl Gathered {
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.room.clear();
        if let Some(stay) = &mut self.stay
            && let Poll::Ready(ended) = stay.ended.poll_unpin(context)
        {
            (self.rest, self.stay) = (None, None);
            counter!(names::ACCESS_ENDED, "reason" => ended.as_str()).increment(1);
            return Poll::Ready(Some(end_with(&access::status::ended(ended))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(rest).poll_frame(context));
        Poll::Ready(match frame {
            Some(Err(error)) => Some(self.break_off(&error)),
            frame => frame,
        })
    }

    /// A stream goes on in whole messages: whatever ends it, its end is not read as a part of the last one, as it would be in
    /// grpc-web, where trailers follow in the body. A message longer than is held goes on as it comes.
    fn in_messages(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        let Some(begun) = &mut self.begun else {
            return Some(frame);
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Some(frame),
        };
        if begun.is_empty() && whole_messages(&data) == data.len() {
            return Some(Frame::data(data));
        }
        begun.extend_from_slice(&data);
        let whole = whole_messages(begun);
        if whole == 0 && begun.len() > ANSWER_BYTES_MAX {
            return self.begun.take().map(|begun| Frame::data(begun.freeze()));
        }
        (whole > 0).then(|| Frame::data(begun.split_to(whole).freeze()))
    }

    /// The instance died, and a part of its answer is with the client, who is told so: nothing else would reach it than that
    /// something is wrong with the connection to us.
    fn break_off(&mut self, error: &Status) -> Result<Frame<Bytes>, Status> {
        debug!(%error, "an answer of query has broken off");
        counter!(names::FORWARD_CUT).increment(1);
        if let Some((_, counted)) = &self.place {
            counted.set_down();
        }
        (self.rest, self.stay) = (None, None);
        end_with(&status::query_cut_off())
    }
}

/// How many bytes of `data` are messages that are there to their end. Each has five bytes in front, the last four its length.
fn whole_messages(data: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(&[_, a, b, c, d]) = data.get(whole..whole + 5) {
        let end = whole + 5 + u32::from_be_bytes([a, b, c, d]) as usize;
        if end > data.len() {
            break;
        }
        whole = end;
    }
    whole
}

/// The end of an answer that has begun.
fn end_with(told: &Status) -> Result<Frame<Bytes>, Status> {
    status::count(told);
    let mut trailers = HeaderMap::new();
    told.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
