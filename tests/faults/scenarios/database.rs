//! The database goes away, comes back, or does not answer.

use std::time::Duration;

use futures::FutureExt as _;

use super::{Scenario, configure, feed_broken};
use crate::{
    roles::{self, Role},
    support::{self, START},
    world::World,
};

const AWAY_LONG: Duration = Duration::from_secs(120);

const TERMINATE: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'ledgerflux%'";
const LOCK: &str = "BEGIN; LOCK TABLE tick_history IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(30); COMMIT";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("postgres-kill", "kill -9 of PostgreSQL", |w| kills(w).boxed_local()).short(),
        Scenario::new("postgres-restart", "PostgreSQL is restarted", |w| restarts(w).boxed_local()),
        Scenario::new("postgres-away", "PostgreSQL is away for 30 s", |w| away(w).boxed_local()),
        Scenario::new(
            "postgres-away-long",
            "PostgreSQL is away for 120 s, for which neither broker nor ingestor has room",
            |w| away_long(w).boxed_local(),
        )
        .prepare(|setup| {
            // 16 MiB, 8 MiB and 4,096 ticks at 2,000 ticks/s: all three are full within the time, whatever the rate.
            for (limit, at_2000) in [
                ("BUS__TICKS_SIZE_MAX_BYTES", 16 << 20),
                ("BUS__RAW_SIZE_MAX_BYTES", 8 << 20),
                ("BUS__RAW_BUFFER_MAX_TICKS", 4_096),
            ] {
                let limit_here = u64::from(setup.rate) * at_2000 / 2_000;
                configure(setup, limit, &limit_here.to_string());
            }
        })
        .rules(feed_broken)
        .never("overrun"),
        Scenario::new("postgres-terminate", "all backends are terminated", |w| terminate(w).boxed_local())
            .short(),
        Scenario::new("postgres-lock", "tick_history is locked for 30 s", |w| lock(w).boxed_local()),
        Scenario::new("postgres-half-open", "every connection to PostgreSQL is half-open", |w| {
            half_open(w).boxed_local()
        }),
    ]
}

async fn kills(world: &mut World) {
    for _ in 0..(world.setup.count / 4).max(1) {
        world.random_moment(Duration::from_secs(2)).await;
        world.postgres.kill().await;
        world.postgres.restart().await;
        world.recovers("kill -9 PostgreSQL").await;
    }
}

async fn restarts(world: &mut World) {
    world.postgres.restart().await;
    world.recovers("restart of PostgreSQL").await;
}

async fn away(world: &mut World) {
    world.postgres.stop().await;
    world.load_for(super::FROZEN).await;
    world.postgres.restart().await;
    world.recovers("PostgreSQL away").await;
}

async fn away_long(world: &mut World) {
    world.postgres.stop().await;
    world.load_for(AWAY_LONG).await;
    let ops = world.process(Role::Ingestor(0)).address("ops", START).await;
    let (_, metrics) = roles::get(&ops, "/metrics").await.expect("metrics");
    let paused = support::counted(&metrics, "ledgerflux_bus_raw_buffered_ticks");
    println!("    {paused} ticks wait in the ingestor");
    let more_than_usual = u64::from(world.setup.rate);
    assert!(paused > more_than_usual, "the broker had room for everything, so nothing was tested");
    world.postgres.restart().await;
    world.recovers("PostgreSQL away for long").await;
}

async fn terminate(world: &mut World) {
    for _ in 0..(world.setup.count / 4).max(1) {
        world.random_moment(Duration::from_secs(1)).await;
        let terminated: u32 = world.postgres.psql(&world.database, TERMINATE).await.parse().expect("a count");
        assert!(terminated > 0, "there were no backends, so nothing was tested");
        world.recovers("backends terminated").await;
    }
}

async fn lock(world: &mut World) {
    world.postgres.psql(&world.database, LOCK).await;
    world.recovers("table locked").await;
}

async fn half_open(world: &mut World) {
    world.surroundings.links.all("database-").for_each(testkit::Proxy::strand);
    world.recovers("half-open connections to PostgreSQL").await;
}
