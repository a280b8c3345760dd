//! A broker of three nodes: what one of them acknowledges, two have.

use std::time::Duration;

use async_nats::jetstream;
use bus::{
    Bus, Config, FollowError, FollowFrom, PublishError, ServerUrl, StreamKind, TickFollower, TickPublisher,
};
use testkit::{NatsCluster, eventually};
use tokio::time::timeout;

use crate::{
    fixture::{DEADLINE, batch, btc, sequences, session, shard_of, tick},
    nats::publish_at_last,
};

/// What is recovered may be read from a node that is a moment behind: then the first publish is refused. And the streams of a
/// cluster that was just made may be without a leader for a moment.
async fn take_over(ticks: &mut TickPublisher, sequence: u64) {
    loop {
        while ticks.recover().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Without recovering in between: it may be stored already, and is recognised only so.
        let refused = loop {
            match ticks.publish(&batch(&btc(), [sequence])).await {
                Ok(_) => return,
                Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => break error,
            }
        };
        assert!(refused.needs_recovery(), "{refused}");
    }
}

/// What somebody who was succeeded is told at last.
async fn refusal(ticks: &mut TickPublisher) -> PublishError {
    loop {
        match ticks.publish(&batch(&btc(), [2, 3])).await {
            Ok(_) => panic!("the fence is gone"),
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return error,
        }
    }
}

/// What comes, up to this sequence.
async fn follow_to(follower: &mut TickFollower, last: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        match timeout(DEADLINE, follower.next()).await.unwrap() {
            Ok(followed) => seen.extend(sequences(&followed.content)),
            Err(FollowError::Broker(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    seen
}

#[tokio::test]
async fn a_killed_leader_takes_nothing_with_it() {
    let mut cluster = NatsCluster::start().await;
    let urls = cluster.urls();
    let config = |node: usize| Config {
        nats: Some(ServerUrl::new(&urls[node]).unwrap()),
        replicas: 3,
        publish_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    let first = Bus::connect(&config(0)).await.unwrap();
    eventually(DEADLINE, || first.ensure_streams()).await;
    let foreign = jetstream::new(async_nats::connect(&urls[0]).await.unwrap());
    for kind in StreamKind::ALL {
        let stream = eventually(DEADLINE, || foreign.get_stream(first.stream_name(kind))).await;
        let info = stream.cached_info();
        let copies = info.cluster.as_ref().map(|cluster| 1 + cluster.replicas.len());
        assert_eq!((info.config.num_replicas, copies), (3, Some(3)), "{kind:?}");
    }

    // The one that works is connected to the node that will be gone, and has succeeded another one.
    let leader = cluster.leader_of("LF_TICKS").await;
    let second = Bus::connect(&config(leader)).await.unwrap();
    let shard = shard_of(&first, &btc());
    let mut earlier = first.tick_publisher(shard);
    publish_at_last(&mut earlier, 1).await;
    let mut ticks = second.tick_publisher(shard);
    timeout(DEADLINE, take_over(&mut ticks, 2)).await.unwrap();
    let raw = second.raw_publisher(session("host-1"));
    raw.send(tick(&btc(), 1)).await.unwrap();
    let mut follower = first.follow_ticks(FollowFrom::AfterSequence(0));
    assert_eq!(follow_to(&mut follower, 1).await, [1]);
    let created = eventually(DEADLINE, || first.stream_state(StreamKind::Ticks)).await.created;

    cluster.node(leader).kill().await;
    for sequence in 2..=50 {
        raw.send(tick(&btc(), sequence)).await.unwrap();
    }
    for sequence in 3..=6 {
        publish_at_last(&mut ticks, sequence).await;
    }
    timeout(DEADLINE, raw.close()).await.unwrap();
    let refused = timeout(DEADLINE, refusal(&mut earlier)).await.unwrap();
    assert!(matches!(refused, PublishError::Fenced { by, .. } if by == *second.owner()), "{refused}");

    assert_eq!(follow_to(&mut follower, 6).await, [2, 3, 4, 5, 6]);
    let stored = eventually(DEADLINE, || foreign.get_stream("LF_RAW")).await;
    let mut seen = Vec::new();
    for sequence in 1..=stored.cached_info().state.last_sequence {
        let message = eventually(DEADLINE, || stored.get_raw_message(sequence)).await;
        seen.extend(sequences(&proto::decode_batch(&message.payload).unwrap()));
    }
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
    let same = eventually(DEADLINE, || first.stream_state(StreamKind::Ticks)).await.created;
    assert_eq!(same, created, "it is the same stream");
}
