//! The script as feed, connections and REST share it, and its clock, which starts when somebody first asks for the feed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::script::{Happening, RestTrouble, Script, Treated};
use super::{Connection, FaultScript, Refusing};

/// What goes wrong now. Without a script every question is answered at once.
#[derive(Debug)]
pub(crate) struct Faults {
    script: Option<Mutex<Script>>,
    began: OnceLock<Instant>,
    /// Whether anybody has subscribed yet; tickers count from then on.
    counts: AtomicBool,
}

impl Faults {
    pub(crate) fn new(script: &FaultScript) -> Self {
        let script = (!script.is_empty()).then(|| Mutex::new(Script::new(script)));
        Self { script, began: OnceLock::new(), counts: AtomicBool::new(false) }
    }

    /// Whether there is no script.
    pub(crate) fn are_none(&self) -> bool {
        self.script.is_none()
    }

    /// Starts the clock, unless it runs already. Until then it stands at zero: what is to be wrong from the start is.
    pub(crate) fn begin(&self) {
        self.began.get_or_init(Instant::now);
    }

    /// Counts tickers from here on.
    pub(crate) fn count(&self) {
        self.counts.store(true, Ordering::Relaxed);
    }

    /// What has happened since this was last asked.
    pub(crate) fn happenings(&self) -> Vec<Happening> {
        self.ask(Vec::new, |script, now| {
            script.advance(now);
            script.take_happenings()
        })
    }

    /// When something begins or ends next, as far as the clock decides.
    pub(crate) fn next(&self) -> Option<Instant> {
        let began = *self.began.get()?;
        self.ask(|| None, |script, _| script.next_time()).map(|time| began + time)
    }

    /// That time of the script's clock; now, while it has not started.
    pub(crate) fn instant(&self, time: Duration) -> Instant {
        self.began.get().map_or_else(Instant::now, |began| *began + time)
    }

    pub(crate) fn on_ticker(&self, product: &str) -> Vec<Treated> {
        self.ask(Vec::new, |script, now| script.on_ticker(product, now))
    }

    /// Counts a ticker that was made; those from before the first subscription do not count.
    pub(crate) fn count_ticker(&self, product: &str) {
        if self.counts.load(Ordering::Relaxed) {
            self.ask(|| (), |script, now| script.count_ticker(product, now));
        }
    }

    pub(crate) fn mutes(&self, product: &str) -> Vec<(Arc<str>, Connection)> {
        self.current(Vec::new, |script| script.mutes(product))
    }

    pub(crate) fn keeps_greeting(&self, product: &str) -> bool {
        self.current(|| false, |script| script.keeps_greeting(product))
    }

    /// The stall that hits a new connection, and when it ends.
    pub(crate) fn stalls_new(&self) -> Option<(Arc<str>, Option<Instant>)> {
        let (fault, end) = self.current(|| None, |script| script.stalls_new())?;
        Some((fault, end.map(|end| self.instant(end))))
    }

    pub(crate) fn outage(&self) -> Option<Arc<str>> {
        self.current(|| None, |script| script.outage())
    }

    pub(crate) fn on_accept(&self) -> Option<Duration> {
        self.ask(|| None, Script::on_accept)
    }

    pub(crate) fn refuses(&self, product: &str) -> Option<(Arc<str>, Refusing)> {
        self.current(|| None, |script| script.refuses(product))
    }

    pub(crate) fn on_rest(&self, product: Option<&str>) -> Option<RestTrouble> {
        self.ask(|| None, |script, now| script.on_rest(product, now))
    }

    pub(crate) fn is_gone(&self, product: &str) -> bool {
        self.ask(|| false, |script, now| script.is_gone(product, now))
    }

    fn current<T>(&self, without: fn() -> T, question: impl FnOnce(&Script) -> T) -> T {
        self.ask(without, |script, now| {
            script.advance(now);
            question(script)
        })
    }

    fn ask<T>(&self, without: fn() -> T, question: impl FnOnce(&mut Script, Duration) -> T) -> T {
        let Some(script) = &self.script else { return without() };
        let now = self.began.get().map_or(Duration::ZERO, Instant::elapsed);
        question(&mut script.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}
