//! The answer while it is sent: the call ends when its trailers are out.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status, body::Body};

use crate::errors;

use super::{deadline::Deadline, watch::Watch};

/// A body that keeps what belongs to the call until it is sent.
struct Answer {
    body: Body,
    watch: Watch,
    deadline: Option<Deadline>,
    is_cut: bool,
    _place: Option<OwnedSemaphorePermit>,
}

/// Sends `response` as the answer of the call that `watch` watches.
pub(super) fn finish(
    response: Response<Body>,
    mut watch: Watch,
    place: Option<OwnedSemaphorePermit>,
    deadline: Option<Deadline>,
) -> Response<Body> {
    // An error of a handler or of the framework stands in the headers, and nothing follows.
    if let Some(status) = Status::from_header_map(response.headers()) {
        watch.end(status.code());
        return match status.code() {
            Code::Ok => response,
            _ => errors::with_reason(status).into_http(),
        };
    }
    response.map(|body| Body::new(Answer { body, watch, deadline, is_cut: false, _place: place }))
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_cut {
            return Poll::Ready(None);
        }
        let span = this.watch.span.clone();
        let _entered = span.enter();
        if let Some(deadline) = &mut this.deadline
            && deadline.is_over(context)
        {
            return Poll::Ready(Some(Ok(this.cut())));
        }
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let status = Status::from_header_map(trailers);
                    this.watch.end(status.map_or(Code::Unknown, |status| status.code()));
                }
            }
            Some(Err(status)) => this.watch.end(status.code()),
            None => this.watch.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_cut || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Answer {
    /// The trailers of a stream that its deadline ends. What was read for it is dropped here.
    fn cut(&mut self) -> Frame<Bytes> {
        let limit = self.deadline.as_ref().map(|deadline| deadline.limit).unwrap_or_default();
        self.is_cut = true;
        self.body = Body::empty();
        self.watch.end(Code::DeadlineExceeded);
        let mut trailers: HeaderMap = errors::out_of_time(limit).into_http::<Body>().headers().clone();
        trailers.remove(header::CONTENT_TYPE);
        Frame::trailers(trailers)
    }
}
