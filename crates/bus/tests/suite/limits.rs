use std::time::Duration;

use bus::{Config, PublishError, StreamKind};

use crate::fixture::{Substrate, batch, btc, delivered, fetch, raw_reader, shard_of};

pub async fn a_full_work_queue_refuses_and_recovers(substrate: Substrate) {
    let config = Config {
        raw_size_max_bytes: Some(30_000),
        publish_timeout: Duration::from_millis(500),
        ..Config::default()
    };
    let fixture = substrate.start(config).await;
    let mut stored = 0;
    let refused = loop {
        match fixture.bus.publish_raw_fill(&batch(&btc(), [stored + 1]), &stored.to_string()).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "the limit does not hold");
    };
    assert!(refused.is_retryable());
    assert!(matches!(refused, PublishError::Full { .. }), "{refused}");
    let state = fixture.bus.stream_state(StreamKind::Raw).await.unwrap();
    assert!(state.size_bytes <= 30_000 && state.messages == stored, "{state:?}");
    let mut reader = raw_reader(&fixture.bus, &btc());
    let deliveries = fetch(&mut reader, 5).await;
    // A publisher that waits gets the room as soon as there is some.
    let (published, acknowledged) = tokio::join!(
        async {
            loop {
                match fixture.bus.publish_raw_fill(&batch(&btc(), [stored + 1]), "again").await {
                    Err(PublishError::Full { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                    outcome => break outcome,
                }
            }
        },
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            reader.ack(&deliveries).await
        }
    );
    published.unwrap();
    acknowledged.unwrap();
    let rest = fetch(&mut reader, usize::try_from(stored).unwrap() + 1 - 5).await;
    assert_eq!(delivered(&rest), (6..=stored + 1).collect::<Vec<_>>(), "nothing was dropped");
}

pub async fn full_history_drops_the_oldest(substrate: Substrate) {
    let config = Config { ticks_size_max_bytes: Some(30_000), ..Config::default() };
    let fixture = substrate.start(config).await;
    let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    for sequence in 1..=300 {
        assert_eq!(publisher.publish(&batch(&btc(), [sequence])).await.unwrap(), sequence);
    }
    let state = fixture.bus.stream_state(StreamKind::Ticks).await.unwrap();
    assert!(state.size_bytes <= 30_000, "{state:?}");
    assert!(state.first_sequence > 1 && state.last_sequence == 300, "{state:?}");
    assert_eq!(state.messages, 300 - state.first_sequence + 1);
}
