//! Remembering message ids for a while.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

/// The most ids that are remembered, whatever the window: about 100 bytes each.
const IDS_MAX: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Dedup {
    sequences: HashMap<Arc<str>, u64>,
    order: VecDeque<(Instant, Arc<str>)>,
}

impl Dedup {
    /// The sequence of the message that came with this id within the window.
    pub(super) fn find(&mut self, id: &str, now: Instant, window: Duration) -> Option<u64> {
        while let Some((at, _)) = self.order.front()
            && (now.saturating_duration_since(*at) >= window || self.order.len() > IDS_MAX)
            && let Some((_, id)) = self.order.pop_front()
        {
            self.sequences.remove(&id);
        }
        self.sequences.get(id).copied()
    }

    pub(super) fn remember(&mut self, id: &str, sequence: u64, now: Instant) {
        let id: Arc<str> = id.into();
        self.sequences.insert(Arc::clone(&id), sequence);
        self.order.push_back((now, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn forgets_after_the_window() {
        let mut dedup = Dedup::default();
        let window = Duration::from_secs(2);
        assert_eq!(dedup.find("a", Instant::now(), window), None);
        dedup.remember("a", 7, Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(dedup.find("a", Instant::now(), window), Some(7));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(dedup.find("a", Instant::now(), window), None);
    }

    #[tokio::test(start_paused = true)]
    async fn is_bounded() {
        let mut dedup = Dedup::default();
        let now = Instant::now();
        for number in 0..=IDS_MAX as u64 {
            let id = number.to_string();
            assert_eq!(dedup.find(&id, now, Duration::MAX), None);
            dedup.remember(&id, number, now);
        }
        assert_eq!(dedup.find("0", now, Duration::MAX), None);
        assert_eq!(dedup.find("1", now, Duration::MAX), Some(1));
    }
}
