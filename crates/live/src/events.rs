//! The newest events of all feeds.

use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc};

use domain::FeedEvent;

/// The newest events under a running index that never repeats.
#[derive(Debug)]
pub(crate) struct EventLog {
    events: VecDeque<Arc<FeedEvent>>,
    first: u64,
    room: NonZeroUsize,
}

impl EventLog {
    pub(crate) fn new(room: NonZeroUsize) -> Self {
        Self { events: VecDeque::new(), first: 0, room }
    }

    pub(crate) fn push(&mut self, event: FeedEvent) {
        self.events.push_back(Arc::new(event));
        if self.events.len() > self.room.get() {
            self.events.pop_front();
            self.first += 1;
        }
    }

    /// The index that the next event will get.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// How many events between `index` and the oldest one here are gone, and those from `index` on that are here.
    pub(crate) fn since(&self, index: u64) -> (u64, impl Iterator<Item = &Arc<FeedEvent>>) {
        let gone = self.first.saturating_sub(index);
        let offset = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        (gone, self.events.iter().skip(offset))
    }
}
