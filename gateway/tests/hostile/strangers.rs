//! Those who have no good credentials, and those who take their time.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures::future::join_all;
use gateway::access::keys::{KeyFile, NewKey, Quotas, now};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    harness::{Gateway, PATIENCE},
    raw::{FINAL, Raw, TEXT, frame},
    witness::Scene,
};

/// A token that nobody has signed, of a subject that comes only once.
fn unsigned(number: u32) -> String {
    let claims = format!(r#"{{"sub":"s{number}","exp":4102444800,"products":["*"]}}"#);
    let text = |part: &str| BASE64.encode(part);
    format!("{}.{}.{}", text(r#"{"alg":"HS256"}"#), text(&claims), text("no signature"))
}

/// Shows this header at the door and returns the status.
async fn shows(gateway: &Gateway, header: &str) -> String {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n\r\n",
        gateway.address
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    timeout(PATIENCE, socket.read_exact(&mut status)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&status[9..]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("keys.toml"), folder.path().join("secret"));
    let new =
        NewKey { name: "test".into(), products: vec!["*".into()], expires: None, quotas: Quotas::default() };
    let (record, key) = KeyFile::edit(&path, |file| file.create(new, now())).unwrap().unwrap();
    std::fs::write(&secret, b"thirty-two bytes are enough of it").unwrap();
    let keys = [
        ("keys", path.to_str().unwrap()),
        ("jwt_key_file", secret.to_str().unwrap()),
        ("jwt_algorithm", "HS256"),
        ("auth_timeout", "1s"),
    ];
    let scene = Scene::set(&keys, Some(&key)).await;
    scene
        .endures(|round| {
            let (gateway, id) = (&scene.gateway, &record.id);
            async move {
                let come = async |at: u32| {
                    let number = round * 1_000 + at;
                    let credential = match at % 4 {
                        0 => unsigned(number),
                        1 => format!("lf_{id}_{number:043}"),
                        2 => format!("lf_{number:08x}_{number:043}"),
                        _ => "x".repeat(7_000),
                    };
                    assert_eq!(shows(gateway, &format!("authorization: Bearer {credential}")).await, "401");
                    // A browser is let in, and then sent away.
                    let offered = format!("sec-websocket-protocol: ledgerflux.bearer.{credential}");
                    let opened = shows(gateway, &offered).await;
                    assert_eq!(opened, "101", "{offered:.60}");
                    let mut client = Raw::connect(gateway).await;
                    let first = format!(r#"{{"op":"auth","token":"{credential}"}}"#);
                    client.send(&frame(FINAL | TEXT, first.as_bytes())).await;
                    assert_eq!(client.closed().await.0, 1008);
                };
                join_all((0..80).map(come)).await;
            }
        })
        .await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_a_byte_at_a_time() {
    let scene = Scene::set(&[("header_timeout", "1s"), ("request_timeout", "1s")], None).await;
    let head = format!("GET /ws HTTP/1.1\r\nhost: {}\r\nx-slow: ", scene.gateway.address);
    let dribble = async |beginning: &[u8]| {
        let mut socket = TcpStream::connect(scene.gateway.address).await.unwrap();
        socket.write_all(beginning).await.unwrap();
        let (mut reading, mut writing) = socket.into_split();
        let write = async {
            // Until it is cut off.
            while writing.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let mut answer = Vec::new();
        let read = reading.read_to_end(&mut answer);
        let ended = timeout(PATIENCE, async { tokio::join!(write, read).1 }).await;
        // With a reset, or with an answer.
        drop(ended.expect("who dawdles is cut off"));
    };
    let beginnings: [&[u8]; 3] = [b"", b"PRI * HTTP/2.0\r\n", head.as_bytes()];
    let mut dawdling = Vec::new();
    for at in 0..150 {
        dawdling.push(dribble(beginnings[at % beginnings.len()]));
    }
    let served = async {
        // In the middle of it.
        sleep(Duration::from_millis(500)).await;
        let mut other = scene.gateway.websocket("/ws").await;
        other.settle().await;
    };
    tokio::join!(join_all(dawdling), served);
    scene.close().await;
}
