//! Waiting for conditions, certificates, temporary directories.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::Cell;
use std::time::Duration;

use testkit::{Scratch, TlsMaterial, eventually, tool};

#[tokio::test]
async fn eventually_returns_what_the_check_yields() {
    let calls = Cell::new(0);
    let value = eventually(Duration::from_secs(10), || async {
        calls.set(calls.get() + 1);
        (calls.get() == 3).then_some("found")
    })
    .await;
    assert_eq!((value, calls.get()), ("found", 3));
    eventually(Duration::from_secs(1), || async { true }).await;
}

#[tokio::test]
#[should_panic(expected = "tests/waiting.rs")]
async fn eventually_names_the_place_that_waited() {
    eventually(Duration::from_millis(20), || async { false }).await;
}

#[tokio::test]
#[should_panic(expected = "the broker is away")]
async fn eventually_names_the_last_error() {
    eventually(Duration::from_millis(20), || async { Err::<(), _>("the broker is away") }).await;
}

#[tokio::test]
#[should_panic(expected = "the check itself did not end")]
async fn a_check_that_hangs_is_bounded_too() {
    eventually(Duration::from_millis(20), std::future::pending::<bool>).await;
}

#[test]
fn tls_material_is_written_and_removed() {
    let material = TlsMaterial::localhost();
    assert_eq!(std::fs::read_to_string(material.certificate_path()).unwrap(), material.certificate_pem);
    assert!(std::fs::read_to_string(material.key_path()).unwrap().contains("PRIVATE KEY"));
    let path = material.key_path();
    drop(material);
    assert!(!path.exists());
}

#[test]
fn a_scratch_directory_is_removed_with_what_is_in_it() {
    let scratch = Scratch::new();
    std::fs::write(scratch.join("file"), "x").unwrap();
    let path = scratch.path().to_path_buf();
    drop(scratch);
    assert!(!path.exists());
}

#[test]
#[should_panic(expected = "run `make tools`")]
fn a_missing_tool_says_what_to_do() {
    tool("no-such-program");
}
