//! The files of a recording: gzip members that are whole each, one file after the other.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use domain::UnixNanos;
use flate2::{Compression, write::GzEncoder};
use simulator::{Mark, RECORDING_FORMAT};

/// How much text is packed into one member before it is written, at most, but for a frame that is longer.
const MEMBER_BYTES_MAX: usize = 1024 * 1024;

/// What stands at the head of each file.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) feed: String,
    pub(super) products: Vec<String>,
    pub(super) channels: Vec<String>,
}

/// Writes one file after the other. A member is packed in memory and written as a whole, so that a killed process leaves
/// whole members behind; only what is still in memory is lost.
pub(super) struct Files {
    directory: PathBuf,
    head: Head,
    rotate_size: u64,
    rotate_every: Option<Duration>,
    current: Option<Current>,
    /// How many files there are, and the names of the first and the last.
    count: u64,
    names: Option<(String, String)>,
    /// What all of them take.
    size_bytes: u64,
}

struct Current {
    file: File,
    path: PathBuf,
    size_bytes: u64,
    begun: Instant,
    member: GzEncoder<Vec<u8>>,
    member_bytes: usize,
}

impl Files {
    /// Makes the directory and the first file, so that what cannot be written is known at once.
    pub(super) fn create(
        directory: PathBuf,
        rotate_size: u64,
        rotate_every: Option<Duration>,
        head: Head,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("the directory {} cannot be made (--out)", directory.display()))?;
        let mut files = Self {
            directory,
            head,
            rotate_size,
            rotate_every,
            current: None,
            count: 0,
            names: None,
            size_bytes: 0,
        };
        files.begin()?;
        files.flush()?;
        Ok(files)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What the files take, without what is still in memory.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Adds a mark, and the frame that it announces.
    pub(super) fn write(&mut self, mark: &Mark, frame: Option<&[u8]>) -> anyhow::Result<()> {
        if self.current.is_none() {
            self.begin()?;
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        current.add(mark.line().as_bytes()).with_context(|| cannot_write(&current.path))?;
        if let Some(frame) = frame {
            current.add(frame).with_context(|| cannot_write(&current.path))?;
        }
        if current.member_bytes >= MEMBER_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Writes what is in memory, and ends the file when it is large or old enough.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let written = tokio::task::block_in_place(|| current.flush());
        self.size_bytes += written.with_context(|| cannot_write(&current.path))?;
        let is_old = self.rotate_every.is_some_and(|every| current.begun.elapsed() >= every);
        if is_old || current.size_bytes >= self.rotate_size { self.close() } else { Ok(()) }
    }

    /// Ends the file. What comes then begins another one.
    pub(super) fn close(&mut self) -> anyhow::Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let closed = tokio::task::block_in_place(|| {
            let written = current.flush()?;
            current.file.sync_all()?;
            Ok::<u64, io::Error>(written)
        });
        self.size_bytes += closed.with_context(|| cannot_write(&current.path))?;
        Ok(())
    }

    /// Begins the next file, which never replaces one that is there.
    fn begin(&mut self) -> anyhow::Result<()> {
        let time = compact(UnixNanos::now());
        let mut number = self.count;
        let (name, file) = loop {
            number += 1;
            let name = format!("feed-{time}-{number:05}.jsonl.gz");
            let path = self.directory.join(&name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => break (name, opened.with_context(|| cannot_write(&path))?),
            }
        };
        self.count += 1;
        self.names.get_or_insert_with(|| (name.clone(), name.clone())).1.clone_from(&name);
        let current = self.current.insert(Current {
            file,
            path: self.directory.join(name),
            size_bytes: 0,
            begun: Instant::now(),
            member: member(),
            member_bytes: 0,
        });
        let Head { feed, products, channels } = self.head.clone();
        let mark = Mark::Recording { format: RECORDING_FORMAT, file: self.count, feed, products, channels };
        current.add(mark.line().as_bytes()).with_context(|| cannot_write(&current.path))
    }
}

