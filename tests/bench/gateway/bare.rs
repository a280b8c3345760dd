//! What is compared with: a task per client, a broadcast channel, and one write for each frame, on bytes that are there
//! already.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinSet,
};
use tokio_tungstenite::{
    accept_async, connect_async,
    tungstenite::{Message, Utf8Bytes},
};

/// So many of the gateway's frames are broadcast, over and over.
const FRAMES: usize = 1_000;
/// What a client may be behind before it loses frames.
const BEHIND_MAX: usize = 16_384;

/// Takes its frames from the gateway, says its address, then sends as it is told, like the gateway's process.
pub(crate) fn run(gateway: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(serve(gateway));
}

async fn serve(gateway: &str) {
    let frames = frames_of(gateway).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let (sender, _) = broadcast::channel::<Utf8Bytes>(BEHIND_MAX);
    let mut tasks = JoinSet::new();
    let clients = sender.clone();
    tasks.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            sessions.spawn(session(stream, clients.subscribe()));
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, rate, milliseconds] = words[..] else { panic!("publish RATE MILLISECONDS, not {line}") };
        let (rate, milliseconds): (u32, u64) = (rate.parse().unwrap(), milliseconds.parse().unwrap());
        println!("{}", broadcast_frames(&sender, &frames, rate, Duration::from_millis(milliseconds)).await);
    }
}

async fn frames_of(gateway: &str) -> Vec<Utf8Bytes> {
    let (mut socket, _) = connect_async(format!("ws://{gateway}/ws")).await.unwrap();
    socket.send(Message::text(crate::LOSSLESS)).await.unwrap();
    println!("collecting");
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap()
            && text.contains(r#""op":"incr""#)
        {
            frames.push(text);
        }
    }
    println!("collected");
    frames
}

async fn session(stream: TcpStream, mut frames: broadcast::Receiver<Utf8Bytes>) {
    stream.set_nodelay(true).unwrap();
    let mut socket = accept_async(stream).await.unwrap();
    // The subscription, and the ping behind it.
    for _ in 0..2 {
        socket.next().await.unwrap().unwrap();
    }
    socket.send(Message::text(r#"{"op":"pong","t":1}"#)).await.unwrap();
    loop {
        match frames.recv().await {
            Ok(frame) => {
                if socket.send(Message::Text(frame)).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn broadcast_frames(
    sender: &broadcast::Sender<Utf8Bytes>,
    frames: &[Utf8Bytes],
    per_second: u32,
    length: Duration,
) -> u64 {
    let began = tokio::time::Instant::now();
    let mut sent = 0;
    for step in 0.. {
        let steps = per_second.min(1_000);
        tokio::time::sleep_until(began + Duration::from_secs(1) * step / steps).await;
        if began.elapsed() >= length {
            break;
        }
        while sent < u64::from(per_second) * u64::from(step + 1) / u64::from(steps) {
            let frame = &frames[usize::try_from(sent).unwrap() % frames.len()];
            sender.send(frame.clone()).unwrap();
            sent += 1;
        }
    }
    sent
}
