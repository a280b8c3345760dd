use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
#[error("the disk is full")]
struct DiskFull;

#[tokio::test]
async fn a_failure_stops_the_process_and_comes_out_of_join() {
    let shutdown = Shutdown::new();
    let mut tasks = TaskSet::new(shutdown.clone());
    tasks.spawn("writer", OnFailure::StopProcess, async { Err(DiskFull) });
    let requested = shutdown.clone();
    tasks.spawn("reader", OnFailure::StopProcess, async move {
        requested.requested().await;
        Ok::<(), Infallible>(())
    });
    shutdown.requested().await;
    let failures = tasks.join(SECOND).await.unwrap_err();
    assert_eq!(failures.failed.len(), 1);
    assert_eq!(failures.failed[0].task, "writer");
    assert!(failures.failed[0].source.is::<DiskFull>());
    assert!(failures.unfinished.is_empty());
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let shutdown = Shutdown::new();
    let mut tasks = TaskSet::new(shutdown.clone());
    tasks.spawn("writer", OnFailure::StopProcess, async {
        if true { panic!("index {}", 7) } else { Ok::<(), DiskFull>(()) }
    });
    shutdown.requested().await;
    let failures = tasks.join(SECOND).await.unwrap_err();
    assert_eq!(failures.to_string(), "writer failed: panicked: index 7");
}

#[tokio::test]
async fn a_failure_that_is_only_logged_stops_nobody() {
    let shutdown = Shutdown::new();
    let mut tasks = TaskSet::new(shutdown.clone());
    tasks.spawn("extra", OnFailure::Log, async { Err(DiskFull) });
    tasks.finished().await;
    assert!(!shutdown.is_requested());
    tasks.join(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restarting_task_runs_until_it_succeeds() {
    let mut tasks = TaskSet::new(Shutdown::new());
    let runs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&runs);
    tasks.spawn_restarting("feed", Backoff::new(SECOND, SECOND * 8), move || {
        let run = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                0 => Err(DiskFull),
                1 => panic!("boom"),
                _ => Ok(()),
            }
        }
    });
    tasks.finished().await;
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_wait_for_a_restart() {
    let shutdown = Shutdown::new();
    let mut tasks = TaskSet::new(shutdown.clone());
    tasks.spawn_restarting("feed", Backoff::new(SECOND * 60, SECOND * 60), || async { Err(DiskFull) });
    tokio::task::yield_now().await;
    shutdown.request();
    tasks.join(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tasks_that_do_not_end_are_named_and_aborted() {
    let mut tasks = TaskSet::new(Shutdown::new());
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    tasks.spawn("stuck", OnFailure::Log, async move {
        let _inside = inside;
        std::future::pending::<Result<(), Infallible>>().await
    });
    tasks.spawn("quick", OnFailure::Log, async { Ok::<(), Infallible>(()) });
    let failures = tasks.join(SECOND).await.unwrap_err();
    assert_eq!(failures.unfinished, ["stuck"]);
    assert_eq!(Arc::strong_count(&held), 1, "the task still runs");
}
