use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::AbortHandle;

use super::{TelemetryError, process};
use crate::metrics::{BUILD_INFO, PROCESS_START_TIME_SECONDS, describe};

/// Upper bounds of histograms whose name ends in `_seconds`. A hop inside the machine takes well below 5 ms, a slow
/// database seconds.
pub const SECONDS_BUCKETS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

/// Upper bounds of all other histograms: sizes in bytes and counts per batch.
const SIZE_BUCKETS: [f64; 11] =
    [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

/// How often histograms are condensed and the process looks at itself.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);

/// The `metrics` facade has one recorder per process, and this is the one way to its contents.
static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// All metrics in Prometheus' text format; `None` before [`super::init`].
pub fn render_metrics() -> Option<String> {
    let handle = HANDLE.get()?;
    process::record();
    Some(handle.render())
}

pub(super) fn install() -> Result<(), TelemetryError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&SIZE_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::RecorderInstalled)?;
    HANDLE.set(handle).map_err(|_| TelemetryError::RecorderInstalled)?;
    describe();
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::gauge!(PROCESS_START_TIME_SECONDS).set(seconds_since_1970());
    process::record();
    Ok(())
}

#[allow(
    clippy::disallowed_methods,
    reason = "the start of the process is read once, and this crate knows no domain"
)]
fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Without it histograms would keep every value until somebody renders them.
pub(super) fn spawn_upkeep() -> AbortHandle {
    let upkeep = tokio::spawn(async {
        let mut ticks = tokio::time::interval(UPKEEP_PERIOD);
        loop {
            ticks.tick().await;
            process::record();
            if let Some(handle) = HANDLE.get() {
                handle.run_upkeep();
            }
        }
    });
    upkeep.abort_handle()
}
