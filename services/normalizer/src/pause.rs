//! Waiting for the snapshotters before the streams of ticks and events would drop what they have not read.

use std::time::{Duration, Instant};

use bus::{BrokerError, Bus, StreamKind, Work};
use metrics::gauge;
use tracing::{info, warn};

use crate::{metrics as names, worker::Worker};

/// A normalizer pauses while the unread backlog of the snapshotters is this share of what `LF_TICKS` may hold, in percent, or
/// the gaps that a ledger has not read are this share of `LF_EVENTS`.
const PERCENT_MAX: u64 = 80;
/// How often the backlog is measured, and after how many ticks at the latest.
const MEASURED_EVERY: Duration = Duration::from_millis(500);
const MEASURED_TICKS: u64 = 8192;

/// Whether the snapshotters are too far behind, as of the last measurement.
pub(crate) struct Pause {
    paused: bool,
    measured_at: Instant,
    unmeasured_ticks: u64,
}

impl Pause {
    pub(crate) fn new() -> Self {
        Self { paused: false, measured_at: Instant::now(), unmeasured_ticks: 0 }
    }

    /// Notes that ticks were published.
    pub(crate) fn published(&mut self, ticks: u64) {
        self.unmeasured_ticks += ticks;
    }

    /// Whether to wait: then `LF_RAW` is left to fill, which refuses instead of dropping. Returns after a moment, so that
    /// the caller asks again. What cannot be measured stays as it was. `message_bytes`: how large those are that were published
    /// lately, which are what waits.
    pub(crate) async fn is_due(&mut self, worker: &Worker, message_bytes: u64) -> bool {
        let due = self.measured_at.elapsed() >= MEASURED_EVERY || self.unmeasured_ticks >= MEASURED_TICKS;
        if !due && !self.paused {
            return false;
        }
        self.measured_at = Instant::now();
        self.unmeasured_ticks = 0;
        if let Ok(percent) = unread_percent(&worker.bus, message_bytes).await {
            self.set(worker, percent);
        }
        if self.paused {
            tokio::select! {
                () = tokio::time::sleep(MEASURED_EVERY) => {}
                () = worker.context.shutdown.requested() => {}
            }
        }
        self.paused
    }

    fn set(&mut self, worker: &Worker, percent: u64) {
        let paused = percent >= PERCENT_MAX;
        if paused == self.paused {
            return;
        }
        self.paused = paused;
        let shard = worker.shard;
        gauge!(names::PAUSED, "shard" => shard.to_string()).set(f64::from(u8::from(paused)));
        if paused {
            warn!(%shard, percent, "paused: the snapshotters are too far behind");
            worker.latch.set_waiting(format!(
                "paused: {percent} % of what a stream may hold waits for the snapshotters"
            ));
        } else {
            info!(%shard, percent, "goes on: the snapshotters have caught up");
            worker.latch.set_ready();
        }
    }
}

/// How much of what `LF_TICKS` or `LF_EVENTS` may hold waits for its readers, in percent, whichever is more. The average of the
/// whole stream says too little where small messages, long read, lie before large ones.
async fn unread_percent(bus: &Bus, message_bytes: u64) -> Result<u64, BrokerError> {
    let mut percent = 0;
    for shard in bus.shards().shards() {
        percent += bus.lag_of_messages(Work::Ticks, shard, message_bytes).await?.percent_of_limit;
    }
    let events = bus.stream_state(StreamKind::Events).await?;
    // With room left nothing is dropped, whoever has read it.
    if events.size_bytes >= events.size_bytes_max / 100 * PERCENT_MAX {
        for shard in bus.shards().shards() {
            // Each ledger reads the gaps of all shards.
            percent = percent.max(bus.lag(Work::Gaps, shard).await?.percent_of_limit);
        }
    }
    Ok(percent)
}
