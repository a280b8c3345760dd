//! The ground truth: one line for each ticker that was sent.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::error;

use crate::Error;

/// How many lines may wait for the disk before the feed waits too.
const WAITING_MAX: usize = 4_096;

/// Writes the truth in a thread of its own. A ticker counts as sent once it is queued for at least one client.
#[derive(Debug)]
pub(crate) struct Truth {
    frames: Option<mpsc::Sender<String>>,
    writer: Option<JoinHandle<()>>,
}

/// The members that are compared, as they stand in the frame, and the frame itself.
#[derive(Serialize)]
struct Line<'a> {
    product: &'a Value,
    sequence: &'a Value,
    trade_id: &'a Value,
    price: &'a Value,
    size: &'a Value,
    side: &'a Value,
    time: &'a Value,
    frame: &'a str,
}

impl Truth {
    /// Writes nothing when there is no path.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self { frames: None, writer: None });
        };
        let file = File::create(path).map_err(|source| Error::Truth { path: path.to_owned(), source })?;
        let (frames, waiting) = mpsc::channel(WAITING_MAX);
        let path = path.to_owned();
        let writer = spawn_blocking(move || write(BufWriter::new(file), waiting, &path));
        Ok(Self { frames: Some(frames), writer: Some(writer) })
    }

    pub(crate) async fn record(&self, frame: &str) {
        if let Some(frames) = &self.frames {
            // A writer that gave up has said why.
            let _ = frames.send(frame.to_owned()).await;
        }
    }

    /// Writes out everything.
    pub(crate) async fn close(mut self) {
        self.frames = None;
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.await
        {
            error!(%error, "the ground truth is incomplete");
        }
    }
}

fn write(mut file: BufWriter<File>, mut waiting: mpsc::Receiver<String>, path: &Path) {
    while let Some(frame) = waiting.blocking_recv() {
        let written = serde_json::to_writer(&mut file, &line(&frame, &parsed(&frame)))
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            // Whoever reads along sees every line as soon as nothing more waits.
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

fn parsed(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap_or(Value::Null)
}

fn line<'a>(frame: &'a str, ticker: &'a Value) -> Line<'a> {
    Line {
        product: &ticker["product_id"],
        sequence: &ticker["sequence"],
        trade_id: &ticker["trade_id"],
        price: &ticker["price"],
        size: &ticker["last_size"],
        side: &ticker["side"],
        time: &ticker["time"],
        frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_frame_is_a_line_with_the_members_as_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.jsonl");
        let truth = Truth::open(Some(&path)).unwrap();
        truth.record(r#"{"type":"ticker","product_id":"A-B","sequence":7,"price":"1.50","time":"t"}"#).await;
        truth.record("{broken").await;
        truth.close().await;
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["sequence"], &lines[0]["price"]), (&Value::from(7), &Value::from("1.50")));
        assert_eq!(lines[0]["side"], Value::Null);
        assert_eq!(lines[1]["frame"], "{broken");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_made_is_named() {
        let path = Path::new("/nonexistent/truth.jsonl");
        assert!(matches!(Truth::open(Some(path)), Err(Error::Truth { path: named, .. }) if named == path));
    }
}
