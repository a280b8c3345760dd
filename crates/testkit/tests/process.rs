//! The process harness, with a shell in the place of the binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use testkit::{Process, ProcessBuilder, Signal, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

fn shell(script: &str) -> ProcessBuilder {
    Process::builder("/bin/sh").args(["-c", script])
}

fn is_alive(pid: u32) -> bool {
    // A zombie still has a directory; its state is in the third field.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn addresses_and_output_are_collected() {
    let mut process = shell(
        "echo welcome; echo gateway=127.0.0.1:4711; echo feed=ws://127.0.0.1:1/x; echo oops >&2; sleep 60",
    )
    .env("UNUSED", "1")
    .spawn();
    assert_eq!(process.address("gateway", PATIENCE).await, "127.0.0.1:4711");
    assert_eq!(process.address("feed", PATIENCE).await, "ws://127.0.0.1:1/x");
    assert_eq!(process.output_with("oop", PATIENCE).await, "oops");
    assert!(process.stdout().starts_with("welcome\ngateway="));
    assert_eq!(process.stderr(), "oops");
    assert!(process.is_running());
}

#[tokio::test]
async fn terminate_waits_for_an_orderly_end() {
    let mut process =
        shell("trap 'echo drained; exit 7' TERM; echo up=a:1; while :; do sleep 0.01; done").spawn();
    process.address("up", PATIENCE).await;
    assert_eq!(process.terminate(PATIENCE).await.code(), Some(7));
    process.output_with("drained", PATIENCE).await;
    assert!(!process.is_running());
}

#[tokio::test]
async fn kill_does_not_ask() {
    let mut process = shell("trap '' TERM INT; echo up=a:1; while :; do sleep 0.01; done").spawn();
    process.address("up", PATIENCE).await;
    process.signal(Signal::TERM);
    assert!(process.is_running());
    assert_eq!(process.kill().await.signal(), Some(9));
}

#[tokio::test]
#[should_panic(expected = "did not end within")]
async fn a_process_that_does_not_end_fails_the_test() {
    let mut process = shell("trap '' TERM; echo up=a:1; while :; do sleep 0.01; done").spawn();
    process.address("up", PATIENCE).await;
    process.terminate(Duration::from_millis(200)).await;
}

#[tokio::test]
#[should_panic(expected = "cannot open the feed")]
async fn a_process_that_ends_early_fails_with_its_output() {
    shell("echo cannot open the feed >&2; exit 3").spawn().address("gateway", PATIENCE).await;
}

#[tokio::test]
async fn drop_kills() {
    let mut process = shell("trap '' TERM; echo up=a:1; while :; do sleep 0.01; done").spawn();
    process.address("up", PATIENCE).await;
    let pid = process.id();
    assert!(is_alive(pid));
    drop(process);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn the_environment_of_the_test_does_not_leak_in() {
    let mut process = shell("env | grep -c '^LEDGERFLUX_'; :").env("LEDGERFLUX_ONLY", "1").spawn();
    process.wait(PATIENCE).await;
    process.output_with("1", PATIENCE).await;
}

/// A child must not survive the test process, whatever ends it. This test starts itself again as a process that starts a
/// child and is then killed.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn children_end_when_the_test_process_is_killed() {
    const ROLE: &str = "TESTKIT_ROLE_OF_A_TEST_PROCESS";
    if std::env::var_os(ROLE).is_some() {
        // Another thread than the one that lives on: the child must not end with the thread that asked for it.
        let child = std::thread::spawn(|| shell("while :; do sleep 0.01; done").spawn()).join().unwrap();
        std::fs::write(std::env::var_os(ROLE).unwrap(), format!("{}\n", child.id())).unwrap();
        std::future::pending::<()>().await;
    }
    let scratch = testkit::Scratch::new();
    let file = scratch.join("pid");
    let name = "children_end_when_the_test_process_is_killed";
    let mut victim =
        Process::builder(std::env::current_exe().unwrap()).args(["--exact", name]).env(ROLE, &file).spawn();
    let pid: u32 = eventually(PATIENCE, || async {
        std::fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.strip_suffix('\n').and_then(|pid| pid.parse().ok()))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_alive(pid));
    victim.kill().await;
    eventually(PATIENCE, || async { !is_alive(pid) }).await;
}
