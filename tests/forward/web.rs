//! A client of grpc-web as a browser is one: one call per request of HTTP/1.1, in binary or in base64.

use std::{collections::BTreeMap, time::Duration};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Padding of headers is up to who writes them.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// A client that does not read takes little more than this.
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Binary,
    Text,
}

/// A call whose answer has not been read.
pub(crate) struct Call {
    socket: TcpStream,
    mode: Mode,
    answer: Vec<u8>,
}

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) messages: Vec<Vec<u8>>,
    /// `grpc-status`, `grpc-message`, `grpc-status-details-bin`, wherever they stood.
    pub(crate) told: BTreeMap<String, String>,
}

impl Call {
    pub(crate) async fn send(
        gateway: &str,
        method: &str,
        mode: Mode,
        request: &impl Message,
    ) -> std::io::Result<Self> {
        let message = request.encode_to_vec();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
        let (kind, body) = match mode {
            Mode::Binary => ("application/grpc-web+proto", body),
            Mode::Text => ("application/grpc-web-text+proto", STANDARD.encode(body).into_bytes()),
        };
        let head = format!(
            "POST /ledgerflux.v1.MarketDataService/{method} HTTP/1.1\r\nhost: {gateway}\r\n\
             content-type: {kind}\r\naccept: {kind}\r\nx-grpc-web: 1\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let mut socket = socket.connect(gateway.parse().unwrap()).await?;
        socket.write_all(&[head.as_bytes(), &body].concat()).await?;
        Ok(Self { socket, mode, answer: Vec::new() })
    }

    /// Waits for the beginning of the answer, and reads no further.
    pub(crate) async fn begun(&mut self) {
        let begun = timeout(PATIENCE, self.socket.read_buf(&mut self.answer)).await;
        assert!(begun.expect("the answer begins").unwrap() > 0, "there is an answer");
    }

    /// Whether what has come of the answer says that there is nothing else.
    pub(crate) fn is_refused(&self) -> bool {
        String::from_utf8_lossy(&self.answer).to_lowercase().contains("grpc-status:")
    }

    /// Reads to the end.
    pub(crate) async fn answer(mut self) -> std::io::Result<Answer> {
        timeout(PATIENCE, self.socket.read_to_end(&mut self.answer)).await??;
        read(&self.answer, self.mode)
            .ok_or_else(|| std::io::Error::other(String::from_utf8_lossy(&self.answer).into_owned()))
    }
}

impl Answer {
    pub(crate) fn code(&self) -> Option<&str> {
        self.told.get("grpc-status").map(String::as_str)
    }

    /// The details of the status, as bytes.
    pub(crate) fn details(&self) -> Vec<u8> {
        LENIENT.decode(self.told.get("grpc-status-details-bin").expect("details")).unwrap()
    }
}

fn read(answer: &[u8], mode: Mode) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let told = head.lines().skip(1).filter_map(header).collect::<BTreeMap<_, _>>();
    let chunked = told.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked");
    let rest = &answer[end + 4..];
    let body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    let body = match mode {
        Mode::Binary => body,
        // Each part of the stream is encoded by itself, so that padding may stand anywhere.
        Mode::Text => {
            body.chunks(4).map(|four| LENIENT.decode(four).ok()).collect::<Option<Vec<_>>>()?.concat()
        }
    };
    let mut read = Answer { messages: Vec::new(), told };
    let mut body = body.as_slice();
    while let [flags, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let content = rest.get(..length)?;
        if flags & 0x80 == 0 {
            read.messages.push(content.to_vec());
        } else {
            read.told.extend(std::str::from_utf8(content).ok()?.lines().filter_map(header));
        }
        body = &rest[length..];
    }
    body.is_empty().then_some(read)
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_lowercase(), value.trim().to_owned()))
}

/// Joins the parts of a chunked body; `None` when it is not whole.
fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?.trim(), 16).ok()?;
        whole.extend(body.get(end + 2..end + 2 + length)?);
        if length == 0 {
            return Some(whole);
        }
        body = body.get(end + 2 + length + 2..)?;
    }
}
