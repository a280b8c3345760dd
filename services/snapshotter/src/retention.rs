//! Dropping what need not be kept, and measuring what is, again and again.

use std::time::Duration;

use bus::{Bus, PublishError};
use domain::{EventKind, FeedEvent, Gap, UnixNanos};
use futures::{TryStreamExt as _, stream};
use runtime::{ErrorChain, RoleContext};
use store::Store;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::{Config, ledger};

/// How often the history is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(60);
/// How often the gaps are.
const MEASURE_GAPS_INTERVAL: Duration = Duration::from_secs(5);
/// How many gaps that were given up are kept to be told while the broker is away. Who fetches them meanwhile does so in vain.
const UNTOLD_MAX: usize = 10_000;
/// How many are told at a time.
const TOLD_AT_ONCE_MAX: usize = 64;

/// Runs retention every `config.retention_interval`, unless everything is to be kept, and measures the history once a
/// minute and the gaps every five seconds, until shutdown is requested. It tells which gaps were given up. Running it twice at the same time, or beside the command line's, does no harm.
pub async fn retention(config: Config, bus: Bus, store: Store, context: RoleContext) {
    let mut given_up = Vec::new();
    let mut retain = tokio::time::interval(config.retention_interval);
    let mut measure = tokio::time::interval(MEASURE_INTERVAL);
    // After a call that took longer than its interval, the next one does not follow at once.
    retain.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut measure_gaps = tokio::time::interval(MEASURE_GAPS_INTERVAL);
    measure_gaps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.requested() => return,
            _ = retain.tick(), if config.keep.is_some() => {
                if let Some(keep) = config.keep {
                    given_up.extend(drop_old(&store, keep).await);
                    given_up.truncate(UNTOLD_MAX);
                    match tell(&bus, &context, &given_up).await {
                        Ok(()) => given_up.clear(),
                        Err(error) => {
                            warn!(error = %ErrorChain(&error), "given-up gaps were not told; it is tried again");
                        }
                    }
                }
            }
            _ = measure_gaps.tick() => {
                if let Err(error) = ledger::measure(&store).await {
                    warn!(error = %ErrorChain(&error), "the gaps were not measured; it is tried again");
                }
            }
            _ = measure.tick() => {
                if let Err(error) = store.measure().await {
                    warn!(error = %ErrorChain(&error), "the history was not measured; it is tried again");
                }
            }
        }
    }
}

/// Tells whoever fetches missing trades that these would be refused.
async fn tell(bus: &Bus, context: &RoleContext, given_up: &[Gap]) -> Result<(), PublishError> {
    let events = given_up.iter().map(|gap| FeedEvent {
        instrument: gap.instrument.clone(),
        time: UnixNanos::now(),
        source: format!("snapshotter/{}", context.instance),
        kind: EventKind::Repaired(gap.clone()),
    });
    stream::iter(events.map(Ok))
        .try_for_each_concurrent(TOLD_AT_ONCE_MAX, |event| async move { bus.publish_event(&event).await })
        .await
}

/// Returns the gaps that were given up.
async fn drop_old(store: &Store, keep: Duration) -> Vec<Gap> {
    match store.retain(keep, UnixNanos::now()).await {
        Ok(report) => {
            if report.partitions_dropped > 0 || report.rows_deleted > 0 {
                let horizon = report.horizon.map(|horizon| horizon.to_string()).unwrap_or_default();
                let (partitions, rows) = (report.partitions_dropped, report.rows_deleted);
                info!(horizon, partitions, rows, "retention dropped what is older than the horizon");
            }
            if !report.gaps_given_up.is_empty() {
                warn!(
                    gaps = report.gaps_given_up.len(),
                    "gaps were still open when their time was dropped: given up"
                );
            }
            report.gaps_given_up
        }
        Err(error) => {
            warn!(error = %ErrorChain(&error), "retention did not run; it is tried again");
            Vec::new()
        }
    }
}
