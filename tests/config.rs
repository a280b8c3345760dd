//! The configuration as a user meets it: every problem at once, each with its key, its source and what is allowed; and
//! every configuration that is shipped is valid.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use support::{SOON, ledgerflux};
use testkit::Scratch;

async fn check(file: &Path) -> (bool, String) {
    let mut process = ledgerflux().args(["config", "check", "--config"]).arg(file).spawn();
    let status = process.wait(SOON).await;
    (status.success(), format!("{}{}", process.stdout(), process.stderr()))
}

#[tokio::test]
async fn every_problem_is_told_at_once() {
    let scratch = Scratch::new();
    let file = scratch.join("bad.toml");
    std::fs::write(
        &file,
        "[bus]\nshards = 0\n[feed]\nsource = \"telepathy\"\nproduts = []\n[gateway]\nlisten = \"everywhere\"\n\
         [snapshotter]\nkeep = \"5s\"\n[store]\npartition_width = \"90s\"\n[no_such_section]\nx = 1\n",
    )
    .unwrap();
    let mut process = ledgerflux()
        .args(["config", "check", "--config"])
        .arg(&file)
        .env("LEDGERFLUX_NORMALIZER__FETCH_WAIT", "forever")
        .spawn();
    assert_eq!(process.wait(SOON).await.code(), Some(2));
    let told = format!("{}{}", process.stdout(), process.stderr());
    for part in [
        "bus.shards",
        "feed.source",
        "telepathy",
        "feed.produts",
        "gateway.listen",
        "everywhere",
        "snapshotter.keep",
        "store.partition_width",
        "no_such_section",
        "LEDGERFLUX_NORMALIZER__FETCH_WAIT",
        "bad.toml",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
}

#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let scratch = Scratch::new();
    let file = scratch.join("good.toml");
    std::fs::write(&file, "[telemetry]\nlog = \"warn\"\n[bus]\nshards = 2\n[data]\ndir = \"from-file\"\n")
        .unwrap();
    let mut process = ledgerflux()
        .args(["config", "print", "--data-dir", "from-flag", "--config"])
        .arg(&file)
        .env("LEDGERFLUX_BUS__SHARDS", "8")
        .env("LEDGERFLUX_STORE__URL", "postgres://user:sesame@127.0.0.1/x")
        .spawn();
    assert!(process.wait(SOON).await.success(), "{}", process.stderr());
    let printed = process.stdout();
    for part in ["shards = 8", "LEDGERFLUX_BUS__SHARDS", "from-flag", "--data-dir", "warn", "good.toml"] {
        assert!(printed.contains(part), "{part} is missing in:\n{printed}");
    }
    assert!(!printed.contains("sesame"), "a password is printed:\n{printed}");
}

#[tokio::test]
async fn every_shipped_configuration_is_valid() {
    let root = testkit::workspace_root();
    let mut found = 0;
    for directory in ["kustomize", "docs", "observability"] {
        let mut pending = vec![root.join(directory)];
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ledgerflux"))
                && path.extension().is_some_and(|extension| extension == "toml")
            {
                let (valid, told) = check(&path).await;
                assert!(valid, "{}: {told}", path.display());
                found += 1;
            }
        }
    }
    assert!(found > 0, "no shipped configuration was found");
}

#[tokio::test]
async fn help_shows_examples() {
    for command in [
        &["--help"][..],
        &["up", "--help"],
        &["simulator", "--help"],
        &["retention", "--help"],
        &["rejects", "--help"],
        &["reshard", "--help"],
        &["keys", "--help"],
    ] {
        let mut process = ledgerflux().args(command).spawn();
        assert!(process.wait(SOON).await.success());
        assert!(process.stdout().contains("Example"), "{command:?}:\n{}", process.stdout());
    }
}
