//! How closely together the frames of one client are written.
//!
//! Each write costs the machine the same, however much it carries. With few clients each tick is written when it comes. With
//! many that are being written to at the same time, each of them is left alone for a moment after a write, and what has come
//! meanwhile goes with the next one: a few milliseconds of delay against most of the work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// For how long it is counted who is written to.
const WINDOW_MS: u64 = 100;
/// Whoever was written to within so many windows is being written to. A word now and then to thousands of others, as a
/// checkpoint is, does not hold up anybody.
const BUSY_WINDOWS: u64 = 10;
/// The pause after a write, for each client that is written to: so many writes a second at most, together.
const PAUSE_PER_CLIENT: Duration = Duration::from_micros(10);
/// Shorter pauses gain nothing; with as many clients as that takes, each tick is written when it comes.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// However many clients there are, a tick does not wait longer than this.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Who is being written to, in the whole process.
#[derive(Clone, Debug)]
pub(crate) struct Cadence(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    began: Instant,
    window: AtomicU64,
    now: AtomicU32,
    before: AtomicU32,
}

/// One client.
#[derive(Debug)]
pub(super) struct Beat {
    cadence: Cadence,
    written_in: Option<u64>,
}

impl Cadence {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Counts {
            began: Instant::now(),
            window: AtomicU64::new(0),
            now: AtomicU32::new(0),
            before: AtomicU32::new(0),
        }))
    }

    pub(super) fn beat(&self) -> Beat {
        Beat { cadence: self.clone(), written_in: None }
    }
}

impl Counts {
    /// The number of the present window. The first to see it begins the counting anew; the counts need not be exact.
    fn window(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.began).as_millis();
        let window = u64::try_from(millis).unwrap_or(u64::MAX) / WINDOW_MS;
        let known = self.window.load(Ordering::Relaxed);
        let is_first = window > known
            && self.window.compare_exchange(known, window, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first {
            let count = self.now.swap(0, Ordering::Relaxed);
            self.before.store(if window == known + 1 { count } else { 0 }, Ordering::Relaxed);
        }
        window
    }
}

impl Beat {
    /// Counts a write, and says when the next one may be made; `None` for at once.
    pub(super) fn written(&mut self, now: Instant) -> Option<Instant> {
        let counts = &self.cadence.0;
        let window = counts.window(now);
        let last = self.written_in.replace(window);
        if last.is_some_and(|last| last != window && window.saturating_sub(last) <= BUSY_WINDOWS) {
            counts.now.fetch_add(1, Ordering::Relaxed);
        }
        let clients = counts.before.load(Ordering::Relaxed).max(counts.now.load(Ordering::Relaxed));
        let pause = (PAUSE_PER_CLIENT * clients).min(PAUSE_MAX);
        (pause >= PAUSE_MIN).then(|| now + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_clients_are_written_to_at_once_and_many_in_turns() {
        let cadence = Cadence::new();
        let began = cadence.0.began;
        let mut beats: Vec<Beat> = (0..10_000).map(|_| cadence.beat()).collect();
        let mut pause_of = |clients: usize, at_ms: u64| {
            let now = began + Duration::from_millis(at_ms);
            let last = beats.iter_mut().take(clients).map(|beat| beat.written(now)).last().unwrap();
            last.map(|due| due - now)
        };
        assert_eq!(pause_of(100, 0), None);
        assert_eq!(pause_of(1_000, 100), None, "most of them for the first time");
        assert_eq!(pause_of(1_000, 200), Some(Duration::from_millis(10)));
        // In the next window it is known from its first write on.
        assert_eq!(pause_of(1, 300), Some(Duration::from_millis(10)));
        assert_eq!(pause_of(10_000, 400), Some(Duration::from_millis(10)));
        assert_eq!(pause_of(10_000, 500), Some(PAUSE_MAX));
        // Nobody was written to for a while.
        assert_eq!(pause_of(100, 1_000), None);
    }

    #[test]
    fn a_word_now_and_then_to_thousands_delays_nobody() {
        let cadence = Cadence::new();
        let mut quiet: Vec<Beat> = (0..10_000).map(|_| cadence.beat()).collect();
        let mut busy = cadence.beat();
        for at_ms in (0..30_000).step_by(100) {
            let now = cadence.0.began + Duration::from_millis(at_ms);
            // Each of them every 5 s.
            let due = usize::try_from(at_ms / 100).unwrap() % 50 * 200;
            quiet[due..due + 200].iter_mut().for_each(|beat| _ = beat.written(now));
            assert_eq!(busy.written(now), None);
        }
    }

    #[test]
    fn a_client_counts_once_however_often_it_is_written_to() {
        let cadence = Cadence::new();
        let mut beat = cadence.beat();
        let now = cadence.0.began + Duration::from_millis(150);
        assert!((0..5_000).all(|_| beat.written(now).is_none()));
    }
}
