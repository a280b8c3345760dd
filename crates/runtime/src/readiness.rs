use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;

/// Whether this process can do its job: a set of latches, one for each thing that must be up. Cheap to clone.
///
/// Liveness is another question and asks nobody: a process that waits for its database is alive.
#[derive(Clone, Debug)]
pub struct Readiness {
    board: Arc<Board>,
    prefix: String,
}

#[derive(Debug)]
struct Board {
    entries: Mutex<Vec<Entry>>,
    /// Whether everything is ready, for those that wait for a change.
    ready: watch::Sender<bool>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// `None` when ready.
    waiting: Option<Waiting>,
    /// A condition that is only told: it does not count for [`Report::ready`].
    only_told: bool,
    /// How many [`Latch`]es refer to this entry; one with none is reused by the next latch of the same name.
    latches: usize,
}

#[derive(Debug)]
struct Waiting {
    reason: String,
    since: Instant,
}

/// One thing that must be up, or that is worth telling. All clones are the same latch.
#[derive(Debug)]
pub struct Latch {
    board: Arc<Board>,
    index: usize,
}

/// The state of all latches at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is a latch and none that counts waits.
    pub ready: bool,
    /// The latches that are waited for.
    pub waiting: Vec<LatchReport>,
    /// Conditions that do not count but are worth telling, such as an exchange that is mute.
    pub notes: Vec<LatchReport>,
}

/// A latch that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LatchReport {
    /// The latch, with the role in front: `gateway.bus`.
    pub name: String,
    /// Why it waits.
    pub reason: String,
    /// For how long it has not been ready.
    pub waiting_seconds: u64,
}

impl Default for Readiness {
    fn default() -> Readiness {
        let ready = watch::Sender::new(false);
        Readiness { board: Arc::new(Board { entries: Mutex::default(), ready }), prefix: String::new() }
    }
}

impl Readiness {
    /// One without latches, which is not ready: nobody has said yet what there is to wait for.
    pub fn new() -> Readiness {
        Readiness::default()
    }

    /// The same readiness, with `name` and a dot in front of the names of its latches.
    pub fn scoped(&self, name: &str) -> Readiness {
        Readiness { board: Arc::clone(&self.board), prefix: format!("{}{name}.", self.prefix) }
    }

    /// A thing that must be up; it waits until [`Latch::set_ready`]. Two latches of one name are two things. When a part
    /// of the process is restarted, its new latch takes the place of the old one, which it had dropped.
    pub fn latch(&self, name: &str) -> Latch {
        self.add(name, false)
    }

    /// A condition that is told in the report and does not count for readiness.
    pub fn note(&self, name: &str) -> Latch {
        self.add(name, true)
    }

    /// The state of all latches now.
    pub fn report(&self) -> Report {
        let now = Instant::now();
        let mut report = self.board.with(|entries| {
            let ready = is_ready(entries);
            let (notes, waiting) = entries
                .iter()
                .filter_map(|entry| entry.report(now).map(|told| (entry.only_told, told)))
                .partition::<Vec<_>, _>(|(only_told, _)| *only_told);
            Report { ready, waiting: second(waiting), notes: second(notes) }
        });
        if !report.ready && report.waiting.is_empty() {
            let reason = "nothing has reported yet".to_owned();
            report.waiting.push(LatchReport { name: "start".to_owned(), reason, waiting_seconds: 0 });
        }
        report
    }

    /// Whether everything is ready.
    pub fn is_ready(&self) -> bool {
        *self.board.ready.borrow()
    }

    /// Returns once everything is ready.
    pub async fn ready(&self) {
        let mut changes = self.changes();
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = changes.wait_for(|ready| *ready).await;
    }

    /// Whether everything is ready, now and after each change.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.board.ready.subscribe()
    }

    fn add(&self, name: &str, only_told: bool) -> Latch {
        let name = format!("{}{name}", self.prefix);
        let waiting = (!only_told).then(|| Waiting { reason: "starting".to_owned(), since: Instant::now() });
        let index = self.board.change(|entries| {
            let entry = Entry { name, waiting, only_told, latches: 1 };
            let abandoned = entries.iter().position(|old| {
                old.latches == 0 && old.name == entry.name && old.only_told == entry.only_told
            });
            match abandoned.and_then(|index| entries.get_mut(index).map(|old| (index, old))) {
                Some((index, old)) => {
                    *old = entry;
                    index
                }
                None => {
                    entries.push(entry);
                    entries.len() - 1
                }
            }
        });
        Latch { board: Arc::clone(&self.board), index }
    }
}

