use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

const TICKER: &str = r#"{"type":"ticker","sequence":8,"product_id":"BTC-USD","time":"2019-04-01T00:00:04.540000Z","trade_id":6}"#;

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lines(path: &Path) -> Vec<Line> {
    Lines::open(path).unwrap().map(Result::unwrap).collect()
}

#[test]
fn reads_lines_verbatim_and_tells_what_they_name() {
    let text = format!(
        "{TICKER}\r\n\n{{broken\n{{\"type\":\"subscriptions\"}}\n{{\"type\":\"heartbeat\",\"product_id\":\"<b>\",\"last_trade_id\":7}}"
    );
    let (_folder, path) = written(text.as_bytes());
    let lines = lines(&path);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0].message.to_text().unwrap(), TICKER);
    assert_eq!(lines[0].product.as_deref(), Some("BTC-USD"));
    assert_eq!((lines[0].sequence, lines[0].trade_id, lines[0].is_ticker), (Some(8), Some(6), true));
    assert_eq!(lines[0].time.unwrap().nanos(), 1_554_076_804_540_000_000);
    assert_eq!((lines[1].message.to_text().unwrap(), &lines[1].product), ("{broken", &None));
    assert!(lines[2].is_subscriptions);
    assert_eq!((&lines[3].product, lines[3].trade_id), (&None, Some(7)), "no such product can exist");
}

#[test]
fn packed_files_are_known_by_their_content() {
    let mut bytes = packed(format!("{TICKER}\n").as_bytes());
    bytes.extend(packed(TICKER.replace("BTC", "ETH").as_bytes()));
    let (_folder, path) = written(&bytes);
    assert_eq!(lines(&path).len(), 2, "several members make one recording");
    assert!(products(&path).unwrap().keys().eq(["BTC-USD", "ETH-USD"]));
}

#[test]
fn bytes_that_are_no_text_go_out_as_they_are() {
    let (_folder, path) = written(b"{\"a\":\xff}\n");
    assert_eq!(lines(&path)[0].message, Message::Binary(Bytes::from_static(b"{\"a\":\xff}")));
}

#[test]
fn says_what_cannot_be_used() {
    let missing = Path::new("/nonexistent/recording");
    assert!(matches!(products(missing), Err(RecordingError::Unreadable { line: 0, .. })));
    let (_folder, path) = written(b"{}\n");
    assert!(matches!(products(&path), Err(RecordingError::NoProducts { .. })));
    let mut cut = packed(&TICKER.repeat(100).into_bytes());
    let middle = cut.len() / 2;
    cut[middle] ^= 0xff;
    let (_folder, path) = written(&cut);
    assert!(matches!(products(&path), Err(RecordingError::Unreadable { line: 1, .. })));
    let (folder, _) = written(b"");
    assert!(matches!(products(folder.path()), Err(RecordingError::NoFiles { .. })));
    let (_folder, path) = written(&[TICKER.as_bytes(), b"\n", &vec![b'x'; FRAME_BYTES_MAX + 5]].concat());
    assert!(matches!(products(&path), Err(RecordingError::LineTooLong { line: 2, .. })));
    let (_folder, path) =
        written(&[TICKER.as_bytes(), b"\n", &vec![b'x'; FRAME_BYTES_MAX], b"\r\n{}"].concat());
    assert_eq!(lines(&path).len(), 3, "the longest line that is allowed");
}

