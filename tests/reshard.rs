//! Changing the number of shards under data, as an operator does it: real processes, a real broker, a real database.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;

use bus::{Bus, ServerUrl, StreamKind};
use domain::{Decimal, FeedSession, Instrument, ShardCount, Tick, TickFlags, Trade, UnixNanos};
use sqlx::Row as _;
use support::{SOON, START, http_get, ledgerflux};
use testkit::{NatsServer, Process, Scratch, eventually};

const PRODUCTS: u64 = 20;

fn tick(product: u64, sequence: u64) -> Tick {
    let time = UnixNanos::from_seconds(1_700_000_000 + i64::try_from(sequence).unwrap()).unwrap();
    let trade = Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id: Some(sequence) };
    Tick {
        instrument: Instrument::new("coinbase", &format!("X{product}-USD")).unwrap(),
        run: 0,
        sequence: Some(sequence),
        event_time: time,
        receive_time: time,
        last_trade: Some(trade),
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

/// What an ingestor with so many shards publishes.
async fn send(url: &str, shards: u64, session: &str, sequences: std::ops::RangeInclusive<u64>) {
    let shards = ShardCount::new(shards).unwrap();
    let config = bus::Config { nats: Some(ServerUrl::new(url).unwrap()), shards, ..bus::Config::default() };
    let bus = Bus::connect(&config).await.unwrap();
    let session = FeedSession { id: session.into(), started: UnixNanos::now() };
    let publisher = bus.raw_publisher(session);
    for sequence in sequences {
        for product in 0..PRODUCTS {
            publisher.send(tick(product, sequence)).await.unwrap();
        }
    }
    publisher.close().await;
}

struct Place {
    nats: NatsServer,
    data: Scratch,
}

impl Place {
    async fn up(&self, shards: &str) -> Process {
        let mut up = ledgerflux()
            // Nothing listens there: the ticks are those of the test.
            .args(["up", "--feed", "ws://127.0.0.1:9", "--shards", shards, "--nats", &self.nats.url()])
            .args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .args(["--keep", "forever", "--print-addresses", "--data-dir"])
            .arg(self.data.path())
            .spawn();
        support::ready(&up.address("ops", START).await).await;
        up
    }

    async fn reshard(&self, shards: &str) -> (bool, String) {
        let mut reshard = ledgerflux().args(["reshard", shards, "--nats", &self.nats.url()]).spawn();
        let success = reshard.wait(SOON).await.success();
        (success, format!("{}{}", reshard.stdout(), reshard.stderr()))
    }

    fn database(&self) -> String {
        format!("sqlite://{}?mode=rwc", self.data.path().join("ledgerflux.db").display())
    }

    async fn stores(&self, count: u64) {
        let count = i64::try_from(count).unwrap();
        eventually(SOON, || async {
            let rows = support::count(&self.database(), "SELECT COUNT(*) FROM tick_history").await;
            if rows >= count { Ok(()) } else { Err(format!("{rows} of {count} stored")) }
        })
        .await;
    }

    /// The sequences of each product in the order in which they were stored.
    async fn stored(&self) -> BTreeMap<String, Vec<i64>> {
        sqlx::any::install_default_drivers();
        let pool =
            sqlx::any::AnyPoolOptions::new().max_connections(1).connect(&self.database()).await.unwrap();
        let sql = "SELECT product, sequence FROM tick_history ORDER BY id";
        let mut stored: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for row in sqlx::query(sql).fetch_all(&pool).await.unwrap() {
            stored.entry(row.get(0)).or_default().push(row.get(1));
        }
        pool.close().await;
        stored
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_shards_changes_and_nothing_is_lost_doubled_or_disordered() {
    let place = Place { nats: NatsServer::start().await, data: Scratch::new() };
    let url = place.nats.url();
    let mut up = place.up("4").await;
    send(&url, 4, "feed-1", 1..=50).await;
    place.stores(50 * PRODUCTS).await;

    let (success, told) = place.reshard("7").await;
    assert!(!success && told.contains("at work") && told.contains("normalizer"), "{told}");
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
    // Nobody reads: this is left over, on the subjects of four shards.
    send(&url, 4, "feed-2", 51..=80).await;

    let (success, told) = place.reshard("7").await;
    assert!(success && told.contains("from 4 to 7 shards"), "{told}");
    assert!(told.contains("--shards 7"), "it says what to do next: {told}");
    let mut refused = ledgerflux()
        .args(["normalizer", "--shard-id", "0", "--shards", "4", "--nats", &url])
        .args(["--ops-listen", "127.0.0.1:0", "--print-addresses"])
        .spawn();
    assert!(!refused.wait(SOON).await.success());
    assert!(refused.stderr().contains("7 shards, but 4"), "{}", refused.stderr());

    let mut up = place.up("7").await;
    send(&url, 7, "feed-3", 81..=100).await;
    place.stores(100 * PRODUCTS).await;
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());
    send(&url, 7, "feed-4", 101..=120).await;

    let (success, told) = place.reshard("2").await;
    assert!(success && told.contains("from 7 to 2 shards"), "{told}");
    let mut up = place.up("2").await;
    place.stores(120 * PRODUCTS).await;
    let ops = up.address("ops", START).await;
    let (_, metrics) = http_get(&ops, "/metrics").await;
    assert_eq!(support::counted(&metrics, "ledgerflux_bus_overruns_total"), 0);
    assert!(up.terminate(SOON).await.success(), "{}", up.stderr());

    let stored = place.stored().await;
    assert_eq!(stored.len() as u64, PRODUCTS);
    for (product, sequences) in stored {
        assert_eq!(sequences, (1..=120).collect::<Vec<_>>(), "{product}: each once, in order");
    }
    let config = bus::Config {
        nats: Some(ServerUrl::new(&url).unwrap()),
        shards: ShardCount::new(2).unwrap(),
        ..bus::Config::default()
    };
    let bus = Bus::connect(&config).await.unwrap();
    assert_eq!(bus.stream_state(StreamKind::Rejects).await.unwrap().messages, 0);
    assert_eq!(bus.stream_state(StreamKind::Raw).await.unwrap().messages, 0);
    let (success, told) = place.reshard("2").await;
    assert!(success && told.contains("2 shards already"), "{told}");
}
