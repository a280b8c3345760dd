//! The cases of RFC 6455, from a client that speaks in bytes. A message that must be understood is a ping of the
//! application, and its answer says that it was.

use crate::{
    harness::{Gateway, config},
    raw::{BINARY, CLOSE, CONTINUATION, FINAL, PING, PONG, Raw, TEXT, close_body, frame},
};

const QUESTION: &str = r#"{"op":"ping","t":"κόσμε 🌍"}"#;
const ANSWER: &str = r#"{"op":"pong","t":"κόσμε 🌍"}"#;
const LIMIT: usize = 256 * 1024;

/// Sends `bytes` on a connection of its own and expects a close with `code`.
async fn is_closed_for(gateway: &Gateway, bytes: &[u8], code: u16, why: &str) {
    let mut client = Raw::connect(gateway).await;
    client.send(bytes).await;
    assert_eq!(client.closed().await.0, code, "{why}");
}

/// Sends the parts of the question as fragments, with `between` after each but the last.
fn fragments(cuts: &[usize], between: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ends = cuts.iter().copied().chain([QUESTION.len()]);
    let mut from = 0;
    for (number, end) in ends.enumerate() {
        let opcode = if number == 0 { TEXT } else { CONTINUATION };
        let is_last = number == cuts.len();
        let part = &QUESTION.as_bytes()[from..end];
        bytes.extend(frame(if is_last { FINAL | opcode } else { opcode }, part));
        if !is_last {
            bytes.extend(between);
        }
        from = end;
    }
    bytes
}

#[tokio::test]
async fn messages_are_understood_however_they_are_cut() {
    let gateway = Gateway::start(config()).await;
    let mut client = Raw::connect(&gateway).await;
    client.text(QUESTION).await;
    assert_eq!(client.answer().await, ANSWER);
    // In two at every byte, also inside of a character, and inside of an escape.
    for cut in 0..=QUESTION.len() {
        client.send(&fragments(&[cut], &[])).await;
        assert_eq!(client.answer().await, ANSWER, "cut at {cut}");
    }
    // A fragment for each byte, and empty ones at the start, in the middle and at the end.
    client.send(&fragments(&(1..QUESTION.len()).collect::<Vec<_>>(), &[])).await;
    assert_eq!(client.answer().await, ANSWER);
    client.send(&fragments(&[0, 0, 9, 9, QUESTION.len()], &[])).await;
    assert_eq!(client.answer().await, ANSWER);
    // One byte in a segment; the kernel may join them, but not all.
    for byte in fragments(&[5, 20], &[]) {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await, ANSWER);
    gateway.stop().await;
}

