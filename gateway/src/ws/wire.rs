//! The socket of one client: read by the library, written past it.
//!
//! A server's frames are not masked, so that header and payload can be made ready once and shared by all who receive them.
//! They go to the socket several at a time, without a copy. What the library has to say by itself (pongs, the answer to a
//! close) goes between two of them, never into one.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use super::doorstep::Doorstep;

/// A ready frame, with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame(pub(super) Bytes);

/// First bytes of frames (RFC 6455, 5.2): final, and the kind.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: [u8; 2] = [0x89, 0];

impl Frame {
    /// A frame of text.
    pub(super) fn text(payload: &str) -> Self {
        Self::of(TEXT, payload.as_bytes())
    }

    /// A frame of bytes.
    pub(super) fn binary(payload: &[u8]) -> Self {
        Self::of(BINARY, payload)
    }

    /// A ping without a payload.
    pub(super) fn ping() -> Self {
        Self(Bytes::from_static(&PING))
    }

    fn of(first: u8, payload: &[u8]) -> Self {
        let mut frame = Vec::with_capacity(payload.len() + 10);
        frame.push(first);
        let length = payload.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < 126 => frame.push(short),
            (_, Ok(middle)) => {
                frame.push(126);
                frame.extend_from_slice(&middle.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        Self(frame.into())
    }

    /// What is in it.
    pub(super) fn payload(&self) -> &[u8] {
        let head = match self.0.get(1) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        };
        self.0.get(head..).unwrap_or_default()
    }
}

/// Frames on their way. The session bounds them: it asks for more only when these have gone.
#[derive(Debug, Default)]
struct Outgoing {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// A part of the first frame has gone.
    begun: bool,
}

impl Outgoing {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.0.len();
        self.frames.push_back(frame.0);
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.frames.front().map_or(&[], |frame| frame)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.frames);
        filled.map(|(slice, frame)| *slice = IoSlice::new(frame)).count()
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(frame) = self.frames.front_mut() {
            if count < frame.len() {
                frame.advance(count);
                self.begun |= count > 0;
                return;
            }
            count -= frame.len();
            self.begun = false;
            self.frames.pop_front();
        }
    }
}

/// The socket. Little is read from it before the client is [let in](Wire::let_in).
pub(super) struct Wire<S> {
    socket: WebSocketStream<Doorstep<S>>,
    outgoing: Outgoing,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes over a connection on which the handshake is done; `read` was read from it already.
    pub(super) async fn new(io: S, read: Vec<u8>, limits: WebSocketConfig) -> Self {
        let io = Doorstep::new(io, read.len());
        let socket = WebSocketStream::from_partially_read(io, read, Role::Server, Some(limits)).await;
        Self { socket, outgoing: Outgoing::default() }
    }

    /// It is known who the client is: everything it sends is read from now on.
    pub(super) fn let_in(&mut self) {
        self.socket.get_mut().let_in();
    }

    /// The next message of the client; nothing of it is lost when this is dropped. Pings are answered on the way.
    ///
    /// Only to be waited for when everything was [sent](Wire::send): an answer would go into the middle of a frame.
    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        debug_assert!(!self.outgoing.begun, "a frame has been begun");
        self.socket.next().await
    }

    /// Sends it with the next [`Wire::send`].
    pub(super) fn push(&mut self, frame: Frame) {
        self.outgoing.push(frame);
    }

    /// How many bytes wait to be sent.
    pub(super) fn pending(&self) -> usize {
        self.outgoing.bytes
    }

    /// Sends some of what was pushed, and returns once the system has taken it. May be dropped: the rest stays.
    pub(super) async fn send(&mut self) -> Result<(), Error> {
        if !self.outgoing.begun {
            self.socket.flush().await?;
        }
        if self.outgoing.has_remaining() && self.socket.get_mut().write_buf(&mut self.outgoing).await? == 0 {
            return Err(Error::ConnectionClosed);
        }
        Ok(())
    }

    /// Sends what is waiting, then the close, and reads until the client has answered it, or until it has ended the
    /// connection: bytes that are left unread would turn its end into a reset, which may overtake the close.
    pub(super) async fn close(&mut self, close: CloseFrame) -> Result<(), Error> {
        while self.pending() > 0 {
            self.send().await?;
        }
        // Answers to pings go first: nothing may follow a close.
        self.socket.flush().await?;
        self.socket.close(Some(close)).await?;
        while let Some(Ok(message)) = self.socket.next().await {
            if message.is_close() {
                return Ok(());
            }
        }
        let io = self.socket.get_mut();
        // What is read here is not kept.
        io.let_in();
        io.shutdown().await?;
        let mut unread = [0; 256];
        while io.read(&mut unread).await? > 0 {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_shortest_header() {
        for (length, head) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = "x".repeat(length);
            let frame = Frame::text(&payload);
            assert_eq!(frame.0[..head.len()], head, "{length}");
            assert_eq!(frame.payload(), payload.as_bytes());
        }
        assert_eq!(Frame::binary(b"ab").0[..], [0x82, 2, b'a', b'b']);
    }

    #[test]
    fn what_was_written_leaves() {
        let mut outgoing = Outgoing::default();
        for payload in ["one", "two", "three"] {
            outgoing.push(Frame::text(payload));
        }
        let mut slices = [IoSlice::new(&[]), IoSlice::new(&[])];
        assert_eq!(outgoing.chunks_vectored(&mut slices), 2);
        outgoing.advance(5);
        assert!(!outgoing.begun && outgoing.chunk() == b"\x81\x03two");
        outgoing.advance(1);
        assert!(outgoing.begun);
        outgoing.advance(4);
        assert!(!outgoing.begun && outgoing.chunk() == b"\x81\x05three");
        outgoing.advance(7);
        assert_eq!((outgoing.chunk(), outgoing.remaining()), (&[][..], 0));
    }
}
