use bus::{Config, ManageError, StreamKind};
use domain::ShardCount;

use crate::fixture::Substrate;

pub async fn streams_are_made_once(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let created = fixture.bus.stream_state(StreamKind::Raw).await.unwrap().created;
    fixture.bus.ensure_streams().await.unwrap();
    let other = fixture.participant().await;
    let (one, two) = tokio::join!(fixture.bus.ensure_streams(), other.ensure_streams());
    one.unwrap();
    two.unwrap();
    assert_eq!(other.stream_state(StreamKind::Raw).await.unwrap().created, created);
    for kind in StreamKind::ALL {
        let state = other.stream_state(kind).await.unwrap();
        assert_eq!((state.messages, state.first_sequence, state.last_sequence), (0, 1, 0), "{kind:?}");
    }
    assert_eq!(other.stream_name(StreamKind::Ticks), "LF_TICKS");
}

pub async fn another_shard_count_is_refused(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let config = Config { shards: ShardCount::new(8).unwrap(), ..Config::default() };
    let error = fixture.participant_with(&config).await.ensure_streams().await.unwrap_err();
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(
        matches!(error, ManageError::ShardCount { ref existing, wanted: 8, .. } if existing == "4"),
        "{text}"
    );
    assert!(text.contains('4') && text.contains('8'), "{text}");
}

pub async fn limits_are_updated(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let config = Config { ticks_size_max_bytes: Some(10_000_000), ..Config::default() };
    fixture.participant_with(&config).await.ensure_streams().await.unwrap();
    let state = fixture.bus.stream_state(StreamKind::Ticks).await.unwrap();
    assert_eq!(state.size_bytes_max, 10_000_000);
}

pub async fn who_reads_only_checks(substrate: Substrate) {
    let fixture = substrate.start_empty(Config::default()).await;
    let error = fixture.bus.check_streams().await.unwrap_err();
    assert!(error.is_retryable());
    assert!(matches!(&error, ManageError::Missing { stream } if stream == "LF_RAW"), "{error}");
    assert!(fixture.bus.stream_state(StreamKind::Raw).await.is_err(), "it changes nothing");
    fixture.bus.ensure_streams().await.unwrap();
    fixture.bus.check_streams().await.unwrap();
    let before = fixture.bus.stream_state(StreamKind::Ticks).await.unwrap();
    let config = Config { ticks_size_max_bytes: Some(10_000_000), ..Config::default() };
    fixture.participant_with(&config).await.check_streams().await.unwrap();
    assert_eq!(fixture.bus.stream_state(StreamKind::Ticks).await.unwrap(), before);
    let config = Config { shards: ShardCount::new(8).unwrap(), ..Config::default() };
    let error = fixture.participant_with(&config).await.check_streams().await.unwrap_err();
    assert!(matches!(error, ManageError::ShardCount { wanted: 8, .. }) && !error.is_retryable(), "{error}");
}