#[tokio::test]
async fn control_frames_are_answered_also_between_fragments() {
    let gateway = Gateway::start(config()).await;
    let mut client = Raw::connect(&gateway).await;
    for length in [0, 1, 125] {
        let body = vec![0xfe; length];
        client.send(&frame(FINAL | PING, &body)).await;
        let pong = client.frame().await.unwrap();
        assert_eq!((pong.opcode, pong.payload), (PONG, body));
    }
    // A pong that nobody asked for is no reason to do anything.
    client.send(&frame(FINAL | PONG, b"unasked")).await;
    client.send(&fragments(&[3, 24], &frame(FINAL | PONG, b"in between"))).await;
    assert_eq!(client.answer().await, ANSWER);
    client.send(&fragments(&[3], &frame(FINAL | PING, b"in between"))).await;
    let pong = client.frame().await.unwrap();
    assert_eq!((pong.opcode, &pong.payload[..]), (PONG, &b"in between"[..]));
    assert_eq!(client.answer().await, ANSWER);
    // A close between fragments ends the connection there.
    let mut bytes = frame(TEXT, b"{");
    bytes.extend(frame(FINAL | CLOSE, &close_body(1000, b"")));
    is_closed_for(&gateway, &bytes, 1000, "a close between fragments").await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_protocol_forbids_is_a_protocol_error() {
    let gateway = Gateway::start(config()).await;
    for bit in [0x40, 0x20, 0x10, 0x70] {
        is_closed_for(&gateway, &frame(FINAL | bit | TEXT, b"{}"), 1002, "a reserved bit").await;
        is_closed_for(&gateway, &frame(FINAL | bit | PING, b""), 1002, "a reserved bit of a ping").await;
    }
    for opcode in (3..=7).chain(11..=15) {
        is_closed_for(&gateway, &frame(FINAL | opcode, b""), 1002, "a reserved opcode").await;
        is_closed_for(&gateway, &frame(FINAL | opcode, b"body"), 1002, "a reserved opcode").await;
    }
    is_closed_for(&gateway, &[FINAL | TEXT, 2, b'{', b'}'], 1002, "a frame without a mask").await;
    is_closed_for(&gateway, &[FINAL | PING, 0], 1002, "a ping without a mask").await;
    for first in [CONTINUATION, FINAL | CONTINUATION] {
        is_closed_for(&gateway, &frame(first, b"{}"), 1002, "nothing to continue").await;
    }
    for opcode in [TEXT, BINARY] {
        let bytes = [frame(TEXT, b"{"), frame(FINAL | opcode, b"}")].concat();
        is_closed_for(&gateway, &bytes, 1002, "a message inside of another").await;
    }
    let after_the_end = [fragments(&[5], &[]), frame(FINAL | CONTINUATION, b"")].concat();
    is_closed_for(&gateway, &after_the_end, 1002, "a continuation after the end").await;
    for opcode in [CLOSE, PING, PONG] {
        is_closed_for(&gateway, &frame(opcode, b""), 1002, "a fragmented control frame").await;
        is_closed_for(&gateway, &frame(FINAL | opcode, &[0; 126]), 1002, "a long control frame").await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn text_must_be_utf_8() {
    let gateway = Gateway::start(config()).await;
    let faulty: [(&[u8], &str); 8] = [
        (b"\xff", "no first byte"),
        (b"\xce", "cut off at the end"),
        (b"\xce\xba\xe1\xbd", "cut off in the second character"),
        (b"\xc0\xaf", "longer than needed"),
        (b"\xe0\x80\xaf", "longer than needed"),
        (b"\xed\xa0\x80", "a surrogate"),
        (b"\xf4\x90\x80\x80", "beyond Unicode"),
        (b"a\x80b", "a continuation byte alone"),
    ];
    for (bytes, why) in faulty {
        is_closed_for(&gateway, &frame(FINAL | TEXT, bytes), 1007, why).await;
        let in_two = [frame(TEXT, &bytes[..1]), frame(FINAL | CONTINUATION, &bytes[1..])].concat();
        is_closed_for(&gateway, &in_two, 1007, why).await;
    }
    // What cannot become text any more is not waited for.
    is_closed_for(&gateway, &frame(TEXT, b"a\xff"), 1007, "before the end of the message").await;
    let bytes = frame(FINAL | CLOSE, &close_body(1000, b"\xce\xba\xff"));
    is_closed_for(&gateway, &bytes, 1007, "the reason of a close").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_or_with_what_is_wrong_with_it() {
    let gateway = Gateway::start(config()).await;
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        let bytes = frame(FINAL | CLOSE, &close_body(code, b"going"));
        is_closed_for(&gateway, &bytes, code, "a code that may be sent").await;
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let bytes = frame(FINAL | CLOSE, &close_body(code, b""));
        is_closed_for(&gateway, &bytes, 1002, &format!("{code} must not be sent")).await;
    }
    is_closed_for(&gateway, &frame(FINAL | CLOSE, b""), 1005, "no code").await;
    is_closed_for(&gateway, &frame(FINAL | CLOSE, &[3]), 1002, "half a code").await;
    let longest = frame(FINAL | CLOSE, &close_body(1000, &[b'x'; 123]));
    is_closed_for(&gateway, &longest, 1000, "the longest reason").await;
    // What comes after a close is not looked at.
    let bytes = [frame(FINAL | CLOSE, &close_body(1000, b"")), frame(FINAL | PING, b"late")].concat();
    is_closed_for(&gateway, &bytes, 1000, "a ping after the close").await;
    // No close at all is no reason to fall over.
    Raw::connect(&gateway).await.hang_up().await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_longest_message_is_taken_and_a_longer_one_is_not() {
    let gateway = Gateway::start(config()).await;
    let mut client = Raw::connect(&gateway).await;
    client.send(&frame(FINAL | TEXT, &[b'x'; LIMIT])).await;
    assert!(client.answer().await.contains("INVALID_JSON"));
    let half = [b'x'; LIMIT / 2];
    client.send(&[frame(TEXT, &half), frame(FINAL | CONTINUATION, &half)].concat()).await;
    assert!(client.answer().await.contains("INVALID_JSON"));

    is_closed_for(&gateway, &frame(FINAL | TEXT, &[b'x'; LIMIT + 1]), 1009, "one byte too many").await;
    let bytes = [frame(TEXT, &half), frame(CONTINUATION, &half), frame(FINAL | CONTINUATION, b"x")].concat();
    is_closed_for(&gateway, &bytes, 1009, "too many in fragments").await;
    // The announcement is enough; nobody waits for, or makes room for, what is announced.
    for length in [LIMIT as u64 + 1, 1 << 40, u64::MAX >> 1, u64::MAX] {
        let bytes = [&[FINAL | TEXT, 0x80 | 127], &length.to_be_bytes()[..], &[1, 2, 3, 4]].concat();
        let mut client = Raw::connect(&gateway).await;
        client.send(&bytes).await;
        assert!([1002, 1009].contains(&client.closed().await.0), "{length} bytes announced");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn subprotocols_are_negotiated() {
    let gateway = Gateway::start(config()).await;
    let answered = async |offered: &str| {
        let headers = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let head = Raw::connect_with(&gateway, &headers).await.head;
        let line = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        line.map(str::to_owned)
    };
    assert_eq!(answered("ledgerflux.v1.proto").await.as_deref(), Some("ledgerflux.v1.proto"));
    assert_eq!(answered("chat, ledgerflux.v1.json").await.as_deref(), Some("ledgerflux.v1.json"));
    assert_eq!(answered("chat, superchat").await, None);
    gateway.stop().await;
}

#[tokio::test]
async fn binary_is_not_what_a_client_of_json_sends() {
    let gateway = Gateway::start(config()).await;
    is_closed_for(&gateway, &frame(FINAL | BINARY, b"{}"), 1003, "binary").await;
    gateway.stop().await;
}
