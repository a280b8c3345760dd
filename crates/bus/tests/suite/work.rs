use std::time::Duration;

use bus::{Config, Source, StreamKind, Work};
use testkit::eventually;
use tokio::time::Instant;

use crate::fixture::{
    DEADLINE, Substrate, batch, btc, delivered, fetch, instrument, publish_raw, raw_reader, shard_of,
};

/// Another product of the shard of BTC-USD.
fn neighbour(shards: domain::ShardCount) -> domain::Instrument {
    let mut products = (0..).map(|number| instrument(&format!("X{number}-USD")));
    products.find(|product| shards.shard_of(product) == shards.shard_of(&btc())).unwrap()
}

pub async fn a_dead_owners_messages_come_first(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let other = neighbour(fixture.bus.shards());
    for sequence in 1..=5 {
        publish_raw(&fixture.bus, &btc(), [sequence]).await;
        publish_raw(&fixture.bus, &other, [100 + sequence]).await;
    }
    let dying = fixture.participant().await;
    let mut reader = raw_reader(&dying, &btc());
    let deliveries = fetch(&mut reader, 6).await;
    assert_eq!(delivered(&deliveries), [1, 101, 2, 102, 3, 103]);
    // It dies in the middle of a batch: some are acknowledged, and not the first ones only.
    reader.ack(&deliveries[..2]).await.unwrap();
    reader.ack(&deliveries[3..4]).await.unwrap();
    drop((reader, dying));
    publish_raw(&fixture.bus, &btc(), [6, 7]).await;
    let heir = fixture.participant().await;
    let mut reader = raw_reader(&heir, &btc());
    let deliveries = fetch(&mut reader, 9).await;
    assert_eq!(delivered(&deliveries), [2, 3, 103, 4, 104, 5, 105, 6, 7]);
    assert!(deliveries.windows(2).all(|pair| pair[0].stream_sequence < pair[1].stream_sequence));
    reader.ack(&deliveries).await.unwrap();
    eventually(DEADLINE, || async { fixture.bus.stream_state(StreamKind::Raw).await.unwrap().messages == 0 })
        .await;
}

pub async fn a_late_redelivery_restores_the_order(substrate: Substrate) {
    let config = Config { ack_wait: Duration::from_secs(1), ..Config::default() };
    let fixture = substrate.start(config).await;
    publish_raw(&fixture.bus, &btc(), 1..=4).await;
    let mut reader = raw_reader(&fixture.bus, &btc());
    let slow = fetch(&mut reader, 4).await;
    reader.ack(&slow[1..2]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    publish_raw(&fixture.bus, &btc(), 5..=6).await;
    // Whatever the broker gives first, what is given out is in order from the first unacknowledged message on.
    let until = Instant::now() + DEADLINE;
    let mut seen: Vec<u64> = Vec::new();
    while seen.last() != Some(&6) || seen.len() < 5 {
        assert!(Instant::now() < until, "{seen:?}");
        let deliveries = fetch(&mut reader, 1).await;
        if deliveries[0].stream_sequence <= seen.last().copied().unwrap_or(0) {
            seen.clear();
        }
        assert!(deliveries[0].redelivered || delivered(&deliveries)[0] > 4);
        seen.extend(delivered(&deliveries));
    }
    assert_eq!(seen, [1, 3, 4, 5, 6]);
}

/// Two owners at the same time are a mistake that happens. Neither may be given a message that overtakes another.
pub async fn a_rival_causes_no_disorder(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    publish_raw(&fixture.bus, &btc(), 1..=10).await;
    let mut first = raw_reader(&fixture.bus, &btc());
    assert_eq!(delivered(&fetch(&mut first, 3).await), [1, 2, 3]);
    let rival = fixture.participant().await;
    let mut second = raw_reader(&rival, &btc());
    let deliveries = fetch(&mut second, 10).await;
    assert_eq!(delivered(&deliveries), (1..=10).collect::<Vec<_>>());
    second.ack(&deliveries[..5]).await.unwrap();
    publish_raw(&fixture.bus, &btc(), [11]).await;
    let until = Instant::now() + DEADLINE;
    let mut seen: Vec<u64> = Vec::new();
    while seen.last() != Some(&11) {
        assert!(Instant::now() < until, "{seen:?}");
        let Ok(deliveries) = first.fetch(10, Duration::from_millis(500)).await else {
            continue;
        };
        for delivery in &deliveries {
            if delivery.stream_sequence <= seen.last().copied().unwrap_or(0) {
                seen.clear();
            }
            seen.push(delivery.stream_sequence);
        }
    }
    assert!(seen.ends_with(&[6, 7, 8, 9, 10, 11]), "{seen:?}");
}

pub async fn acknowledged_work_leaves_the_queue(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    publish_raw(&fixture.bus, &btc(), 1..=3).await;
    let mut reader = raw_reader(&fixture.bus, &btc());
    let deliveries = fetch(&mut reader, 3).await;
    reader.ack(&deliveries).await.unwrap();
    eventually(DEADLINE, || async { fixture.bus.stream_state(StreamKind::Raw).await.unwrap().messages == 0 })
        .await;
    let state = fixture.bus.stream_state(StreamKind::Raw).await.unwrap();
    assert_eq!((state.first_sequence, state.last_sequence), (4, 3));
    reader.restart();
    publish_raw(&fixture.bus, &btc(), [4]).await;
    assert_eq!(delivered(&fetch(&mut reader, 1).await), [4]);
}

pub async fn an_empty_queue_ends_with_the_wait(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let mut reader = raw_reader(&fixture.bus, &btc());
    assert!(reader.fetch(10, Duration::from_millis(50)).await.unwrap().is_empty());
    // A fetch that is waiting gets what comes, at once.
    let (fetched, ()) = tokio::join!(reader.fetch(10, DEADLINE), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publish_raw(&fixture.bus, &btc(), [1]).await;
    });
    assert_eq!(delivered(&fetched.unwrap()), [1]);
}

