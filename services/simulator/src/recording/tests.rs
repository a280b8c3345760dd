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
    cut.truncate(cut.len() - 12);
    let (_folder, path) = written(&cut);
    assert!(matches!(products(&path), Err(RecordingError::Unreadable { line: 1, .. })));
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