#[test]
fn trades_are_found_in_tickers_and_matches_alike() {
    let ticker = r#"{"type":"ticker","sequence":8,"product_id":"BTC-USD","price":"4095","best_bid":"4094.9900","side":"buy","time":"2019-04-01T00:00:04.540000Z","trade_id":6,"last_size":"2.0"}"#;
    let matched = r#"{"type":"last_match","trade_id":6,"maker_order_id":"m","side":"sell","size":"2.000","price":"4095","product_id":"BTC-USD","sequence":8,"time":"2019-04-01T00:00:04.540000Z"}"#;
    let (_folder, path) =
        written(format!("{ticker}\n{matched}\n{}\n", matched.replace("\"sell\"", "7")).as_bytes());
    let lines = lines(&path);
    assert_eq!(lines[0].trade, lines[1].trade);
    assert_eq!(lines[0].trade.as_ref().unwrap().maker_side, domain::Side::Sell);
    assert_eq!(lines[2].trade, None);
    assert_eq!(products(&path).unwrap()["BTC-USD"], Decimals { price: 4, size: 3 });
}

fn frame(received: i64, message: &str) -> String {
    let mark = Mark::frame(1, UnixNanos::new(received), message.as_bytes(), false);
    format!("{}\n{message}\n", mark.line())
}

fn texts(path: &Path) -> Vec<String> {
    lines(path).iter().map(|line| line.message.to_text().unwrap().to_owned()).collect()
}

#[test]
fn marks_tell_when_each_message_arrived_and_are_no_messages() {
    let head = Mark::Recording {
        format: RECORDING_FORMAT,
        file: 1,
        feed: "ws://x".into(),
        products: vec!["BTC-USD".into()],
        channels: vec!["ticker".into()],
    };
    let opened = Mark::Opened { connection: 1, time: UnixNanos::new(5), session: "a-1".into() };
    let closed = Mark::Closed { connection: 1, time: UnixNanos::new(9), why: "a \"reset\"".into() };
    for mark in [&head, &opened, &closed] {
        assert_eq!(Mark::parse(mark.line().as_bytes()).as_ref(), Some(mark));
        assert!(Mark::begins(mark.line().as_bytes()));
    }
    // A message may look like a mark, have several lines or none, and end in white space.
    let awkward = [closed.line(), "{\n\"a\":1\r\n}\n".into(), String::new(), "x\r".into(), TICKER.into()];
    let mut text = format!("{}\n{}\n", head.line(), opened.line());
    for (at, message) in awkward.iter().enumerate() {
        text.push_str(&frame(1_795_351_597_014_911_001 + i64::try_from(at).unwrap(), message));
    }
    text.push_str(&format!(
        "{}\n{{\"ledgerflux\":\"of a later version\"}}\n{{\"type\":\"old\"}}\n",
        closed.line()
    ));
    let (_folder, path) = written(&packed(text.as_bytes()));
    assert_eq!(texts(&path)[..5], awkward);
    let lines = lines(&path);
    assert_eq!((lines.len(), lines[5].received), (6, None));
    let received = |line: &Line| line.received.unwrap().nanos();
    assert_eq!(
        (received(&lines[0]), received(&lines[4])),
        (1_795_351_597_014_911_001, 1_795_351_597_014_911_005)
    );
}

#[test]
fn a_torn_file_is_read_up_to_its_end_and_the_next_one_follows() {
    let folder = tempfile::tempdir().unwrap();
    let member = |number: i64| packed(frame(number, &format!("{{\"number\":{number}}}")).as_bytes());
    for cut in 1..member(2).len() {
        let torn = [member(1), member(2)[..cut].to_vec()].concat();
        std::fs::write(folder.path().join("a-1.jsonl.gz"), torn).unwrap();
        std::fs::write(folder.path().join("a-2.jsonl.gz"), member(3)).unwrap();
        std::fs::write(folder.path().join("b.txt"), "no recording").unwrap();
        let mut reading = Lines::open(folder.path()).unwrap();
        let read: Vec<String> =
            reading.by_ref().map(|line| line.unwrap().message.to_text().unwrap().to_owned()).collect();
        assert_eq!(read.first().map(String::as_str), Some("{\"number\":1}"));
        assert_eq!(read.last().map(String::as_str), Some("{\"number\":3}"));
        assert!(matches!(reading.torn(), [path] if path.ends_with("a-1.jsonl.gz")), "cut at {cut}");
    }
}