pub async fn a_cancelled_fetch_loses_nothing(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let mut reader = raw_reader(&fixture.bus, &btc());
    for sequence in 1..=20 {
        publish_raw(&fixture.bus, &btc(), [sequence]).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 20 {
        // Shorter and longer than what a fetch takes.
        let patience = Duration::from_micros(100 * (1 + seen.len() as u64 % 30));
        if let Ok(fetched) = tokio::time::timeout(patience, reader.fetch(1, DEADLINE)).await {
            let deliveries = fetched.unwrap();
            assert!(!deliveries[0].redelivered);
            seen.extend(delivered(&deliveries));
        } else {
            tokio::task::yield_now().await;
        }
        if seen.is_empty() {
            // The first one needs the time to make the consumer.
            seen.extend(delivered(&fetch(&mut reader, 1).await));
        }
    }
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
}

pub async fn history_is_read_on_from_the_acknowledged(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    for sequence in 1..=5 {
        publisher.publish(&batch(&btc(), [sequence])).await.unwrap();
    }
    let dying = fixture.participant().await;
    let mut reader = dying.work(Work::Ticks, shard);
    let deliveries = fetch(&mut reader, 4).await;
    reader.ack(&deliveries[..1]).await.unwrap();
    reader.ack(&deliveries[2..3]).await.unwrap();
    drop((reader, dying));
    let mut reader = fixture.bus.work(Work::Ticks, shard);
    let mut seen = Vec::new();
    while seen.last() != Some(&5) {
        let deliveries = fetch(&mut reader, 1).await;
        seen.extend(delivered(&deliveries));
        reader.ack(&deliveries).await.unwrap();
    }
    // Whether 3 comes again is up to the broker; nothing else may differ.
    seen.retain(|sequence| *sequence != 3);
    assert_eq!(seen, [2, 4, 5]);
    drop(reader);
    let mut reader = fixture.participant().await.work(Work::Ticks, shard);
    assert!(reader.fetch(10, Duration::from_millis(300)).await.unwrap().is_empty(), "all is acknowledged");
    publisher.publish_fill(&batch(&btc(), [6])).await.unwrap();
    let fill = fetch(&mut reader, 1).await;
    assert_eq!((fill[0].source, delivered(&fill)), (Source::Fill, vec![6]));
}

pub async fn lag_is_told(substrate: Substrate) {
    let config = Config { ticks_size_max_bytes: Some(1_000_000), ..Config::default() };
    let fixture = substrate.start(config).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    for start in 0..10 {
        publisher.publish(&batch(&btc(), start * 500 + 1..=start * 500 + 500)).await.unwrap();
    }
    let lag = fixture.bus.lag(Work::Ticks, shard).await.unwrap();
    assert_eq!((lag.pending_messages, lag.unacknowledged), (10, 0), "a worker that never ran");
    assert!((10..=100).contains(&lag.percent_of_limit), "{lag:?}");
    let mut reader = fixture.bus.work(Work::Ticks, shard);
    let deliveries = fetch(&mut reader, 10).await;
    reader.ack(&deliveries[..4]).await.unwrap();
    eventually(DEADLINE, || async {
        let lag = fixture.bus.lag(Work::Ticks, shard).await.unwrap();
        (lag.pending_messages, lag.unacknowledged) == (0, 6)
    })
    .await;
    reader.ack(&deliveries[4..]).await.unwrap();
    eventually(DEADLINE, || async {
        fixture.bus.lag(Work::Ticks, shard).await.unwrap().percent_of_limit == 0
    })
    .await;
    assert_eq!(fixture.bus.stream_state(StreamKind::Ticks).await.unwrap().messages, 10, "history stays");
}
