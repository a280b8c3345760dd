//! Whether the streams of the bus are followed: what readiness and the log are told.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::StreamKind;
use metrics::counter;
use tracing::{debug, info, warn};

use crate::{feed::Shared, metrics as names};

/// How often a stream that cannot be followed is told of in the log.
const TELL_PERIOD: Duration = Duration::from_secs(30);

/// How following the bus goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    ticks_caught_up: bool,
    snapshots_caught_up: bool,
    /// The streams that cannot be followed at this moment, and why.
    broken: BTreeMap<&'static str, Arc<str>>,
}

impl Health {
    /// Whether ticks and snapshots have each been followed to their end once. That stays so.
    pub fn is_caught_up(&self) -> bool {
        self.ticks_caught_up && self.snapshots_caught_up
    }

    /// Whether no stream is broken: what happens arrives here.
    pub fn is_following(&self) -> bool {
        self.broken.is_empty()
    }

    /// Why the newest state here may not be the newest there is, in words for an operator; `None` when it is.
    pub fn waiting(&self) -> Option<String> {
        if let Some((stream, why)) = self.broken.first_key_value() {
            return Some(format!("the stream cannot be followed: {stream}: {why}"));
        }
        (!self.is_caught_up()).then(|| "the stream has not been followed to its end yet".to_owned())
    }

    pub(crate) fn caught_up(&mut self, stream: StreamKind) {
        match stream {
            StreamKind::Ticks => self.ticks_caught_up = true,
            StreamKind::Snapshots => self.snapshots_caught_up = true,
            _ => {}
        }
    }

    pub(crate) fn all_caught_up(&mut self) {
        (self.ticks_caught_up, self.snapshots_caught_up) = (true, true);
    }

    fn broke(&mut self, stream: StreamKind, why: &str) {
        self.broken.insert(stream.label(), why.into());
    }

    fn mended(&mut self, stream: StreamKind) {
        self.broken.remove(stream.label());
    }
}

/// How following one stream goes, told on changes: one line when it breaks, one when it goes on, and no flood of either
/// when it does so again and again.
#[derive(Debug)]
pub(crate) struct Pulse {
    stream: StreamKind,
    shared: Arc<Shared>,
    outage: Option<Outage>,
    gate: Gate,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    told: bool,
}

/// Lets one line through per period, and counts those that it holds back.
#[derive(Debug, Default)]
struct Gate {
    last: Option<Instant>,
    swallowed: u64,
}

impl Pulse {
    pub(crate) fn new(stream: StreamKind, shared: Arc<Shared>) -> Self {
        Self { stream, shared, outage: None, gate: Gate::default() }
    }

    /// The stream cannot be read at this moment.
    pub(crate) fn fails(&mut self, error: &dyn Error) {
        let (stream, now) = (self.stream.label(), Instant::now());
        counter!(names::RESTARTS, "stream" => stream).increment(1);
        let error = chain(error);
        self.shared.health(|health| health.broke(self.stream, &error));
        let outage = self.outage.get_or_insert(Outage { since: now, told: false });
        match self.gate.pass(now) {
            Some(swallowed) => {
                outage.told = true;
                warn!(error, stream, swallowed, "the stream cannot be followed, trying on");
            }
            None => debug!(error, stream, "the stream cannot be followed yet"),
        }
    }

    /// The stream can be read.
    pub(crate) fn works(&mut self) {
        let Some(outage) = self.outage.take() else {
            return;
        };
        self.shared.health(|health| health.mended(self.stream));
        if outage.told {
            info!(stream = self.stream.label(), after = ?outage.since.elapsed(), "the stream is followed again");
        }
    }
}

impl Gate {
    /// How many lines were held back since the last one; `None` when this one is to be held back too.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < TELL_PERIOD) {
            self.swallowed = self.swallowed.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.swallowed))
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_told() {
        let mut health = Health::default();
        assert!(health.is_following() && !health.is_caught_up());
        health.caught_up(StreamKind::Ticks);
        health.caught_up(StreamKind::Events);
        assert!(health.waiting().unwrap().contains("to its end"), "the snapshots are missing");
        health.caught_up(StreamKind::Snapshots);
        assert_eq!(health.waiting(), None);
        health.broke(StreamKind::Ticks, "nobody answers");
        assert!(health.is_caught_up() && !health.is_following());
        assert_eq!(health.waiting().unwrap(), "the stream cannot be followed: ticks: nobody answers");
        health.mended(StreamKind::Ticks);
        assert_eq!(health.waiting(), None);
    }

    #[test]
    fn the_log_is_not_flooded() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        assert_eq!(gate.pass(start), Some(0));
        assert_eq!(gate.pass(start + TELL_PERIOD / 3), None);
        assert_eq!(gate.pass(start + TELL_PERIOD / 2), None);
        assert_eq!(gate.pass(start + TELL_PERIOD), Some(2));
    }
}