impl Latch {
    /// The thing is up.
    pub fn set_ready(&self) {
        self.update(|entry| entry.waiting = None);
    }

    /// The thing is not up, and why, in words for an operator.
    pub fn set_waiting(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.update(|entry| {
            let since = entry.waiting.as_ref().map_or_else(Instant::now, |waiting| waiting.since);
            entry.waiting = Some(Waiting { reason, since });
        });
    }

    /// Whether the thing is up.
    pub fn is_ready(&self) -> bool {
        self.board.with(|entries| entries.get(self.index).is_some_and(|entry| entry.waiting.is_none()))
    }

    fn update(&self, update: impl FnOnce(&mut Entry)) {
        self.board.change(|entries| {
            if let Some(entry) = entries.get_mut(self.index) {
                update(entry);
            }
        });
    }
}

impl Clone for Latch {
    fn clone(&self) -> Latch {
        self.update(|entry| entry.latches += 1);
        Latch { board: Arc::clone(&self.board), index: self.index }
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.update(|entry| entry.latches = entry.latches.saturating_sub(1));
    }
}

impl Board {
    fn with<T>(&self, read: impl FnOnce(&Vec<Entry>) -> T) -> T {
        read(&self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut entries);
        // Told under the lock, so that the last change is the last one told.
        let now_ready = is_ready(&entries);
        self.ready.send_if_modified(|ready| std::mem::replace(ready, now_ready) != now_ready);
        result
    }
}

impl Entry {
    fn report(&self, now: Instant) -> Option<LatchReport> {
        let waiting = self.waiting.as_ref()?;
        let waited: Duration = now.saturating_duration_since(waiting.since);
        Some(LatchReport {
            name: self.name.clone(),
            reason: waiting.reason.clone(),
            waiting_seconds: waited.as_secs(),
        })
    }
}

fn is_ready(entries: &[Entry]) -> bool {
    let mut counting = entries.iter().filter(|entry| !entry.only_told).peekable();
    counting.peek().is_some() && counting.all(|entry| entry.waiting.is_none())
}

fn second(pairs: Vec<(bool, LatchReport)>) -> Vec<LatchReport> {
    pairs.into_iter().map(|(_, report)| report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_there_are_latches_and_none_waits() {
        let readiness = Readiness::new();
        assert!(!readiness.report().ready);

        let gateway = readiness.scoped("gateway");
        let (bus, query) = (gateway.latch("bus"), gateway.latch("query"));
        bus.set_ready();
        query.set_waiting("connection refused");
        let report = readiness.report();
        assert!(!report.ready);
        assert_eq!(report.waiting.len(), 1);
        assert_eq!(report.waiting[0].name, "gateway.query");
        assert_eq!(report.waiting[0].reason, "connection refused");

        query.set_ready();
        assert!(readiness.report().ready && readiness.is_ready());
        bus.set_waiting("gone");
        assert!(!readiness.is_ready());
    }

    #[test]
    fn a_note_is_told_and_does_not_count() {
        let readiness = Readiness::new();
        let (bus, exchange) = (readiness.latch("bus"), readiness.note("exchange"));
        bus.set_ready();
        assert!(readiness.report().notes.is_empty());
        exchange.set_waiting("no message for 40 s");
        let report = readiness.report();
        assert!(report.ready);
        assert_eq!(report.notes[0].name, "exchange");
    }

    #[test]
    fn a_restarted_part_takes_its_old_latch_over_and_a_second_part_does_not() {
        let readiness = Readiness::new();
        let first = readiness.latch("bus");
        let clone = first.clone();
        first.set_ready();
        drop(first);
        clone.set_ready();
        let second = readiness.latch("bus");
        second.set_ready();
        assert!(readiness.is_ready(), "a dropped clone must not reset the latch");

        drop(clone);
        let restarted = readiness.latch("bus");
        assert_eq!(readiness.report().waiting.len(), 1);
        restarted.set_ready();
        assert!(readiness.is_ready());
        assert_eq!(readiness.board.with(Vec::len), 2);
    }

    #[tokio::test]
    async fn waiting_for_readiness_ends_with_the_last_latch() {
        let readiness = Readiness::new();
        let latch = readiness.latch("bus");
        let waiting = {
            let readiness = readiness.clone();
            tokio::spawn(async move { readiness.ready().await })
        };
        latch.set_ready();
        waiting.await.unwrap();
    }
}
