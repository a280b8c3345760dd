//! HTTP/2 frames by the ten thousand.

use std::time::Duration;

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpStream, tcp::OwnedReadHalf},
    time::timeout,
};

use crate::{
    harness::{Gateway, PATIENCE},
    http2::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame,
        goaway, hello, post,
    },
    witness::Scene,
};

const PRIORITY: u8 = 2;
const WINDOW_UPDATE: u8 = 8;
/// The ping behind a flood.
const LAST: &[u8] = b"the last";

struct Flood {
    name: &'static str,
    fate: Fate,
    bytes: Vec<u8>,
}

/// What becomes of a connection whose client reads.
enum Fate {
    CutOff,
    /// It costs nothing but the time to look at it, at the pace at which the answers are read.
    Taken,
}

fn floods() -> Vec<Flood> {
    let many = |count: u32, one: &dyn Fn(u32) -> Vec<u8>| (0..count).flat_map(one).collect::<Vec<u8>>();
    let stream = |at: u32| 2 * at + 1;
    let reset = 8_u32.to_be_bytes();
    let open = post("/ledgerflux.v1.StreamingService/Subscribe");
    // A header of nearly 4 KiB that is put into the table once and named again and again.
    let name = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &vec![b'b'; 4_000]].concat();
    let bomb = [GET, &name, &vec![0xbe; 10_000]].concat();
    let of = |fate, (name, bytes)| Flood { name, fate, bytes };
    let cut_off = vec![
        (
            "rapid reset",
            many(20_000, &|at| {
                [
                    frame(HEADERS, END_HEADERS | END_STREAM, stream(at), GET),
                    frame(RST_STREAM, 0, stream(at), &reset),
                ]
                .concat()
            }),
        ),
        (
            "rapid reset of streams that are served",
            many(5_000, &|at| {
                [frame(HEADERS, END_HEADERS, stream(at), &open), frame(RST_STREAM, 0, stream(at), &reset)]
                    .concat()
            }),
        ),
        (
            "headers without an end",
            [frame(HEADERS, 0, 1, GET), many(20_000, &|_| frame(CONTINUATION, 0, 1, &[0x82; 64]))].concat(),
        ),
        (
            "empty headers without an end",
            [frame(HEADERS, 0, 1, GET), many(50_000, &|_| frame(CONTINUATION, 0, 1, &[]))].concat(),
        ),
        ("a bomb of headers", frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)),
        ("windows", many(50_000, &|_| frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()))),
        (
            "empty data",
            [frame(HEADERS, END_HEADERS, 1, &open), many(50_000, &|_| frame(DATA, 0, 1, &[]))].concat(),
        ),
        ("more streams than may be", many(20_000, &|at| frame(HEADERS, END_HEADERS, stream(at), &open))),
    ];
    let taken = vec![
        ("settings", many(50_000, &|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))),
        ("pings", many(50_000, &|_| frame(PING, 0, 0, b"12345678"))),
        ("priorities", many(50_000, &|at| frame(PRIORITY, 0, stream(at), &[0, 0, 0, 0, 16]))),
    ];
    let cut_off = cut_off.into_iter().map(|flood| of(Fate::CutOff, flood));
    cut_off.chain(taken.into_iter().map(|flood| of(Fate::Taken, flood))).collect()
}

/// Sends a flood and reads what comes.
async fn pour(gateway: &Gateway, flood: &Flood) {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(&hello()).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    let bytes = [&flood.bytes[..], &frame(PING, 0, 0, LAST)].concat();
    let write = async {
        // It may be cut off in the middle of it.
        drop(writing.write_all(&bytes).await);
    };
    match flood.fate {
        Fate::CutOff => {
            let (code, ()) = tokio::join!(goaway(&mut reading), write);
            // A connection that is reset outright has no GOAWAY to read any more.
            assert!(code.is_none_or(|code| code != 0), "{}: {code:?}", flood.name);
        }
        Fate::Taken => {
            let read = timeout(PATIENCE, until_answered(&mut reading));
            let (answered, ()) = tokio::join!(read, write);
            assert_eq!(answered, Ok(true), "{}", flood.name);
        }
    }
}

/// Reads to the answer to the last ping; `false`: the connection ends before.
async fn until_answered(reading: &mut OwnedReadHalf) -> bool {
    let mut reading = BufReader::new(reading);
    loop {
        let mut head = [0; 9];
        if reading.read_exact(&mut head).await.is_err() {
            return false;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if reading.read_exact(&mut payload).await.is_err() || head[3] == GOAWAY {
            return false;
        }
        if head[3] == PING && payload == LAST {
            return true;
        }
    }
}

/// Sends a flood and reads nothing: it may be left waiting, and goes away.
async fn pour_deaf(gateway: &Gateway, flood: &Flood) {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let bytes = [&hello()[..], &flood.bytes].concat();
    drop(timeout(Duration::from_millis(300), socket.write_all(&bytes)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames() {
    let scene = Scene::set(&[], None).await;
    let floods = floods();
    scene
        .endures(|_| async {
            join_all(floods.iter().map(|flood| pour(&scene.gateway, flood))).await;
            join_all(floods.iter().map(|flood| pour_deaf(&scene.gateway, flood))).await;
        })
        .await;
    scene.close().await;
}
