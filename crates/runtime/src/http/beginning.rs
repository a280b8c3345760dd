//! A client has to begin in time.

use std::future::Future as _;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that fails to read when it is not clear in time whether the client speaks HTTP/1 or HTTP/2. Until then hyper has
/// no time limit of its own, and a silent client would keep its place for ever.
pub(super) struct Beginning<S> {
    stream: S,
    /// How much of the preface has come.
    seen: usize,
    /// `None` once the client has begun.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Beginning<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, seen: 0, deadline: Some(Box::pin(sleep(limit))) }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    fn look_at(&mut self, bytes: &[u8]) {
        let expected = HTTP2_PREFACE.get(self.seen..).unwrap_or_default();
        let is_preface = expected.starts_with(bytes) || bytes.starts_with(expected);
        self.seen += bytes.len();
        if !is_preface || self.seen >= HTTP2_PREFACE.len() {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Beginning<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Some(deadline) = &mut this.deadline {
            if read.is_ready() {
                this.look_at(buffer.filled().get(before..).unwrap_or_default());
            } else if deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client did not begin in time")));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Beginning<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
