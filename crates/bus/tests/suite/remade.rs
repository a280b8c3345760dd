//! Streams that are made by several at once, and made anew while roles run.

use std::time::Duration;

use bus::{Bus, Config, FollowError, FollowFrom, ManageError, StreamKind};
use domain::ShardCount;
use futures::future::join_all;
use testkit::eventually;
use tokio::time::timeout;

use crate::{
    fixture::{
        DEADLINE, Fixture, Substrate, batch, btc, delivered, raw_reader, sequences, session, shard_of, tick,
    },
    nats::publish_at_last,
};

async fn participants(fixture: &Fixture, configs: impl IntoIterator<Item = Config>) -> Vec<Bus> {
    let mut participants = Vec::new();
    for config in configs {
        participants.push(fixture.participant_with(&config).await);
    }
    participants
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_make_the_streams_at_the_same_time() {
    let mut fixture = Substrate::JetStream.start_empty(Config::default()).await;
    let participants = participants(&fixture, vec![Config::default(); 8]).await;
    for _ in 0..3 {
        for outcome in join_all(participants.iter().map(Bus::ensure_streams)).await {
            outcome.unwrap();
        }
        let created = fixture.bus.stream_state(StreamKind::Raw).await.unwrap().created;
        for outcome in join_all(participants.iter().map(Bus::ensure_streams)).await {
            outcome.unwrap();
        }
        assert_eq!(fixture.bus.stream_state(StreamKind::Raw).await.unwrap().created, created);
        fixture.server.as_mut().unwrap().wipe().await;
        for bus in &participants {
            eventually(DEADLINE, || async { bus.is_connected() }).await;
        }
        eventually(DEADLINE, || async { fixture.bus.stream_state(StreamKind::Raw).await.is_err() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_disagree_one_side_wins() {
    let fixture = Substrate::JetStream.start_empty(Config::default()).await;
    let eight = Config { shards: ShardCount::new(8).unwrap(), ..Config::default() };
    let configs = [Config::default(), eight].into_iter().cycle().take(8);
    let participants = participants(&fixture, configs).await;
    let outcomes = join_all(participants.iter().map(Bus::ensure_streams)).await;
    let mut winners: Vec<_> = Vec::new();
    for (bus, outcome) in participants.iter().zip(outcomes) {
        match outcome {
            Ok(()) => winners.push(bus.shards()),
            Err(error) => assert!(matches!(error, ManageError::ShardCount { .. }), "{error:?}"),
        }
    }
    winners.dedup();
    assert_eq!(winners.len(), 1, "all who succeeded agree");
    assert_eq!(fixture.bus.stream_state(StreamKind::Status).await.unwrap().last_sequence, 0);
}

#[tokio::test]
async fn publishing_and_working_go_on_after_a_wipe() {
    let config = Config { publish_timeout: Duration::from_secs(1), ..Config::default() };
    let mut fixture = Substrate::JetStream.start(config).await;
    let raw = fixture.bus.raw_publisher(session("host-1"));
    let mut reader = raw_reader(&fixture.bus, &btc());
    let mut ticks = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    ticks.recover().await.unwrap();
    for sequence in 1..=3 {
        raw.send(tick(&btc(), sequence)).await.unwrap();
        let deliveries = reader.fetch(1, DEADLINE).await.unwrap();
        ticks.publish(&batch(&btc(), [sequence])).await.unwrap();
        reader.ack(&deliveries).await.unwrap();
    }
    fixture.server.as_mut().unwrap().wipe().await;
    // The ingestor does not know of it yet.
    for sequence in 4..=20 {
        raw.send(tick(&btc(), sequence)).await.unwrap();
    }
    let recover = async |ticks: &mut bus::TickPublisher| {
        fixture.bus.ensure_streams().await?;
        Ok::<_, Box<dyn std::error::Error>>(ticks.recover().await?)
    };
    // Not before the reader has noticed; then as a worker does it.
    let mut recovered = false;
    let mut seen = Vec::new();
    while seen.last() != Some(&20) {
        match reader.fetch(10, Duration::from_secs(1)).await {
            Ok(deliveries) => {
                seen.extend(delivered(&deliveries));
                for sequence in delivered(&deliveries) {
                    ticks.publish(&batch(&btc(), [sequence])).await.unwrap();
                }
                reader.ack(&deliveries).await.unwrap();
            }
            Err(_) => {
                recovered |= recover(&mut ticks).await.is_ok();
                reader = raw_reader(&fixture.bus, &btc());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    assert!(recovered);
    assert_eq!(seen, (4..=20).collect::<Vec<_>>());
    timeout(DEADLINE, raw.close()).await.unwrap();
    let recovered = ticks.recover().await.unwrap();
    assert_eq!(sequences(&recovered.batches[0].batch), [20]);
    assert!(recovered.batches[0].raw_is_current);
}

#[tokio::test]
async fn a_batch_from_an_earlier_raw_stream_is_known() {
    let fixture = Substrate::JetStream.start(Config::default()).await;
    let mut ticks = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    ticks.recover().await.unwrap();
    ticks.publish(&batch(&btc(), [1])).await.unwrap();
    assert!(ticks.recover().await.unwrap().batches[0].raw_is_current);
    fixture.foreign().await.delete_stream("LF_RAW").await.unwrap();
    assert!(ticks.recover().await.is_err(), "without the stream its identity is not known");
    fixture.bus.ensure_streams().await.unwrap();
    let recovered = ticks.recover().await.unwrap();
    assert_eq!(sequences(&recovered.batches[0].batch), [1]);
    assert!(!recovered.batches[0].raw_is_current);
    ticks.publish(&batch(&btc(), [2])).await.unwrap();
    assert!(ticks.recover().await.unwrap().batches[0].raw_is_current);
}

#[tokio::test]
async fn a_remade_stream_is_known_though_it_holds_more() {
    let mut fixture = Substrate::JetStream.start(Config::default()).await;
    let mut follower = fixture.bus.follow_ticks(FollowFrom::AfterSequence(0));
    let mut snapshots = fixture.bus.follow_snapshots(FollowFrom::LastPerSubject);
    let mut ticks = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    for sequence in 1..=3 {
        ticks.publish(&batch(&btc(), [sequence])).await.unwrap();
        assert_eq!(follower.next().await.unwrap().stream_sequence, sequence);
    }
    fixture.bus.publish_snapshot(&crate::fixture::snapshot(&btc(), 1)).await.unwrap();
    snapshots.next().await.unwrap();
    fixture.server.as_mut().unwrap().wipe().await;
    eventually(DEADLINE, || async { fixture.bus.ensure_streams().await }).await;
    for sequence in 11..=15 {
        publish_at_last(&mut ticks, sequence).await;
        fixture.bus.publish_snapshot(&crate::fixture::snapshot(&btc(), sequence)).await.unwrap();
    }
    let restarted = loop {
        match timeout(DEADLINE, follower.next()).await.unwrap() {
            Err(FollowError::Broker(_)) => {}
            other => break other,
        }
    };
    assert!(
        matches!(restarted, Err(FollowError::Restarted { known: 3, last: 5, .. })),
        "sequence 5 is not the one after 3: {restarted:?}"
    );
    for sequence in 11..=15 {
        assert_eq!(sequences(&follower.next().await.unwrap().content), [sequence]);
    }
    let restarted = loop {
        match timeout(DEADLINE, snapshots.next()).await.unwrap() {
            Err(FollowError::Broker(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(restarted, Err(FollowError::Restarted { known: 1, last: 5, .. })), "{restarted:?}");
    assert_eq!(snapshots.next().await.unwrap().content.position.sequence, 15);
}
