//! Heartbeats: when the next full second begins, and what each product's heartbeat says.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::UnixNanos;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::outlet::Outlet;
use crate::wire;

/// The exchange sends heartbeats on the full second.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// Fires on each full second of the wall clock.
pub(crate) fn full_seconds() -> Interval {
    let now = UnixNanos::now();
    let passed = now.saturating_since(now.floor_to(EVERY));
    let mut seconds = interval_at(Instant::now() + EVERY.saturating_sub(passed), EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    seconds
}

/// The newest sequence and trade_id of each product.
#[derive(Debug, Default)]
pub(crate) struct LastKnown(BTreeMap<String, (u64, u64)>);

impl LastKnown {
    pub(crate) fn of<'a>(products: impl IntoIterator<Item = &'a String>) -> Self {
        Self(products.into_iter().map(|product| (product.clone(), (0, 0))).collect())
    }

    pub(crate) fn advance(&mut self, product: &str, sequence: Option<u64>, trade_id: Option<u64>) {
        if let Some(known) = self.0.get_mut(product) {
            known.0 = known.0.max(sequence.unwrap_or(0));
            known.1 = known.1.max(trade_id.unwrap_or(0));
        }
    }

    /// Sends the heartbeat of each product to those who subscribed to it.
    pub(crate) async fn beat(&self, outlet: &mut Outlet) {
        let second = UnixNanos::now().floor_to(EVERY);
        for (product, (sequence, trade_id)) in &self.0 {
            let message = wire::heartbeat(product, *sequence, *trade_id, second);
            outlet.other(Some("heartbeat"), Some(product), &message).await;
        }
    }
}
