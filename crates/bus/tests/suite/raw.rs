use std::time::Duration;

use bus::{Bus, Config, PublishError, Source, StreamKind, Work};
use tokio::time::timeout;

use crate::fixture::{
    DEADLINE, Substrate, batch, btc, delivered, eth, fetch, instrument, raw_reader, sequences, session,
    shard_of, tick,
};

pub async fn every_tick_arrives_in_order(substrate: Substrate) {
    const TICKS: u64 = 1500;
    let fixture = substrate.start(Config::default()).await;
    let products = [btc(), eth(), instrument("ADA-USD")];
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    for sequence in 1..=TICKS {
        for product in &products {
            publisher.send(tick(product, sequence)).await.unwrap();
        }
    }
    publisher.close().await;
    for product in &products {
        let mut reader = raw_reader(&fixture.bus, product);
        let mut seen = Vec::new();
        let mut messages = 0;
        while seen.len() < usize::try_from(TICKS).unwrap() {
            let deliveries = fetch(&mut reader, 1).await;
            messages += deliveries.len();
            for delivery in &deliveries {
                assert!(delivery.content.as_ref().unwrap().ticks.len() <= domain::BATCH_TICKS_MAX);
                assert_eq!(delivery.source, Source::Live);
                assert!(!delivery.redelivered);
            }
            seen.extend(delivered(&deliveries));
            reader.ack(&deliveries).await.unwrap();
        }
        assert_eq!(seen, (1..=TICKS).collect::<Vec<_>>(), "{product}");
        assert!(
            messages < usize::try_from(TICKS).unwrap() / 2,
            "{messages} messages: the ticks did not gather"
        );
    }
}

/// Publishes until not even a message with a single tick fits.
pub async fn fill_up(bus: &Bus) -> usize {
    let mut stored = 0;
    for ticks in [200, 1] {
        loop {
            match bus.publish_raw_fill(&batch(&eth(), 1..=ticks), &stored.to_string()).await {
                Ok(()) => stored += 1,
                Err(PublishError::Full { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    stored
}

pub async fn ticks_gather_while_one_batch_is_in_flight(substrate: Substrate) {
    let config = Config {
        raw_size_max_bytes: Some(200_000),
        publish_timeout: Duration::from_millis(500),
        retry_delay_max: Duration::from_millis(100),
        ..Config::default()
    };
    let fixture = substrate.start(config).await;
    let filled = fill_up(&fixture.bus).await;
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    // The first tick is on its way alone; it is refused and repeated until there is room.
    publisher.send(tick(&btc(), 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for sequence in 2..=601 {
        publisher.send(tick(&btc(), sequence)).await.unwrap();
    }
    assert_eq!(publisher.unacknowledged_ticks(), 601);
    let mut filler = raw_reader(&fixture.bus, &eth());
    let deliveries = fetch(&mut filler, filled).await;
    assert!(deliveries.iter().all(|delivery| delivery.source == Source::Fill));
    filler.ack(&deliveries).await.unwrap();
    timeout(DEADLINE, publisher.close()).await.unwrap();
    let mut reader = raw_reader(&fixture.bus, &btc());
    let (mut sizes, mut seen) = (Vec::new(), Vec::new());
    while seen.len() < 601 {
        for delivery in &fetch(&mut reader, 1).await {
            let batch = delivery.content.as_ref().unwrap();
            sizes.push(batch.ticks.len());
            seen.extend(sequences(batch));
        }
    }
    assert_eq!(seen, (1..=601).collect::<Vec<_>>());
    assert_eq!(
        sizes[..2],
        [1, 512],
        "a retried batch is not enlarged, the rest gathers up to the limit: {sizes:?}"
    );
}

pub async fn a_full_buffer_makes_the_caller_wait(substrate: Substrate) {
    let config = Config {
        raw_size_max_bytes: Some(50_000),
        raw_buffer_max_ticks: 5,
        publish_timeout: Duration::from_millis(500),
        retry_delay_max: Duration::from_millis(100),
        ..Config::default()
    };
    let fixture = substrate.start(config).await;
    let filled = fill_up(&fixture.bus).await;
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    for sequence in 1..=5 {
        timeout(DEADLINE, publisher.send(tick(&btc(), sequence))).await.unwrap().unwrap();
    }
    let mut sixth = Box::pin(publisher.send(tick(&btc(), 6)));
    assert!(
        timeout(Duration::from_millis(200), &mut sixth).await.is_err(),
        "there is no room for a sixth tick"
    );
    let mut filler = raw_reader(&fixture.bus, &eth());
    let deliveries = fetch(&mut filler, filled).await;
    filler.ack(&deliveries).await.unwrap();
    timeout(DEADLINE, &mut sixth).await.unwrap().unwrap();
    drop(sixth);
    timeout(DEADLINE, publisher.close()).await.unwrap();
    let mut reader = raw_reader(&fixture.bus, &btc());
    let mut seen = Vec::new();
    while seen.len() < 6 {
        seen.extend(delivered(&fetch(&mut reader, 1).await));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}

pub async fn subjects_lead_to_the_shard_of_the_test_vector(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    for (product, shard) in [("BTC-USD", 2), ("ETH-USD", 1), ("ADA-USD", 0)] {
        let product = instrument(product);
        assert_eq!(shard_of(&fixture.bus, &product).get(), shard);
        publisher.send(tick(&product, 1)).await.unwrap();
    }
    publisher.close().await;
    for (shard, subject) in [
        (0, Some("lf.raw.0.coinbase.ADA-USD")),
        (1, Some("lf.raw.1.coinbase.ETH-USD")),
        (2, Some("lf.raw.2.coinbase.BTC-USD")),
        (3, None),
    ] {
        let shard = fixture.bus.shards().shard(shard).unwrap();
        let deliveries =
            fixture.bus.work(Work::Raw, shard).fetch(10, Duration::from_millis(300)).await.unwrap();
        let subjects: Vec<&str> = deliveries.iter().map(|delivery| delivery.subject.as_str()).collect();
        assert_eq!(subjects, subject.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(fixture.bus.stream_state(StreamKind::Raw).await.unwrap().messages, 3);
}
