//! A recording: one message per line, packed with gzip or not, of any length; one file, or the files of a directory in the
//! order of their names. Lines that begin as [`Mark`]s do tell when frames arrived, where it was recorded.

use std::collections::{BTreeMap, VecDeque};
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

mod mark;

pub use mark::{Mark, RECORDING_FORMAT};

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
    /// There is nothing to read.
    #[error("{} has no recordings (*.jsonl.gz, *.jsonl)", directory.display())]
    NoFiles {
        /// The directory.
        directory: PathBuf,
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
    /// When it was sent, by the exchange's clock.
    pub(crate) time: Option<UnixNanos>,
    /// When it arrived, by the recorder's clock.
    pub(crate) received: Option<UnixNanos>,
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
    fn read(bytes: Vec<u8>, received: Option<UnixNanos>) -> Self {
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
        Self {
            message,
            product,
            time,
            received,
            sequence,
            trade_id,
            decimals,
            trade,
            is_ticker,
            is_subscriptions,
        }
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

/// The messages of a recording, one after the other; blank lines and marks are left out.
pub(crate) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    /// The files that follow.
    rest: VecDeque<PathBuf>,
    /// The files that end in the middle, as those of a recorder that was killed may.
    torn: Vec<PathBuf>,
}

/// What could be read where a line is expected.
enum Text {
    Line(Vec<u8>),
    /// The file ends here, or in the middle of a line.
    End {
        is_torn: bool,
    },
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, RecordingError> {
        let unreadable = |source| RecordingError::Unreadable { path: path.to_owned(), line: 0, source };
        let mut rest = files(path).map_err(unreadable)?;
        let first = rest.pop_front().ok_or_else(|| RecordingError::NoFiles { directory: path.to_owned() })?;
        let reader = open(&first).map_err(unreadable)?;
        Ok(Self { path: first, reader, line: 0, rest, torn: Vec::new() })
    }

    /// The files, of those read so far, that end in the middle of what their recorder wrote.
    pub(crate) fn torn(&self) -> &[PathBuf] {
        &self.torn
    }

    fn next_line(&mut self) -> Result<Option<Line>, RecordingError> {
        loop {
            let bytes = match self.text()? {
                Text::Line(bytes) => bytes,
                Text::End { is_torn } if self.turn(is_torn)? => continue,
                Text::End { .. } => return Ok(None),
            };
            if !Mark::begins(&bytes) {
                if !bytes.is_empty() {
                    return Ok(Some(Line::read(bytes, None)));
                }
                continue;
            }
            // Marks of a later version are no messages either.
            let Some(Mark::Frame { received, bytes: length, .. }) = Mark::parse(&bytes) else { continue };
            let frame = match length {
                Some(length) => self.exactly(length)?,
                None => self.text()?,
            };
            match frame {
                Text::Line(bytes) => return Ok(Some(Line::read(bytes, Some(received)))),
                // What announced the frame was the last that could be read.
                Text::End { .. } if !self.turn(true)? => return Ok(None),
                Text::End { .. } => {}
            }
        }
    }

    /// Goes on with the next file, if there is one.
    fn turn(&mut self, is_torn: bool) -> Result<bool, RecordingError> {
        if is_torn {
            self.torn.push(self.path.clone());
        }
        let Some(next) = self.rest.pop_front() else { return Ok(false) };
        self.line = 0;
        self.reader = open(&next).map_err(|source| RecordingError::Unreadable {
            path: next.clone(),
            line: 0,
            source,
        })?;
        self.path = next;
        Ok(true)
    }

    /// A line without its end.
    fn text(&mut self) -> Result<Text, RecordingError> {
        self.line = self.line.saturating_add(1);
        let mut bytes = Vec::new();
        // Two more than allowed: the line's end, and one that tells an end from a cut.
        let limit = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
        match self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes) {
            Ok(0) => return Ok(Text::End { is_torn: false }),
            Ok(_) => {}
            Err(error) => return self.end_or(error),
        }
        let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        bytes.truncate(end);
        if bytes.len() > FRAME_BYTES_MAX { Err(self.too_long()) } else { Ok(Text::Line(bytes)) }
    }

    /// So many bytes, whatever they are, and the end of the line after them.
    fn exactly(&mut self, length: usize) -> Result<Text, RecordingError> {
        self.line = self.line.saturating_add(1);
        if length > FRAME_BYTES_MAX {
            return Err(self.too_long());
        }
        let mut bytes = vec![0; length + 1];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => bytes.truncate(length),
            Err(error) => return self.end_or(error),
        }
        Ok(Text::Line(bytes))
    }

    /// A packed file that ends too early has been read as far as it goes.
    fn end_or(&self, source: io::Error) -> Result<Text, RecordingError> {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Ok(Text::End { is_torn: true }),
            _ => Err(RecordingError::Unreadable { path: self.path.clone(), line: self.line, source }),
        }
    }

    fn too_long(&self) -> RecordingError {
        RecordingError::LineTooLong { path: self.path.clone(), line: self.line }
    }
}

impl Iterator for Lines {
    type Item = Result<Line, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}

/// The file itself, or the recordings in a directory, in the order of their names.
fn files(path: &Path) -> io::Result<VecDeque<PathBuf>> {
    if !path.is_dir() {
        return Ok(VecDeque::from([path.to_owned()]));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")) {
            found.push(path.join(name));
        }
    }
    found.sort();
    Ok(found.into())
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
