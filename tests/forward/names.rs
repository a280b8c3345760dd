//! A name server that a test tells what to answer, and a process that asks it.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use testkit::{ProcessBuilder, workspace_root};
use tokio::{net::UdpSocket, task::JoinHandle};

/// What is asked for.
pub(crate) const NAME: &str = "query.ledgerflux.test";

const HEADER_BYTES: usize = 12;
/// A response to a query with recursion, by a server that offers it.
const FLAGS_OK: [u8; 2] = [0x81, 0x80];
const FLAGS_SERVER_FAILURE: [u8; 2] = [0x81, 0x82];
const FLAGS_NO_SUCH_NAME: [u8; 2] = [0x81, 0x83];
const TYPE_A: u16 = 1;

/// Answers for [`NAME`] until it is dropped.
pub(crate) struct NameServer {
    state: Arc<State>,
    port: u16,
    serving: JoinHandle<()>,
}

struct State {
    /// The addresses of the name; `None` is a server that fails.
    addresses: Mutex<Option<Vec<Ipv4Addr>>>,
    asked: AtomicU64,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let state = Arc::new(State { addresses: Mutex::new(None), asked: AtomicU64::new(0) });
        let serving = tokio::spawn(serve(socket, Arc::clone(&state)));
        Self { state, port, serving }
    }

    /// What the name stands for from now on; `None`: the server fails.
    pub(crate) fn answer(&self, addresses: Option<&[Ipv4Addr]>) {
        *self.state.addresses.lock().unwrap() = addresses.map(<[Ipv4Addr]>::to_vec);
    }

    /// How often somebody wanted to know.
    pub(crate) fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::Relaxed)
    }

    /// `process`, with the resolver of its C library asking here. What is built for that stays in `folder`.
    pub(crate) fn resolves_for(&self, process: ProcessBuilder, folder: &Path) -> ProcessBuilder {
        let library = folder.join("resolver.so");
        let source = workspace_root().join("tests/forward/resolver.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wall", "-o"]).arg(&library).arg(source);
        let built = compiler.args(["-ldl", "-lresolv"]).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        process.env("LD_PRELOAD", library).env("NAME_SERVER_PORT", self.port.to_string())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(socket: UdpSocket, state: Arc<State>) {
    let mut buffer = [0; 1_500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        state.asked.fetch_add(1, Ordering::Relaxed);
        let addresses = state.addresses.lock().unwrap().clone();
        if let Some(response) = response(&buffer[..length], addresses.as_deref()) {
            socket.send_to(&response, from).await.unwrap();
        }
    }
}

/// The answer to a query for the addresses of one name.
fn response(query: &[u8], addresses: Option<&[Ipv4Addr]>) -> Option<Vec<u8>> {
    let (name, after) = name(query.get(HEADER_BYTES..)?)?;
    let question = query.get(HEADER_BYTES..HEADER_BYTES + after + 4)?;
    let kind = u16::from_be_bytes([question[after], question[after + 1]]);
    let (flags, found) = match addresses {
        None => (FLAGS_SERVER_FAILURE, &[][..]),
        Some(_) if name != NAME => (FLAGS_NO_SUCH_NAME, &[][..]),
        // There are none of any other kind.
        Some(addresses) => (FLAGS_OK, if kind == TYPE_A { addresses } else { &[] }),
    };
    let count = u8::try_from(found.len()).ok()?;
    let mut response = query.get(..2)?.to_vec();
    response.extend(flags);
    // One question, so many answers, and nothing else.
    response.extend([0, 1, 0, count, 0, 0, 0, 0]);
    response.extend(question);
    for address in found {
        // The name of the question, type A, class IN, for no time at all, four bytes.
        response.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        response.extend(address.octets());
    }
    Some(response)
}

/// The name that a question begins with, in lower case, and how many bytes it takes.
fn name(mut question: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut taken) = (Vec::new(), 1);
    while let (length, rest) = question.split_first().map(|(length, rest)| (usize::from(*length), rest))?
        && length > 0
    {
        labels.push(String::from_utf8_lossy(rest.get(..length)?).to_lowercase());
        question = &rest[length..];
        taken += length + 1;
    }
    Some((labels.join("."), taken))
}
