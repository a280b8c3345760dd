//! What is larger than the server takes.

use async_nats::jetstream::stream;
use bus::{Config, FollowFrom, StreamKind};
use domain::{DayStats, Decimal, Quote, RejectReason, Tick, TickBatch};
use tokio::time::timeout;

use crate::fixture::{DEADLINE, Fixture, Substrate, batch, btc, delivered, fetch, raw_reader, session, tick};

/// No tick of the test takes less.
const TICK_BYTES_MIN: usize = 20;

/// Somebody sets a limit on a stream that nobody planned for.
async fn limit_messages(fixture: &Fixture, name: &str, size_bytes: i32) {
    let foreign = fixture.foreign().await;
    let stream = foreign.get_stream(name).await.unwrap();
    let limited = stream::Config { max_message_size: size_bytes, ..stream.cached_info().config.clone() };
    foreign.update_stream(limited).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split() {
    let fixture = Substrate::JetStream.start(Config::default()).await;
    limit_messages(&fixture, "LF_RAW", 4096).await;
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    for sequence in 1..=600 {
        publisher.send(tick(&btc(), sequence)).await.unwrap();
    }
    timeout(DEADLINE, publisher.close()).await.unwrap();
    let mut reader = raw_reader(&fixture.bus, &btc());
    let mut seen = Vec::new();
    while seen.len() < 600 {
        for delivery in fetch(&mut reader, 1).await {
            assert!(delivery.content.as_ref().unwrap().ticks.len() * TICK_BYTES_MIN < 4096);
            seen.extend(delivered(&[delivery]));
        }
    }
    assert_eq!(seen, (1..=600).collect::<Vec<_>>(), "nothing is lost, doubled or out of order");
    assert_eq!(fixture.bus.stream_state(StreamKind::Rejects).await.unwrap().messages, 0);
}

#[tokio::test]
async fn a_single_tick_that_is_too_large_is_filed_and_blocks_nothing() {
    let fixture = Substrate::JetStream.start(Config::default()).await;
    let huge = || Decimal::new(i64::MAX, 8);
    let quote = || Quote { price: huge(), size: Some(huge()) };
    let day = || DayStats {
        open_24h: Some(huge()),
        high_24h: Some(huge()),
        low_24h: Some(huge()),
        volume_24h: Some(huge()),
        volume_30d: Some(huge()),
    };
    let large = |sequence| Tick {
        best_bid: Some(quote()),
        best_ask: Some(quote()),
        day: Some(day()),
        ..tick(&btc(), sequence)
    };
    let payload = |tick| proto::encode_batch(&TickBatch { ticks: vec![tick], ..batch(&btc(), []) }).len();
    let (small_bytes, large_bytes) = (payload(tick(&btc(), 1)), payload(large(1)));
    // The headers take 170 to 270 bytes, depending on the id and on whether there is a trace.
    assert!(small_bytes + 270 < 400 && 400 < large_bytes + 170, "{small_bytes} {large_bytes}");
    limit_messages(&fixture, "LF_RAW", 400).await;
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    for sequence in 1..=40 {
        let tick = if sequence % 10 == 7 { large(sequence) } else { tick(&btc(), sequence) };
        publisher.send(tick).await.unwrap();
    }
    timeout(DEADLINE, publisher.close()).await.unwrap();
    let too_large = [7, 17, 27, 37];
    let wanted: Vec<u64> = (1..=40).filter(|sequence| !too_large.contains(sequence)).collect();
    let mut reader = raw_reader(&fixture.bus, &btc());
    let mut seen = Vec::new();
    while seen.len() < wanted.len() {
        seen.extend(delivered(&fetch(&mut reader, 1).await));
    }
    assert_eq!(seen, wanted);
    let mut rejects = fixture.bus.follow_rejects(FollowFrom::AfterSequence(0));
    let mut identities = std::collections::BTreeSet::new();
    for sequence in too_large {
        let reject = rejects.next().await.unwrap().content;
        assert_eq!(reject.reason, RejectReason::Unstorable);
        assert!(reject.detail.contains("bytes"), "{}", reject.detail);
        assert_eq!(reject.tick.unwrap(), large(sequence));
        identities.insert(reject.identity);
    }
    assert_eq!(identities.len(), 4);
}

/// Whoever gives up on it must get past it.
#[tokio::test]
async fn what_is_given_up_and_too_large_for_a_reject_is_filed_without_its_bytes() {
    let fixture = Substrate::JetStream.start(Config::default()).await;
    limit_messages(&fixture, "LF_REJECTS", 4096).await;
    let subject = fixture.bus.subjects().raw(&btc());
    let garbage = vec![0xff; 10_000].into();
    fixture.foreign().await.publish(subject, garbage).await.unwrap().await.unwrap();
    let read = fetch(&mut raw_reader(&fixture.bus, &btc()), 1).await;
    let why = "it cannot be read";
    fixture.bus.reject_message(&read[0], RejectReason::Unprocessable, why, "test/1").await.unwrap();
    let filed = fixture.bus.follow_rejects(FollowFrom::AfterSequence(0)).next().await.unwrap().content;
    assert_eq!((filed.raw.len(), filed.raw_length), (0, 10_000));
    assert!(filed.detail.contains(why), "{}", filed.detail);
}
