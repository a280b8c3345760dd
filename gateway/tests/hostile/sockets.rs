//! WebSocket clients that break the protocol, and those that ask for more than anybody needs.

use futures::future::join_all;

use crate::{
    raw::{BINARY, CLOSE, CONTINUATION, FINAL, PING, Raw, TEXT, frame},
    witness::Scene,
};

const LIMIT: usize = 256 * 1024;

/// What ends a connection, each for a reason of its own.
fn faults() -> Vec<Vec<u8>> {
    let announced = |length: u64| {
        let head = [&[FINAL | TEXT, 0x80 | 127], &length.to_be_bytes()[..], &[1, 2, 3, 4]].concat();
        [head, vec![7; 64 * 1024]].concat()
    };
    let half = vec![b'x'; LIMIT / 2 + 1];
    vec![
        announced(1 << 40),
        announced(u64::MAX),
        frame(FINAL | TEXT, &vec![b'x'; LIMIT + 1]),
        [frame(TEXT, &half), frame(FINAL | CONTINUATION, &half)].concat(),
        [frame(TEXT, b"{"), frame(CONTINUATION, b"x").repeat(LIMIT)].concat(),
        frame(FINAL | TEXT, b"\xff\xfe\xfd"),
        [frame(TEXT, b"\xce"), frame(FINAL | CONTINUATION, b"\xff")].concat(),
        frame(FINAL | BINARY, b"{}"),
        vec![FINAL | TEXT, 2, b'{', b'}'],
        frame(FINAL | 0x70 | TEXT, b"{}"),
        frame(FINAL | CLOSE, &[0xff]),
        frame(FINAL | PING, b"p").repeat(4_000),
        b"GET / HTTP/1.1\r\n\r\n".repeat(100),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_frames() {
    let scene = Scene::set(&[], None).await;
    scene
        .endures(|_| async {
            let end = async |fault: Vec<u8>| {
                let mut client = Raw::connect(&scene.gateway).await;
                client.send(&fault).await;
                // To the close, or to the end where it was cut off while it was still sending; it does not wait for more.
                while client.frame().await.is_some_and(|frame| frame.opcode != CLOSE) {}
            };
            for _ in 0..3 {
                join_all(faults().into_iter().map(end)).await;
            }
        })
        .await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_never_end() {
    let scene = Scene::set(&[], None).await;
    let before = scene.memory_at_rest().await;
    const CLIENTS: u64 = 40;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Raw::connect(&scene.gateway).await;
        client.send(&frame(TEXT, b"{")).await;
        client.send(&frame(CONTINUATION, &[b' '; 1_000]).repeat(255)).await;
        // Whoever answers has read what came before.
        client.send(&frame(FINAL | PING, b"read")).await;
        assert_eq!(client.frame().await.unwrap().payload, b"read");
        clients.push(client);
    }
    let held = scene.memory_at_rest().await;
    println!("memory: {before} KiB, then {held} KiB");
    assert!(held < before + CLIENTS * 1024, "{before} KiB, then {held} KiB with {CLIENTS} of them");
    join_all(clients.into_iter().map(Raw::hang_up)).await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_of_subscriptions() {
    let scene = Scene::set(&[], None).await;
    scene
        .endures(|round| {
            let gateway = &scene.gateway;
            async move {
                let storm = async |storm: u32| {
                    let mut client = gateway.websocket("/ws").await;
                    for turn in 0..3 {
                        // Names that nobody has heard of, and never the same.
                        let names: Vec<String> =
                            (0..1_000).map(|at| format!("S{round}-{storm}-{turn}-{at}")).collect();
                        let names = serde_json::to_string(&names).unwrap();
                        client
                            .send(&format!(
                                r#"{{"op":"subscribe","products":{names},"want_snapshot":true,"from_seq":{{}}}}"#
                            ))
                            .await;
                        client.send(&format!(r#"{{"op":"unsubscribe","products":{names}}}"#)).await;
                        client.send(r#"{"op":"subscribe","products":["*"]}"#).await;
                        client.send(r#"{"op":"unsubscribe","products":["*"]}"#).await;
                    }
                    client.send(r#"{"op":"ping","t":"over"}"#).await;
                    // Whatever came of it: refusals are told, and the session is alive.
                    while client.json().await["t"] != "over" {}
                };
                join_all((0..4).map(storm)).await;
                // And one that does not stop.
                let mut client = Raw::connect(gateway).await;
                let request = frame(FINAL | TEXT, br#"{"op":"subscribe","products":["*"],"want_snapshot":true}"#);
                client.send(&request.repeat(4_000)).await;
                assert!([1008, 1006].contains(&client.closed().await.0));
            }
        })
        .await;
    scene.close().await;
}
