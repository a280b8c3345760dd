//! grpc-web as a browser sends it: over HTTP/1.1, in both modes.

use prost::Message;
use proto::v1::{
    StartSnapshot, StreamEventKind, SubscribeRequest, SubscribeResponse, subscribe_request::Start,
    subscribe_response,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{Gateway, PATIENCE, config_with};

const SUBSCRIBE: &str = "/ledgerflux.v1.StreamingService/Subscribe";

/// A message with its five bytes in front: no compression, and the length.
fn framed(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(body);
    frame
}

async fn post(gateway: &Gateway, path: &str, content_type: &str, body: &[u8]) -> TcpStream {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\norigin: http://elsewhere.example\r\ncontent-type: {content_type}\r\n\
         accept: {content_type}\r\nx-grpc-web: 1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        gateway.address,
        body.len()
    );
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body).await.unwrap();
    socket
}

/// Reads until `enough` says so of the body so far, or to the end; returns head and body.
async fn read_until(
    socket: &mut TcpStream,
    answer: &mut Vec<u8>,
    enough: impl Fn(&[u8]) -> bool,
) -> (String, Vec<u8>) {
    loop {
        let read = timeout(PATIENCE, socket.read_buf(answer)).await.expect("the answer goes on").unwrap();
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            assert!(read > 0, "the answer ends within its head");
            continue;
        };
        let body = unchunk(&answer[end + 4..]);
        if read == 0 || enough(&body) {
            return (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), body);
        }
    }
}

async fn read_all(mut socket: TcpStream) -> (String, Vec<u8>) {
    read_until(&mut socket, &mut Vec::new(), |_| false).await
}

/// Joins the parts of a chunked body, as far as they have come.
fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap().trim(), 16).unwrap();
        let Some(part) = body.get(end + 2..end + 2 + length) else {
            break;
        };
        whole.extend(part);
        body = &body[(end + 2 + length + 2).min(body.len())..];
        if length == 0 {
            break;
        }
    }
    whole
}

/// The messages and the trailers of a grpc-web body, as far as they have come.
fn unframe(mut body: &[u8]) -> (Vec<SubscribeResponse>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while body.len() >= 5 {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let Some(content) = body.get(5..5 + length) else {
            break;
        };
        if body[0] & 0x80 == 0 {
            messages.push(SubscribeResponse::decode(content).unwrap());
        } else {
            trailers = String::from_utf8(content.to_vec()).unwrap();
        }
        body = &body[5 + length..];
    }
    (messages, trailers)
}

fn unbase64(text: &[u8]) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for four in text.chunks(4) {
        let bits = four.iter().fold(0u32, |bits, byte| bits << 6 | u32::from(value(*byte) % 64));
        let padding = four.iter().filter(|byte| **byte == b'=').count();
        bytes.extend(&bits.to_be_bytes()[1..4 - padding]);
    }
    bytes
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut padded = [0; 3];
        padded[..three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn request() -> Vec<u8> {
    framed(&SubscribeRequest {
        products: vec!["BTC-USD".into()],
        start: Some(Start::Snapshot(StartSnapshot {})),
        ..SubscribeRequest::default()
    })
}

/// Subscribes, lets the gateway end the stream, and judges what came.
async fn stream(content_type: &str, encode: impl Fn(&[u8]) -> Vec<u8>, decode: impl Fn(&[u8]) -> Vec<u8>) {
    let gateway = Gateway::start(config_with(&[("origins", "http://elsewhere.example")])).await;
    let mut publisher = gateway.publisher("BTC-USD").await;
    publisher.publish([1]).await;
    testkit::eventually(PATIENCE, || async { gateway.get("/info.json").await.contains("BTC-USD") }).await;
    let mut socket = post(&gateway, SUBSCRIBE, content_type, &encode(&request())).await;
    let mut answer = Vec::new();
    let count = |body: &[u8]| unframe(&decode(body)).0.len();
    read_until(&mut socket, &mut answer, |body| count(body) >= 2).await;
    publisher.publish([2]).await;
    read_until(&mut socket, &mut answer, |body| count(body) >= 3).await;
    gateway.shutdown.request();
    let (head, body) = read_until(&mut socket, &mut answer, |_| false).await;
    assert!(
        head.starts_with("http/1.1 200 ") && head.contains(&format!("content-type: {content_type}")),
        "{head}"
    );
    assert!(
        head.contains("access-control-allow-origin: http://elsewhere.example")
            && head.contains("grpc-status-details-bin"),
        "{head}"
    );
    let (messages, trailers) = unframe(&decode(&body));
    let kinds: Vec<_> = messages.into_iter().map(|message| message.message.unwrap()).collect();
    assert!(matches!(kinds[0], subscribe_response::Message::Snapshot(_)), "{kinds:?}");
    assert!(
        matches!(&kinds[1], subscribe_response::Message::Event(event) if event.kind() == StreamEventKind::Live)
    );
    assert!(
        matches!(&kinds[2], subscribe_response::Message::Tick(tick) if tick.tick.as_ref().unwrap().sequence == Some(2))
    );
    // UNAVAILABLE, with its details.
    assert!(
        trailers.contains("grpc-status:14") && trailers.contains("grpc-status-details-bin"),
        "{trailers}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn binary_mode() {
    stream("application/grpc-web+proto", <[u8]>::to_vec, <[u8]>::to_vec).await;
}

#[tokio::test]
async fn text_mode() {
    let encode = |bytes: &[u8]| base64(bytes).into_bytes();
    // Each part of the stream is encoded by itself, so that padding may stand anywhere.
    let decode = |text: &[u8]| {
        let mut bytes = Vec::new();
        for four in text.chunks_exact(4) {
            bytes.extend(unbase64(four));
        }
        bytes
    };
    stream("application/grpc-web-text+proto", encode, decode).await;
}

#[tokio::test]
async fn a_browser_may_ask_first() {
    let gateway = Gateway::start(config_with(&[("origins", "http://elsewhere.example")])).await;
    let preflight = format!(
        "OPTIONS {SUBSCRIBE} HTTP/1.1\r\nhost: {}\r\norigin: http://elsewhere.example\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: content-type,x-grpc-web,grpc-timeout\r\n\
         connection: close\r\n\r\n",
        gateway.address
    );
    let answer = gateway.http(&preflight).await.to_lowercase();
    assert!(
        answer.starts_with("http/1.1 200 ")
            && answer.contains("access-control-allow-origin: http://elsewhere.example"),
        "{answer}"
    );
    assert!(answer.contains("x-grpc-web") && answer.contains("post"), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_in_both_protocols() {
    let gateway = Gateway::start(config_with(&[("origins", "http://elsewhere.example")])).await;
    for path in ["/no.such.Service/Call", "/ledgerflux.v1.StreamingService/NoSuchMethod"] {
        for content_type in ["application/grpc-web+proto", "application/grpc-web"] {
            let (head, _) =
                read_all(post(&gateway, path, content_type, &framed(&SubscribeRequest::default())).await)
                    .await;
            assert!(head.starts_with("http/1.1 200 ") && head.contains("grpc-status: 12"), "{path}: {head}");
        }
    }
    gateway.stop().await;
}
