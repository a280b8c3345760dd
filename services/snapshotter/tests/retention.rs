//! What runs beside the shards, once per database.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bus::{Bus, FollowFrom};
use domain::{EventKind, Gap, GapCause, GapState, Instrument, UnixNanos};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use runtime::{Readiness, RoleContext, Shutdown};
use store::Store;
use testkit::{Scratch, eventually};

/// Keeps the gauges.
#[derive(Default)]
struct Gauges(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Gauges {
    fn value(&self, name: &str) -> Option<f64> {
        let gauges = self.0.lock().unwrap();
        gauges.get(name).map(|bits| f64::from_bits(bits.load(Ordering::Relaxed)))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.0.lock().unwrap();
        Gauge::from_arc(Arc::clone(gauges.entry(key.name().to_owned()).or_default()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn history_is_measured_whether_or_not_all_of_it_is_kept() {
    for keep in [None, Some(Duration::from_secs(3600))] {
        let gauges = Gauges::default();
        let _recording = metrics::set_default_local_recorder(&gauges);
        let scratch = Scratch::new();
        let url = format!("sqlite://{}?mode=rwc", scratch.join("test.db").display());
        migrations::migrate(&url, false).await.unwrap();
        let store = Store::connect(&store::Config { url, ..store::Config::default() }).await.unwrap();
        let shutdown = Shutdown::new();
        let context = RoleContext::new(Readiness::new(), shutdown.clone());
        let config = snapshotter::Config { keep, ..snapshotter::Config::default() };
        let bus = Bus::embedded(&bus::Config::default());
        let task = tokio::spawn(snapshotter::retention(config, bus, store.clone(), context));
        eventually(Duration::from_secs(10), || async {
            gauges.value("ledgerflux_store_size_bytes").is_some_and(|bytes| bytes > 0.0)
        })
        .await;
        assert_eq!(gauges.value("ledgerflux_store_default_partition_rows"), Some(0.0));
        shutdown.request();
        task.await.unwrap();
        assert_eq!(store.horizon().await.unwrap().is_some(), keep.is_some());
    }
}

/// Whoever fetches what is missing would go on fetching what is refused.
#[tokio::test]
async fn what_is_given_up_is_told() {
    let scratch = Scratch::new();
    let url = format!("sqlite://{}?mode=rwc", scratch.join("test.db").display());
    migrations::migrate(&url, false).await.unwrap();
    let store = Store::connect(&store::Config { url, ..store::Config::default() }).await.unwrap();
    let now = UnixNanos::now();
    let gap = |first, detected_at| Gap {
        instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
        run: 0,
        first_trade_id: first,
        last_trade_id: first + 1,
        after: None,
        before: None,
        detected_at,
        cause: GapCause::Drop,
        state: GapState::Open,
        repaired_count: 0,
    };
    let old = gap(10, now.saturating_sub(Duration::from_secs(7_200)));
    store.record_gaps(&[old.clone(), gap(20, now)]).await.unwrap();
    let bus = Bus::embedded(&bus::Config::default());
    let shutdown = Shutdown::new();
    let context = RoleContext::new(Readiness::new(), shutdown.clone());
    let config = snapshotter::Config {
        keep: Some(Duration::from_secs(3_600)),
        retention_interval: Duration::from_millis(100),
        ..snapshotter::Config::default()
    };
    // The first time there is no stream to tell it on.
    let task = tokio::spawn(snapshotter::retention(config, bus.clone(), store.clone(), context));
    eventually(Duration::from_secs(10), || async { store.horizon().await.unwrap().is_some() }).await;
    bus.ensure_streams().await.unwrap();
    let mut events = bus.follow_events(FollowFrom::AfterSequence(0));
    let told = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap().unwrap();
    assert_eq!(told.content.kind, EventKind::Repaired(Gap { state: GapState::Unrepairable, ..old }));
    shutdown.request();
    task.await.unwrap();
    assert_eq!(bus.stream_state(bus::StreamKind::Events).await.unwrap().messages, 1, "told once");
}
