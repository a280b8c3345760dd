//! A recording: one message per line, packed with gzip or not, of any length.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use domain::{Decimal, Product, UnixNanos, parse_number};
use flate2::read::MultiGzDecoder;
use thiserror::Error;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use venues::coinbase::rest::{RestTrade, parse_trades};
use venues::coinbase::{FRAME_BYTES_MAX, Field, Message as Parsed, Outline, TickerMessage, outline, parse};

use crate::listing::Decimals;
use crate::tape;

/// Why a recording cannot be used.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The file is not there, not readable, or damaged.
    #[error("{} cannot be read (line {line})", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line at which reading failed.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No message of the exchange is that long.
    #[error("line {line} of {} is longer than {FRAME_BYTES_MAX} bytes", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
    },
    /// Nothing could be subscribed to.
    #[error("{} names no product", path.display())]
    NoProducts {
        /// The file.
        path: PathBuf,
    },
}

/// What can be told about a line without understanding it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) message: Message,
    pub(crate) product: Option<String>,
    pub(crate) time: Option<UnixNanos>,
    pub(crate) sequence: Option<u64>,
    pub(crate) trade_id: Option<u64>,
    pub(crate) decimals: Decimals,
    /// The trade that it tells of, if it does.
    pub(crate) trade: Option<RestTrade>,
    pub(crate) is_ticker: bool,
    /// An answer to the recorder's subscription, which is not ours to repeat.
    pub(crate) is_subscriptions: bool,
}

impl Line {
    fn read(bytes: Vec<u8>) -> Self {
        let outline = outline(&bytes).unwrap_or_default();
        let kind = outline.kind.text();
        let (is_ticker, is_subscriptions) = (kind == Some("ticker"), kind == Some("subscriptions"));
        let time = outline.time.text().and_then(|time| UnixNanos::parse_rfc3339(time).ok());
        let (product, sequence) = (product(&outline), outline.sequence.integer());
        let trade_id = outline.trade_id.integer().or(outline.last_trade_id.integer());
        let (trade, decimals) = match kind {
            Some("ticker") => ticker(&bytes),
            Some("match" | "last_match") => matched(&bytes),
            _ => (None, Decimals::default()),
        };
        let message = verbatim(bytes);
        Self { product, time, sequence, trade_id, trade, decimals, is_ticker, is_subscriptions, message }
    }
}

fn ticker(bytes: &[u8]) -> (Option<RestTrade>, Decimals) {
    let Ok(Parsed::Ticker(ticker)) = parse(bytes) else {
        return (None, Decimals::default());
    };
    let TickerMessage { price, best_bid, best_ask, last_size, best_bid_size, best_ask_size, .. } = &ticker;
    let widest = |fields: [&Field<'_>; 3]| {
        let numbers = fields.into_iter().filter_map(|field| parse_number(field.text()?).ok());
        numbers.map(|number| number.scale()).max().unwrap_or(0)
    };
    let decimals = Decimals {
        price: widest([price, best_bid, best_ask]),
        size: widest([last_size, best_bid_size, best_ask_size]),
    };
    (tape::of_ticker(&ticker), decimals)
}

/// A match has the members of a trade in REST, the maker's side included.
fn matched(bytes: &[u8]) -> (Option<RestTrade>, Decimals) {
    let trade = parse_trades(&[b"[", bytes, b"]"].concat()).ok().and_then(|mut trades| trades.pop());
    let scale = |number: fn(&RestTrade) -> Decimal| trade.as_ref().map_or(0, |trade| number(trade).scale());
    let decimals = Decimals { price: scale(|trade| trade.price), size: scale(|trade| trade.size) };
    (trade, decimals)
}

/// Lines that are no text go out as they are, too: a feed that sends rubbish is worth replaying.
fn verbatim(bytes: Vec<u8>) -> Message {
    match String::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(error) => Message::Binary(Bytes::from(error.into_bytes())),
    }
}

fn product(outline: &Outline<'_>) -> Option<String> {
    outline.product_id.text().filter(|name| Product::new(name).is_ok()).map(str::to_owned)
}

/// The lines of a recording, one after the other; blank ones are left out.
pub(crate) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, RecordingError> {
        let reader = open(path).map_err(|source| RecordingError::Unreadable {
            path: path.to_owned(),
            line: 0,
            source,
        })?;
        Ok(Self { path: path.to_owned(), reader, line: 0 })
    }

    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, RecordingError> {
        loop {
            self.line = self.line.saturating_add(1);
            let mut bytes = Vec::new();
            // Two more than allowed: the line's end, and one that tells an end from a cut.
            let limit = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
            let unreadable =
                |source| RecordingError::Unreadable { path: self.path.clone(), line: self.line, source };
            if read.map_err(unreadable)? == 0 {
                return Ok(None);
            }
            let end =
                bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
            bytes.truncate(end);
            if bytes.len() > FRAME_BYTES_MAX {
                return Err(RecordingError::LineTooLong { path: self.path.clone(), line: self.line });
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Line, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_bytes().map(|bytes| bytes.map(Line::read)).transpose()
    }
}

/// Packed files are known by their first bytes, whatever they are called.
fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(if magic == [0x1f, 0x8b] {
        Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(file))))
    } else {
        Box::new(BufReader::new(file))
    })
}

/// Reads the whole recording once: the products that its messages name, in alphabetical order, with their decimals.
pub(crate) fn products(path: &Path) -> Result<BTreeMap<String, Decimals>, RecordingError> {
    let mut found: BTreeMap<String, Decimals> = BTreeMap::new();
    for line in Lines::open(path)? {
        let line = line?;
        if let Some(product) = line.product {
            let known = found.entry(product).or_default();
            *known = known.widened(line.decimals);
        }
    }
    if found.is_empty() { Err(RecordingError::NoProducts { path: path.to_owned() }) } else { Ok(found) }
}

#[cfg(test)]
mod tests;
