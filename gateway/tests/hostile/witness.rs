//! What everybody else sees of a storm, and what it costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::UnixNanos;
use gateway::Config;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{MissedTickBehavior, interval},
};
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Client, Gateway, Publisher, config_with};

/// One storm at a time: memory is that of the process.
static ALONE: Mutex<()> = Mutex::const_new(());
/// How many rounds fill what is kept on purpose: pools, tables, the buffers of the allocator.
const ROUNDS_BEFORE: u32 = 3;
/// After how many rounds the memory is looked at. The least counts: what is lost does not come back.
const ROUNDS_MEASURED: u32 = 3;
/// How many rounds lie between.
const ROUNDS_BETWEEN: u32 = 6;
/// How much the memory may move without meaning anything. A round sends much more than that in all.
const MEMORY_NOISE_KIB: u64 = 10 * 1024;
/// The latest that a tick may come to somebody else. Generous: the storm, the market and the gateway share two cores.
const DELAY_MAX: Duration = Duration::from_secs(5);
const TICKS_PER_SECOND: u64 = 100;

/// A gateway with a market, and a client that takes part in nothing else.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    seen: Arc<AtomicU64>,
    witness: AbortOnDropHandle<Duration>,
    _market: AbortOnDropHandle<()>,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    /// With these keys of the configuration set.
    pub(crate) async fn set(keys: &[(&str, &str)], key: Option<&str>) -> Self {
        let alone = ALONE.lock().await;
        let config = config_with(keys);
        // Small rings, so that they are full before anything is measured.
        let live = live::Config {
            ring_ticks_max: 512.try_into().unwrap(),
            ring_ticks_kept: 512.try_into().unwrap(),
            ..config.live.clone()
        };
        let gateway = Gateway::start(Config { live, ..config }).await;
        let market = AbortOnDropHandle::new(tokio::spawn(market(gateway.bus.clone())));
        let seen = Arc::new(AtomicU64::new(0));
        let mut client = gateway.websocket("/ws").await;
        if let Some(key) = key {
            client.send(&format!(r#"{{"op":"auth","token":"{key}"}}"#)).await;
            assert_eq!(client.json().await["op"], "auth");
        }
        client.send(r#"{"op":"subscribe","products":["BTC-USD"],"want":"lossless"}"#).await;
        let witness = AbortOnDropHandle::new(tokio::spawn(watch(client, Arc::clone(&seen))));
        Self { gateway, seen, witness, _market: market, _alone: alone }
    }

    /// Rounds of a storm, of which the memory must not grow.
    pub(crate) async fn endures<F: Future<Output = ()>>(&self, round: impl Fn(u32) -> F) {
        let mut numbers = 0..;
        let mut storm = async |rounds: u32, is_measured: bool| {
            let mut least = u64::MAX;
            for number in numbers.by_ref().take(rounds as usize) {
                round(number).await;
                if is_measured {
                    least = least.min(self.memory_at_rest().await);
                }
            }
            least
        };
        storm(ROUNDS_BEFORE, false).await;
        let before = storm(ROUNDS_MEASURED, true).await;
        storm(ROUNDS_BETWEEN, false).await;
        let after = storm(ROUNDS_MEASURED, true).await;
        println!("memory: {before} KiB, then {after} KiB");
        assert!(after <= before + MEMORY_NOISE_KIB, "from {before} KiB to {after} KiB");
    }

    /// How much memory there is in use once some further ticks have come through.
    pub(crate) async fn memory_at_rest(&self) -> u64 {
        let seen = self.seen.load(Ordering::Relaxed);
        testkit::eventually(Duration::from_secs(30), || async {
            (self.seen.load(Ordering::Relaxed) > seen + 30).then_some(())
        })
        .await;
        memory_kib()
    }

    /// Ends it. The witness has seen every tick in time.
    pub(crate) async fn close(self) {
        let Self { gateway, witness, seen, .. } = self;
        assert!(!witness.is_finished(), "the witness has lost its stream");
        assert!(gateway.get("/health").await.starts_with("HTTP/1.1 200 "));
        gateway.stop().await;
        let latest = witness.await.expect("the witness saw every tick in order");
        println!("the slowest tick to somebody else: {latest:?}");
        assert!(latest < DELAY_MAX, "a tick took {latest:?} to somebody else");
        assert!(seen.load(Ordering::Relaxed) > 0);
    }
}

async fn market(bus: bus::Bus) {
    let mut publisher = Publisher::on(&bus, "BTC-USD").await;
    let mut pace = interval(Duration::from_secs(1) / u32::try_from(TICKS_PER_SECOND).unwrap());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for sequence in 1.. {
        pace.tick().await;
        publisher.publish([sequence]).await;
    }
}

/// Reads every tick to the end of the gateway, and returns how long the slowest was on its way.
async fn watch(mut client: Client, seen: Arc<AtomicU64>) -> Duration {
    let (mut last, mut latest) = (None, Duration::ZERO);
    loop {
        let frame = client.json().await;
        let data = &frame["data"];
        match (frame["op"].as_str().unwrap(), data["type"].as_str()) {
            ("incr", _) => {
                let sequence = data["seq"].as_u64().unwrap();
                assert!(last.is_none_or(|last| sequence == last + 1), "{last:?}, then {sequence}");
                last = Some(sequence);
                let sent = UnixNanos::new(data["ts_ingest"].as_i64().unwrap());
                latest = latest.max(UnixNanos::now().saturating_since(sent));
                seen.fetch_add(1, Ordering::Relaxed);
            }
            ("event", Some("closing")) => return latest,
            ("event", _) => {}
            _ => panic!("{frame}"),
        }
    }
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
