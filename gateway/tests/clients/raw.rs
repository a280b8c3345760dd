//! A WebSocket client without a library: it sends whatever bytes it is told to, and takes nothing from the server that
//! RFC 6455 forbids.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{Gateway, PATIENCE};

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
pub(crate) const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Of the key in the request, by RFC 6455, 1.3.
const ACCEPT: &str = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Raw {
    socket: TcpStream,
    /// The head of the answer to the handshake.
    pub(crate) head: String,
}

/// A frame as a client sends it, with the first byte as given.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(MASKED | u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            bytes.push(MASKED | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(MASKED | 127);
            bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The body of a close.
pub(crate) fn close_body(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

impl Raw {
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        Self::connect_with(gateway, "").await
    }

    /// With further headers, each with its line end.
    pub(crate) async fn connect_with(gateway: &Gateway, headers: &str) -> Self {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
            gateway.address
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT), "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "none was offered: {head}");
        Self { socket, head }
    }

    /// Sends bytes as they are. The server may have ended the connection meanwhile.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.socket.write_all(bytes).await {
            assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        }
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.send(&frame(FINAL | TEXT, text.as_bytes())).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.read_frame()).await.expect("the server answers")
    }

    async fn read_frame(&mut self) -> Option<Frame> {
        // A connection that is cut, with bytes of ours on the way, ends with a reset.
        let first = self.socket.read_u8().await.ok()?;
        let second = self.socket.read_u8().await.unwrap();
        assert_eq!(first & 0xf0, FINAL, "frames are whole and have no reserved bit");
        assert_eq!(second & MASKED, 0, "a server does not mask");
        let length = match second {
            126 => {
                let length = self.socket.read_u16().await.unwrap();
                assert!(length > 125, "the shortest header is used");
                usize::from(length)
            }
            127 => {
                let length = usize::try_from(self.socket.read_u64().await.unwrap()).unwrap();
                assert!(length > 65_535, "the shortest header is used");
                length
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.socket.read_exact(&mut payload).await.unwrap();
        let opcode = first & 0x0f;
        assert!([TEXT, BINARY, CLOSE, PING, PONG].contains(&opcode), "opcode {opcode}");
        assert!(opcode < CLOSE || length <= 125, "a control frame of {length} bytes");
        Some(Frame { opcode, payload })
    }

    /// The next message, which must be text.
    pub(crate) async fn answer(&mut self) -> String {
        let frame = self.frame().await.expect("the connection is open");
        let text = String::from_utf8(frame.payload).unwrap();
        assert_eq!(frame.opcode, TEXT, "{text}");
        text
    }

    /// Reads to the close, answers it as RFC 6455 wants it, and sees the server end the connection. Code 1005 stands for a
    /// close without a code, and 1006 for none at all.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let payload = loop {
            match self.frame().await {
                Some(Frame { opcode: CLOSE, payload }) => break payload,
                Some(_) => {}
                None => return (1006, String::new()),
            }
        };
        self.send(&frame(FINAL | CLOSE, &payload)).await;
        assert_eq!(self.frame().await, None, "nothing follows a close");
        match payload.split_first_chunk() {
            Some((code, reason)) => (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).unwrap()),
            None => (1005, String::new()),
        }
    }

    /// Ends the connection without a word.
    pub(crate) async fn hang_up(mut self) {
        self.socket.shutdown().await.unwrap();
        assert_eq!(self.frame().await, None);
    }
}
