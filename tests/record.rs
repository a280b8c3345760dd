//! The feed recorded frame by frame, and what a replay of it gives.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::{Path, PathBuf},
};

use domain::UnixNanos;
use serde_json::Value;
use support::{Row, SOON, START, ledgerflux, stored, tickers};
use testkit::{Process, Scratch, eventually};

/// A generated market, and its ground truth in `truth.jsonl`.
fn simulator(data: &Scratch, arguments: &[&str]) -> Process {
    ledgerflux()
        .args(["simulator", "--generate", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .args(["--print-addresses", "--truth"])
        .arg(data.join("truth.jsonl"))
        .args(arguments)
        .spawn()
}

async fn record(data: &Scratch, simulator: &mut Process, arguments: &[&str]) -> Process {
    let feed = format!("ws://{}", simulator.address("feed", START).await);
    ledgerflux().args(["record", "--feed", &feed, "--out"]).arg(data.join("out")).args(arguments).spawn()
}

/// The files of a recording, in order.
fn files(data: &Scratch) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data.join("out")) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The lines of a file, up to where it can be read.
fn lines(file: &Path) -> Vec<Value> {
    let mut text = Vec::new();
    // A torn end is the reader's to notice; here what comes before it counts.
    let _ = flate2::read::MultiGzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut text);
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let text = String::from_utf8(text[..whole].to_vec()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// How many ticks are on the disk.
fn ticks(data: &Scratch) -> usize {
    files(data).iter().flat_map(|file| lines(file)).filter(|line| line["type"] == "ticker").count()
}

async fn has_ticks(data: &Scratch, at_least: usize) {
    eventually(SOON, || async {
        let found = ticks(data);
        if found >= at_least { Ok(()) } else { Err(format!("{found} ticks recorded")) }
    })
    .await;
}

/// Replays what was recorded into a pipeline of its own, and returns what it stored once that is as much as expected.
async fn replayed(data: &Scratch, recording: &Path, expected: usize) -> (Vec<Row>, String) {
    let mut up = ledgerflux()
        .args(["up", "--speed", "max", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses", "--data-dir"])
        .arg(data.join("up"))
        .args(["--feed", &format!("replay:{}", recording.display())])
        .spawn();
    support::ready(&up.address("ops", START).await).await;
    let database = format!("sqlite://{}?mode=rwc", data.join("up").join("ledgerflux.db").display());
    eventually(SOON, || async {
        let rows = support::count(&database, "SELECT COUNT(*) FROM tick_history").await;
        if rows >= i64::try_from(expected).unwrap() { Ok(()) } else { Err(format!("{rows} ticks stored")) }
    })
    .await;
    up.output_with("the recording has been replayed", SOON).await;
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
    (stored(&database).await, up.stderr())
}

/// What the simulator says that it sent, as rows; and how many trades it did not send between those.
fn truth(data: &Scratch) -> (Vec<Row>, u64) {
    let text = std::fs::read_to_string(data.join("truth.jsonl")).unwrap();
    let sent: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["sent"] == true)
        .map(|line| line["frame"].as_str().unwrap().to_owned())
        .collect();
    let file = data.join("sent.jsonl");
    std::fs::write(&file, sent.join("\n")).unwrap();
    let mut rows = tickers(&file);
    rows.sort();
    let mut ids: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for row in &rows {
        ids.entry(&row.product).or_default().insert(row.trade_id);
    }
    let holes = |ids: &BTreeSet<i64>| ids.last().unwrap() - ids.first().unwrap() + 1 - ids.len() as i64;
    let unsent = ids.values().map(holes).sum::<i64>();
    (rows, u64::try_from(unsent).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_replayed_is_what_the_exchange_sent() {
    let data = Scratch::new();
    let drop = "drop:after_ticks=200,count=7,products=BTC-USD";
    let cut = "disconnect:after_ticks=500,how=cut";
    let mut exchange = simulator(&data, &["--rate", "300", "--fault", drop, "--fault", cut]);
    let mut recorder = record(&data, &mut exchange, &["--products", "BTC-USD,ETH-USD,ADA-USD"]).await;
    has_ticks(&data, 900).await;
    // With a goodbye, so that all that it sent arrives.
    assert!(exchange.terminate(SOON).await.success(), "{}", exchange.stderr());
    eventually(SOON, || async {
        let lines: Vec<Value> = files(&data).iter().flat_map(|file| lines(file)).collect();
        let closed = lines.iter().filter(|line| line["ledgerflux"] == "closed").count();
        if closed >= 2 { Ok(()) } else { Err(format!("{closed} connections ended")) }
    })
    .await;
    assert!(recorder.terminate(SOON).await.success(), "{}", recorder.stderr());

    let (expected, missing) = truth(&data);
    assert!(missing >= 7, "{missing}");
    let summary = recorder.stdout();
    let recorded = format!(" {} ticks, {missing} missing trades, ", expected.len());
    assert!(summary.contains(&recorded), "{recorded}: {summary}");
    assert!(summary.contains("in 1 files") && summary.contains(".jsonl.gz"), "{summary}");

    let [file] = &files(&data)[..] else { panic!("{:?}", files(&data)) };
    let lines = lines(file);
    let marks: Vec<&str> = lines.iter().filter_map(|line| line["ledgerflux"].as_str()).collect();
    assert_eq!(marks[..3], ["recording", "opened", "frame"]);
    assert_eq!(marks.iter().filter(|mark| **mark == "opened").count(), 2);
    let closed = lines.iter().find(|line| line["ledgerflux"] == "closed").unwrap();
    assert!(closed["why"].as_str().unwrap().contains("connection"), "{closed}");
    // Each message stands after the time of its arrival, which is after it was made.
    for pair in lines.windows(2).filter(|pair| pair[1]["type"] == "ticker") {
        let time = |value: &Value| UnixNanos::parse_rfc3339(value.as_str().unwrap()).unwrap();
        assert!(time(&pair[0]["received"]) >= time(&pair[1]["time"]), "{pair:?}");
    }

    let (rows, _) = replayed(&data, &data.join("out"), expected.len()).await;
    assert_eq!(rows, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_recorder_leaves_what_can_be_replayed() {
    let data = Scratch::new();
    let mut exchange = simulator(&data, &["--rate", "1000"]);
    let mut recorder = record(&data, &mut exchange, &[]).await;
    has_ticks(&data, 3_000).await;
    recorder.kill().await;
    assert!(exchange.terminate(SOON).await.success(), "{}", exchange.stderr());

    let [file] = &files(&data)[..] else { panic!("{:?}", files(&data)) };
    let whole = ticks(&data);
    let (sent, _) = truth(&data);
    assert!(whole >= 3_000 && whole <= sent.len(), "{whole} of {}", sent.len());
    // As after a power cut: the last thing that was written is there in part.
    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..bytes.len() - 1_000]).unwrap();
    let torn = ticks(&data);
    assert!(torn > 0 && torn < whole, "{torn} of {whole}");
    let (rows, told) = replayed(&data, file, torn).await;
    assert_eq!(rows.len(), torn);
    assert!(told.contains("the recording ends in the middle"), "{told}");
    let sent: BTreeSet<Row> = sent.into_iter().collect();
    assert!(rows.iter().all(|row| sent.contains(row)));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_rotate_without_losing_a_frame() {
    let data = Scratch::new();
    let mut exchange = simulator(&data, &["--rate", "500", "--products", "BTC-USD"]);
    let arguments = ["--products", "btc-usd", "--rotate-size", "4KiB", "--channels", "heartbeat,ticker"];
    let mut recorder = record(&data, &mut exchange, &arguments).await;
    eventually(SOON, || async {
        let found = files(&data).len();
        if found >= 4 { Ok(()) } else { Err(format!("{found} files")) }
    })
    .await;
    assert!(recorder.terminate(SOON).await.success(), "{}", recorder.stderr());
    let mut trades = Vec::new();
    for (index, file) in files(&data).iter().enumerate() {
        let lines = lines(file);
        assert_eq!(lines[0]["ledgerflux"], "recording");
        assert_eq!(lines[0]["file"], index as u64 + 1);
        assert_eq!(lines[0]["channels"], serde_json::json!(["heartbeat", "ticker"]));
        let tickers = lines.iter().filter(|line| line["type"] == "ticker");
        trades.extend(tickers.map(|line| line["trade_id"].as_u64().unwrap()));
    }
    let first = trades[0];
    assert_eq!(trades, (first..first + trades.len() as u64).collect::<Vec<_>>());
    let last = files(&data).last().map(|file| lines(file)).unwrap();
    assert_eq!(last.last().unwrap()["why"], "the shutdown was requested");

    let (rows, _) = replayed(&data, &data.join("out"), trades.len()).await;
    let replayed: Vec<u64> = rows.iter().map(|row| u64::try_from(row.trade_id).unwrap()).collect();
    assert_eq!(replayed, trades);
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once() {
    let data = Scratch::new();
    std::fs::write(data.join("out"), "a file").unwrap();
    for (arguments, told) in [
        (&["--feed", "ws://127.0.0.1:9"][..], "--out"),
        (&["--rotate-size", "1"], "no size such as 64MiB"),
        (&["--channels", "heartbeat"], "--channels"),
        (&["--feed", "rumours"], "--feed"),
    ] {
        let mut recorder =
            ledgerflux().args(["record", "--out"]).arg(data.join("out")).args(arguments).spawn();
        assert!(!recorder.wait(SOON).await.success());
        assert!(recorder.stderr().contains(told), "{told}: {}", recorder.stderr());
    }
}