impl Current {
    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        self.member_bytes += line.len() + 1;
        self.member.write_all(line)?;
        self.member.write_all(b"\n")
    }

    /// Returns how many bytes were written.
    fn flush(&mut self) -> io::Result<u64> {
        if self.member_bytes == 0 {
            return Ok(0);
        }
        let packed = std::mem::replace(&mut self.member, member()).finish()?;
        self.member_bytes = 0;
        if let Err(error) = self.file.write_all(&packed) {
            // A disk without room takes a part; what was there before stays readable to its end.
            let _ = self.file.set_len(self.size_bytes);
            return Err(error);
        }
        let written = u64::try_from(packed.len()).unwrap_or(u64::MAX);
        self.size_bytes += written;
        Ok(written)
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, last)) = &self.names else { return Ok(()) };
        let path = |name: &String| self.directory.join(name).display().to_string();
        match self.count {
            1 => write!(f, "  {}", path(first)),
            count => write!(f, "  {count} files, {} to {last}", path(first)),
        }
    }
}

fn member() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::default())
}

fn cannot_write(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

/// A time as a part of a name: `20260417T164406Z`.
fn compact(time: UnixNanos) -> String {
    let text = time.to_string();
    let seconds = text.split(['.', 'Z']).next().unwrap_or(&text);
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn files(directory: &Path, rotate_size: u64, rotate_every: Option<Duration>) -> Files {
        let head = Head { feed: "ws://x".into(), products: vec!["BTC-USD".into()], channels: Vec::new() };
        Files::create(directory.to_owned(), rotate_size, rotate_every, head).unwrap()
    }

    fn read(directory: &Path) -> Vec<String> {
        let mut paths: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let unpacked = |path: &PathBuf| {
            let mut text = String::new();
            flate2::read::MultiGzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
            text
        };
        paths.iter().map(unpacked).collect()
    }

    fn frame(text: &str) -> Mark {
        Mark::frame(1, UnixNanos::new(1), text.as_bytes(), false)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_flushed_is_readable_and_nothing_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = files(directory.path(), 1 << 30, None);
        let mut second = files(directory.path(), 1 << 30, None);
        first.write(&frame("a"), Some(b"a")).unwrap();
        first.flush().unwrap();
        first.write(&frame("b"), Some(b"b")).unwrap();
        second.close().unwrap();
        let texts = read(directory.path());
        assert_eq!(texts.len(), 2);
        let [mark, received, message] = texts[0].lines().collect::<Vec<_>>()[..] else { panic!("{texts:?}") };
        assert!(matches!(Mark::parse(mark.as_bytes()), Some(Mark::Recording { file: 1, .. })));
        assert_eq!(Mark::parse(received.as_bytes()), Some(frame("a")));
        assert_eq!(message, "a");
        first.close().unwrap();
        assert!(read(directory.path())[0].ends_with("\nb\n"));
        assert_eq!((first.count(), second.count()), (1, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_new_file_follows_one_that_is_large_or_old() {
        for (size, every) in [(1, None), (1 << 30, Some(Duration::ZERO))] {
            let directory = tempfile::tempdir().unwrap();
            let mut files = files(directory.path(), size, every);
            for text in ["a", "b"] {
                files.write(&frame(text), Some(text.as_bytes())).unwrap();
                files.flush().unwrap();
            }
            files.close().unwrap();
            let texts = read(directory.path());
            assert_eq!((texts.len(), files.count()), (3, 3), "the first was complete with its head");
            assert!(texts[1].ends_with("\na\n") && texts[2].ends_with("\nb\n"));
            assert!(texts[2].starts_with("{\"ledgerflux\":\"recording\",\"format\":1,\"file\":3,"));
            let on_disk: u64 = std::fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .sum();
            assert_eq!(files.size_bytes(), on_disk);
        }
    }

    #[test]
    fn names_sort_by_time() {
        assert_eq!(compact(UnixNanos::new(1_618_677_846_123_456_000)), "20210417T164406Z");
        assert_eq!(compact(UnixNanos::from_seconds(1_618_677_846).unwrap()), "20210417T164406Z");
    }
}
