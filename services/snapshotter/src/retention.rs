//! Dropping what need not be kept, again and again.

use domain::UnixNanos;
use runtime::{ErrorChain, RoleContext};
use store::Store;
use tracing::{info, warn};

use crate::Config;

/// Runs retention every `config.retention_interval` until shutdown is requested; returns at once when everything is to
/// be kept. Running it twice at the same time, or beside the command line's, does no harm.
pub async fn retention(config: Config, store: Store, context: RoleContext) {
    let Some(keep) = config.keep else { return };
    loop {
        match store.retain(keep, UnixNanos::now()).await {
            Ok(report) => {
                if report.partitions_dropped > 0 || report.rows_deleted > 0 {
                    let horizon = report.horizon.map(|horizon| horizon.to_string()).unwrap_or_default();
                    let (partitions, rows) = (report.partitions_dropped, report.rows_deleted);
                    info!(horizon, partitions, rows, "retention dropped what is older than the horizon");
                }
            }
            Err(error) => warn!(error = %ErrorChain(&error), "retention did not run; it is tried again"),
        }
        tokio::select! {
            () = tokio::time::sleep(config.retention_interval) => {}
            () = context.shutdown.requested() => return,
        }
    }
}
