//! The wall clock of every role is set forward and back, by `libfaketime` (Debian package `faketime`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::FutureExt as _;

use super::Scenario;
use crate::world::{Setup, World};

/// How long each setting of the clock lasts. The library looks at it once a second.
const EACH: Duration = Duration::from_secs(8);

const LOOKED_AT: Duration = Duration::from_secs(2);
const MOVES_WITHIN: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const WRITTEN: &str = "SELECT product, run, last_seq, updated_at FROM snapshots";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("clock-forward", "the wall clock is set forward by an hour, and back", |w| {
            steps(w, ["+3600", "+0"]).boxed_local()
        })
        .prepare(prepare),
        Scenario::new("clock-back", "the wall clock is set back by an hour, and forward again", |w| {
            steps(w, ["-3600", "+0"]).boxed_local()
        })
        .prepare(prepare),
    ]
}

/// The exchange keeps the true time, as the real one does.
fn prepare(setup: &mut Setup) {
    let file = file(setup.seed);
    set(&file, "+0");
    for (name, value) in [
        ("LD_PRELOAD", library().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        // Timers go on as they do when somebody sets the clock.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ] {
        setup.environment.push((name.to_owned(), value));
    }
}

fn file(seed: u64) -> PathBuf {
    crate::report::directory().join(format!("clock-{seed}"))
}

/// Whole at any moment for whoever reads it.
fn set(file: &Path, clock: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{clock}\n")).expect("the clock is written");
    std::fs::rename(new, file).expect("the clock is set");
}

fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found =
        places.map(|place| place.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is not there: apt-get install faketime, or --skip clock")
}

/// By how many seconds the clock of whoever writes is off, by what it wrote last.
const OFF_BY: &str = "SELECT round(extract(epoch FROM max(updated_at) - now())) FROM snapshots";
const OFF_BY_TOLERANCE: i64 = 60;

/// Each product's snapshot is written about once a second, whatever the clock says, and by that clock.
async fn snapshots_move(world: &World, clock: &str) {
    let written = async || world.postgres.psql(&world.database, WRITTEN).await;
    let rows = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (before, since) = (rows(written().await), Instant::now());
    loop {
        let now = rows(written().await);
        let stands: Vec<&String> = before.iter().filter(|row| now.contains(row)).collect();
        if !before.is_empty() && stands.is_empty() {
            break;
        }
        assert!(
            since.elapsed() < MOVES_WITHIN,
            "with the clock at {clock} these snapshots stand still: {stands:?}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let off_by: i64 = world.postgres.psql(&world.database, OFF_BY).await.parse().expect("seconds");
    let wanted: i64 = clock.parse().expect("seconds");
    assert!((off_by - wanted).abs() < OFF_BY_TOLERANCE, "the clock at {clock} is off by {off_by} s");
}

async fn steps(world: &mut World, clocks: [&'static str; 2]) {
    for clock in clocks {
        set(&file(world.setup.seed), clock);
        world.recovers(&format!("clock at {clock}")).await;
        // Time for the library to look, and for what the clock said before to be over.
        world.load_for(LOOKED_AT).await;
        snapshots_move(world, clock).await;
        world.load_for(EACH).await;
    }
    world.recovers("the clock is right again").await;
}
