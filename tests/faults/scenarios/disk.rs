//! The disk of the broker or of the database is full. Needs root, for small file systems of our own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::FutureExt as _;

use super::{Scenario, configure};
use crate::{
    roles::{self, Role},
    support::{self, START},
    world::{Setup, World},
};

/// How long the disk stays full.
const FULL_FOR: Duration = Duration::from_secs(15);
const MIB: usize = 1024 * 1024;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("disk-full-nats", "the disk of nats-server is full for 15 s", |w| {
            nats(w).boxed_local()
        })
        .prepare(|setup| {
            setup.nats_store = Some(mount("nats", setup.seed));
            // The streams reserve what they may hold, and the disk is small.
            for stream in ["RAW", "TICKS", "REJECTS", "EVENTS"] {
                configure(setup, &format!("BUS__{stream}_SIZE_MAX_BYTES"), "16777216");
            }
        }),
        Scenario::new("disk-full-postgres", "the disk of PostgreSQL is full for 15 s", |w| {
            postgres(w).boxed_local()
        })
        .prepare(|setup: &mut Setup| setup.postgres_data = Some(mount("postgres", setup.seed))),
    ]
}

/// A file system of 384 MiB; the mount point of an earlier run is used again.
fn mount(name: &str, seed: u64) -> PathBuf {
    let point = std::env::temp_dir().join(format!("ledgerflux-faults-{name}-{seed}"));
    std::fs::create_dir_all(&point).expect("a mount point");
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", "size=384m,mode=0755", "ledgerflux-faults"]).arg(&point);
    let mounted = command.status().is_ok_and(|status| status.success());
    assert!(mounted, "a small file system cannot be mounted: this needs root, or --skip disk-full");
    let data = point.join("data");
    std::fs::create_dir(&data).expect("a directory on the small disk");
    data
}

/// What fills the disk; removed on drop.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(data: &Path) -> Self {
        let path = data.with_file_name("ballast");
        let mut file = std::fs::File::create(&path).expect("a file on the small disk");
        let piece = vec![0; MIB];
        // Until nothing more fits: that is what this is for.
        while file.write_all(&piece).is_ok() {}
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Nobody frees a page of the last file while another one grows: the disk is topped up until the time is over.
async fn full(world: &mut World, data: &Path, role: Role, metric: &str, more_than: u64) {
    let ops = world.process(role).address("ops", START).await;
    let count = async || {
        let (_, metrics) = roles::get(&ops, "/metrics").await.expect("metrics");
        support::counted(&metrics, metric)
    };
    let before = count().await;
    let ballast = Ballast::fill(data);
    world.load_for(FULL_FOR).await;
    let after = count().await;
    assert!(
        after > before + more_than,
        "everything could be written, so nothing was tested: {before}, {after}"
    );
    drop(ballast);
}

async fn nats(world: &mut World) {
    let data = world.setup.nats_store.clone().expect("a small disk");
    let a_second = u64::from(world.setup.rate);
    full(world, &data, Role::Ingestor(0), "ledgerflux_bus_raw_buffered_ticks", a_second).await;
    // nats-server freezes a stream whose file cannot be written, says so on /healthz, and wants to be restarted, which
    // is what a liveness probe does.
    world.nats.node(0).restart().await;
    world.recovers("the disk of nats-server was full").await;
}

async fn postgres(world: &mut World) {
    let data = world.setup.postgres_data.clone().expect("a small disk");
    full(world, &data, Role::Snapshotter(0), "ledgerflux_snapshotter_write_retries_total", 0).await;
    if !world.postgres.is_running().await {
        world.postgres.restart().await;
    }
    world.recovers("the disk of PostgreSQL was full").await;
}

/// Takes the small file systems away again, after their servers have ended.
pub(super) fn unmount(setup: &Setup) {
    for data in setup.nats_store.iter().chain(&setup.postgres_data) {
        let point = data.parent().expect("a mount point");
        let unmounted = Command::new("umount").arg("--lazy").arg(point).status();
        if unmounted.is_ok_and(|status| status.success()) {
            let _ = std::fs::remove_dir(point);
        }
    }
}
