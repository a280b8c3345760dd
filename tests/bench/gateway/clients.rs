//! The process of the clients: sockets that read, count frames, and do as little else as possible.

use std::{
    cell::RefCell,
    io::{self, IoSliceMut},
    os::fd::AsRawFd,
    rc::Rc,
    time::Duration,
};

use domain::UnixNanos;
use nix::sys::{
    socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns},
    time::TimeSpec,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

/// What is read from a socket at a time, into one buffer for all.
const READ_BYTES: usize = 256 * 1024;
/// How many clients connect at the same time.
const AT_ONCE: usize = 200;
const INGESTED: &[u8] = br#""ts_ingest":"#;

/// How a client reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Fast,
    /// About one frame a second.
    Slow,
    /// It never reads once it has subscribed.
    Stuck,
}

/// What all clients of the process have seen since the counting began.
#[derive(Default)]
struct Seen {
    ticks: u64,
    others: u64,
    closes: Vec<String>,
    latencies_us: Option<Vec<u32>>,
}

/// Connects, says `connected`, then counts: `start`, `start latency`, `count` for the ticks so far, and `stop` for all counts.
pub(crate) fn run(address: &str, count: &str, pace: &str, subscribe: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pace = match pace {
        "fast" => Pace::Fast,
        "slow" => Pace::Slow,
        "stuck" => Pace::Stuck,
        other => panic!("no such pace: {other}"),
    };
    tokio::task::LocalSet::new()
        .block_on(&runtime, clients(address, count.parse().unwrap(), pace, subscribe));
}

async fn clients(address: &str, count: usize, pace: Pace, subscribe: &str) {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let buffer = Rc::new(RefCell::new(vec![0; READ_BYTES]));
    let mut readers = JoinSet::new();
    for from in (0..count).step_by(AT_ONCE) {
        let mut connecting = JoinSet::new();
        for _ in from..count.min(from + AT_ONCE) {
            connecting.spawn_local(connect(address.to_owned(), subscribe.to_owned(), pace));
        }
        for stream in connecting.join_all().await {
            let (seen, buffer) = (Rc::clone(&seen), Rc::clone(&buffer));
            readers.spawn_local(async move {
                match pace {
                    Pace::Fast => read(stream, &seen, &buffer).await,
                    Pace::Slow => read_slowly(stream).await,
                    Pace::Stuck => std::future::pending::<()>().await,
                }
            });
        }
    }
    println!("connected");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let mut seen = seen.borrow_mut();
        match line.as_str() {
            "count" => println!("{}", seen.ticks),
            "stop" => {
                println!("{}", seen.report());
                seen.latencies_us = None;
            }
            start => {
                let latencies_us = start.ends_with("latency").then(Vec::new);
                *seen = Seen { latencies_us, ..Seen::default() };
                println!("started");
            }
        }
    }
}

async fn connect(address: String, subscribe: String, pace: Pace) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if pace != Pace::Fast {
        // A small window, so that it takes little until the server's writes block.
        socket.set_recv_buffer_size(4_096).unwrap();
    }
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    setsockopt(&stream, ReceiveTimestampns, &true).unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, b"\r\n\r\n").await;
    if !subscribe.is_empty() {
        stream.write_all(&masked(0x81, subscribe.as_bytes())).await.unwrap();
    }
    stream.write_all(&masked(0x81, br#"{"op":"ping","t":1}"#)).await.unwrap();
    read_until(&mut stream, br#"{"op":"pong","t":1}"#).await;
    stream
}

/// Nothing but what is waited for has been sent yet.
async fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let byte = stream.read_u8().await.expect("the server talks on");
        read.push(byte);
    }
}

/// A frame with the mask 0, which leaves the payload as it is.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).expect("a short request");
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

async fn read_slowly(mut stream: TcpStream) {
    let mut frame = [0; 512];
    while stream.read_exact(&mut frame).await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn read(mut stream: TcpStream, seen: &RefCell<Seen>, buffer: &RefCell<Vec<u8>>) {
    let mut begun = Vec::new();
    loop {
        stream.readable().await.unwrap();
        let mut pings = Vec::new();
        {
            let mut buffer = buffer.borrow_mut();
            buffer[..begun.len()].copy_from_slice(&begun);
            let mut seen = seen.borrow_mut();
            let free = &mut buffer[begun.len()..];
            let received = if seen.latencies_us.is_some() {
                receive(&stream, free)
            } else {
                stream.try_read(free).map(|read| (read, UnixNanos::MIN))
            };
            let (read, came_at) = match received {
                Ok((0, _)) => return,
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return,
            };
            let length = begun.len() + read;
            let mut rest = &buffer[..length];
            while let Some((first, payload, after)) = frame(rest) {
                match first & 0x0f {
                    0x8 => seen
                        .closes
                        .push(String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned()),
                    0x9 => pings.push(masked(0x8a, payload)),
                    _ => seen.count(payload, came_at),
                }
                rest = after;
            }
            begun = rest.to_vec();
        }
        for pong in pings {
            if stream.write_all(&pong).await.is_err() {
                return;
            }
        }
    }
}

/// What is there, and when the last of it came to the socket, which the kernel has noted: how long a hundred clients of one
/// process take to look is nothing of the gateway's.
fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, UnixNanos)> {
    let mut noted = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    stream.try_io(Interest::READABLE, || {
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut noted), flags)?;
        let came_at = message.cmsgs()?.find_map(|noted| match noted {
            ControlMessageOwned::ScmTimestampns(at) => Some(at.tv_sec() * 1_000_000_000 + at.tv_nsec()),
            _ => None,
        });
        Ok((message.bytes, came_at.map_or_else(UnixNanos::now, UnixNanos::new)))
    })
}

/// The first byte and the payload of a whole frame, and what lies behind it.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, usize::from(length)),
    };
    Some((bytes[0], bytes.get(head..head + length)?, bytes.get(head + length..)?))
}

impl Seen {
    fn count(&mut self, payload: &[u8], came_at: UnixNanos) {
        if !payload.starts_with(br#"{"op":"incr""#) {
            self.others += 1;
            return;
        }
        self.ticks += 1;
        if let Some(latencies) = &mut self.latencies_us {
            let at = payload.windows(INGESTED.len()).position(|window| window == INGESTED).unwrap();
            let digits = &payload[at + INGESTED.len()..];
            let entered = digits.iter().take_while(|digit| digit.is_ascii_digit());
            let entered = entered.fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
            let late = came_at.nanos() - entered;
            latencies.push(u32::try_from(late / 1_000).unwrap_or(0));
        }
    }

    /// Ticks, other frames, closes, and the 50th and 99th percentile and maximum of the latency in microseconds.
    fn report(&mut self) -> String {
        let mut latencies = self.latencies_us.take().unwrap_or_default();
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(0);
        let most = latencies.last().copied().unwrap_or(0);
        let closed = self.closes.first().map_or("-", String::as_str).replace(' ', "_");
        let closes = self.closes.len();
        format!("{} {} {closes} {} {} {most} {closed}", self.ticks, self.others, at(50), at(99))
    }
}

/// What `stop` is answered with.
pub(crate) struct Counts {
    pub(crate) ticks: f64,
    pub(crate) closes: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) closed: String,
}

impl Counts {
    pub(crate) fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<f64>().unwrap();
        Self {
            ticks: number(0),
            closes: number(2),
            p50_ms: number(3) / 1e3,
            p99_ms: number(4) / 1e3,
            max_ms: number(5) / 1e3,
            closed: words[6].replace('_', " "),
        }
    }
}
