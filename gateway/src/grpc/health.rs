//! The gRPC health service, which follows the readiness of the process.

use proto::v1::{market_data_service_server, streaming_service_server};
use runtime::RoleContext;
use tokio_util::task::TaskTracker;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, health_reporter},
};

/// The whole server, and each of its services.
const SERVICES: [&str; 3] =
    ["", streaming_service_server::SERVICE_NAME, market_data_service_server::SERVICE_NAME];

/// The service, kept up to date until the shutdown.
pub(super) fn service(tracker: &TaskTracker, ctx: &RoleContext) -> HealthServer<impl Health> {
    let (reporter, service) = health_reporter();
    let (ctx, mut changes) = (ctx.clone(), ctx.readiness.changes());
    tracker.spawn(async move {
        loop {
            let ready = *changes.borrow_and_update();
            set(&reporter, if ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
            if !matches!(ctx.shutdown.run_until(changes.changed()).await, Some(Ok(()))) {
                set(&reporter, ServingStatus::NotServing).await;
                return;
            }
        }
    });
    service
}

async fn set(reporter: &HealthReporter, status: ServingStatus) {
    for name in SERVICES {
        reporter.set_service_status(name, status).await;
    }
}
