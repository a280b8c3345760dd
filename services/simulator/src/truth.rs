//! The ground truth: one line for each trade that was made, and one for each fault that began, ended or happened.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use domain::UnixNanos;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_tungstenite::tungstenite::Message;
use tracing::error;

use crate::Error;
use crate::faults::script::Phase;
use crate::wire;

/// How many lines may wait for the disk before the feed waits too.
const WAITING_MAX: usize = 4_096;

/// Writes the truth in a thread of its own. A ticker counts as sent once it is queued for at least one client.
#[derive(Debug)]
pub(crate) struct Truth {
    entries: Option<mpsc::Sender<Entry>>,
    writer: Option<JoinHandle<()>>,
}

/// What became of one trade.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// As it was made, whatever a fault made of it.
    pub(crate) ticker: Message,
    /// Whether anybody was sent it.
    pub(crate) sent: bool,
    /// Whether anybody was sent it with a book that cannot be.
    pub(crate) faulty: bool,
    /// The first fault that kept it from somebody.
    pub(crate) kept_by: Option<Arc<str>>,
}

impl Record {
    pub(crate) fn new(ticker: Message) -> Self {
        Self { ticker, sent: false, faulty: false, kept_by: None }
    }

    pub(crate) fn keep_back(&mut self, fault: Arc<str>) {
        self.kept_by.get_or_insert(fault);
    }
}

#[derive(Debug)]
enum Entry {
    Trade(Record),
    Fault { fault: Arc<str>, phase: Phase, time: UnixNanos },
}

/// The members that are compared, as they stand in the frame, what became of it, and the frame itself.
#[derive(Serialize)]
struct TradeLine<'a> {
    product: &'a Value,
    sequence: &'a Value,
    trade_id: &'a Value,
    price: &'a Value,
    size: &'a Value,
    side: &'a Value,
    time: &'a Value,
    sent: bool,
    faulty: bool,
    kept_by: Option<&'a str>,
    frame: &'a str,
}

#[derive(Serialize)]
struct FaultLine<'a> {
    fault: &'a str,
    event: &'static str,
    time: String,
}

impl Truth {
    /// Writes nothing when there is no path.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self { entries: None, writer: None });
        };
        let file = File::create(path).map_err(|source| Error::Truth { path: path.to_owned(), source })?;
        let (entries, waiting) = mpsc::channel(WAITING_MAX);
        let path = path.to_owned();
        let writer = spawn_blocking(move || write(BufWriter::new(file), waiting, &path));
        Ok(Self { entries: Some(entries), writer: Some(writer) })
    }

    pub(crate) async fn trade(&self, record: Record) {
        self.enter(Entry::Trade(record)).await;
    }

    pub(crate) async fn fault(&self, fault: Arc<str>, phase: Phase, time: UnixNanos) {
        self.enter(Entry::Fault { fault, phase, time }).await;
    }

    async fn enter(&self, entry: Entry) {
        if let Some(entries) = &self.entries {
            // A writer that gave up has said why.
            let _ = entries.send(entry).await;
        }
    }

    /// Writes out everything.
    pub(crate) async fn close(mut self) {
        self.entries = None;
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.await
        {
            error!(%error, "the ground truth is incomplete");
        }
    }
}

fn write(mut file: BufWriter<File>, mut waiting: mpsc::Receiver<Entry>, path: &Path) {
    while let Some(entry) = waiting.blocking_recv() {
        let mut line = text(&entry);
        line.push('\n');
        // Whoever reads along sees every line as soon as nothing more waits.
        let written = file
            .write_all(line.as_bytes())
            .and_then(|()| if waiting.is_empty() { file.flush() } else { Ok(()) });
        if let Err(error) = written {
            error!(%error, path = %path.display(), "the ground truth cannot be written and is incomplete");
            return;
        }
    }
    if let Err(error) = file.flush() {
        error!(%error, path = %path.display(), "the ground truth cannot be written and is incomplete");
    }
}

fn text(entry: &Entry) -> String {
    match entry {
        Entry::Trade(record) => {
            let frame = record.ticker.to_text().unwrap_or_default();
            let ticker: Value = serde_json::from_str(frame).unwrap_or(Value::Null);
            wire::text(&TradeLine {
                product: &ticker["product_id"],
                sequence: &ticker["sequence"],
                trade_id: &ticker["trade_id"],
                price: &ticker["price"],
                size: &ticker["last_size"],
                side: &ticker["side"],
                time: &ticker["time"],
                sent: record.sent,
                faulty: record.faulty,
                kept_by: record.kept_by.as_deref(),
                frame,
            })
        }
        Entry::Fault { fault, phase, time } => {
            let event = match phase {
                Phase::Began => "began",
                Phase::Ended => "ended",
                Phase::Happened => "happened",
            };
            wire::text(&FaultLine { fault, event, time: wire::time(*time) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_trade_is_a_line_with_the_members_as_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.jsonl");
        let truth = Truth::open(Some(&path)).unwrap();
        let frame = r#"{"type":"ticker","product_id":"A-B","sequence":7,"price":"1.50","time":"t"}"#;
        truth.trade(Record { sent: true, ..Record::new(Message::text(frame)) }).await;
        let mut lost = Record::new(Message::text("{broken"));
        lost.keep_back("first".into());
        lost.keep_back("second".into());
        truth.trade(lost).await;
        truth.fault("mute".into(), Phase::Began, UnixNanos::new(0)).await;
        truth.close().await;
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["sequence"], &lines[0]["price"]), (&Value::from(7), &Value::from("1.50")));
        assert_eq!((&lines[0]["side"], &lines[0]["kept_by"]), (&Value::Null, &Value::Null));
        assert_eq!((&lines[0]["sent"], &lines[0]["frame"]), (&Value::from(true), &Value::from(frame)));
        assert_eq!((&lines[1]["sent"], &lines[1]["kept_by"]), (&Value::from(false), &Value::from("first")));
        assert_eq!(
            text.lines().last().unwrap(),
            r#"{"fault":"mute","event":"began","time":"1970-01-01T00:00:00.000000Z"}"#
        );
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_made_is_named() {
        let path = Path::new("/nonexistent/truth.jsonl");
        assert!(matches!(Truth::open(Some(path)), Err(Error::Truth { path: named, .. }) if named == path));
    }
}
