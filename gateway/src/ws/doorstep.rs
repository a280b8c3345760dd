//! A connection of which little is read before it is known whose it is.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is taken of somebody who has not said who it is, all in all: the longest token fits in twice.
const BYTES_MAX: usize = 16 * 1024;

/// A connection; whoever sends too much before it is let in is as good as gone.
pub(super) struct Doorstep<S> {
    io: S,
    /// How much more may be read, for as long as that is limited.
    left: Option<usize>,
}

impl<S> Doorstep<S> {
    /// `read` bytes were taken from it already.
    pub(super) fn new(io: S, read: usize) -> Self {
        Self { io, left: Some(BYTES_MAX.saturating_sub(read)) }
    }

    /// From now on everything is read.
    pub(super) fn let_in(&mut self) {
        self.left = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Doorstep<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == Some(0) {
            return Poll::Ready(Err(io::Error::other("too much before it is known who this is")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        self.left = self.left.map(|left| left.saturating_sub(count));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Doorstep<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_stranger_is_read_to_the_limit_and_a_client_without_one() {
        let endless = || tokio::io::repeat(b'x');
        let mut stranger = Doorstep::new(endless(), 4_096);
        let mut all = Vec::new();
        stranger.read_to_end(&mut all).await.unwrap_err();
        assert!((BYTES_MAX - 4_096..BYTES_MAX * 2).contains(&all.len()), "{}", all.len());
        stranger.let_in();
        stranger.read_exact(&mut [0; 4 * BYTES_MAX]).await.unwrap();
    }
}
