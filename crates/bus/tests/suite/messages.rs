use bus::{Config, FollowFrom, RecoveredRefusals, StreamKind};
use domain::{
    EventKind, FeedEvent, FeedState, Instrument, RefusedTrades, RejectReason, RejectedTick, RoleStatus,
    ShardProgress, TickBatch, UnixNanos,
};

use crate::fixture::{Substrate, batch, btc, eth, sequences, shard_of, snapshot, tick};

pub async fn snapshots_replace_one_another(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    for sequence in 1..=3 {
        fixture.bus.publish_snapshot(&snapshot(&btc(), sequence)).await.unwrap();
    }
    fixture.bus.publish_snapshot(&snapshot(&eth(), 9)).await.unwrap();
    let other = fixture.participant().await;
    assert_eq!(other.last_snapshots().await.unwrap(), [snapshot(&btc(), 3), snapshot(&eth(), 9)]);
    assert_eq!(other.stream_state(StreamKind::Snapshots).await.unwrap().messages, 2);
}

pub async fn statuses_replace_one_another(substrate: Substrate) {
    let status = |instance: &str, ticks| RoleStatus {
        role: "normalizer".into(),
        instance: instance.into(),
        time: UnixNanos::from_seconds(1_600_000_000).unwrap(),
        ready: true,
        feed_state: Some(FeedState::Live),
        heartbeat_age: Some(std::time::Duration::from_millis(1500)),
        product_states: Vec::new(),
        progress: vec![ShardProgress {
            instrument: btc(),
            shard: 2,
            position: domain::Position { run: 1, sequence: 5 },
            event_time: UnixNanos::from_seconds(1_600_000_001).unwrap(),
        }],
        backlog_messages: Some(3),
        ticks,
        rejected: 1,
        duplicates: 2,
    };
    let fixture = substrate.start(Config::default()).await;
    assert_eq!(fixture.bus.statuses().await.unwrap(), []);
    for ticks in 1..=3 {
        fixture.bus.publish_status(&status("host.one", ticks)).await.unwrap();
    }
    fixture.bus.publish_status(&status("host.two", 9)).await.unwrap();
    assert_eq!(fixture.bus.statuses().await.unwrap(), [status("host.one", 3), status("host.two", 9)]);
}

pub async fn events_are_stored_once(substrate: Substrate) {
    let event = |first| FeedEvent {
        instrument: btc(),
        time: UnixNanos::from_seconds(1_600_000_000).unwrap(),
        source: "normalizer-2".into(),
        kind: EventKind::Overrun { stream: "LF_TICKS".into(), first_sequence: first, last_sequence: 20 },
    };
    let fixture = substrate.start(Config::default()).await;
    fixture.bus.publish_event(&event(1)).await.unwrap();
    fixture.bus.publish_event(&event(1)).await.unwrap();
    fixture.participant().await.publish_event(&event(1)).await.unwrap();
    fixture.bus.publish_event(&event(2)).await.unwrap();
    let mut follower = fixture.bus.follow_events(FollowFrom::AfterSequence(0));
    let one = follower.next().await.unwrap();
    let two = follower.next().await.unwrap();
    assert_eq!((one.content, two.content, two.pending), (event(1), event(2), 0));
}

fn reject(instrument: Option<Instrument>, identity: &str) -> RejectedTick {
    RejectedTick {
        instrument,
        tick: Some(tick(&btc(), 1)),
        raw: b"{".to_vec(),
        raw_length: 1,
        reason: RejectReason::CrossedBook,
        detail: "bid 2 above ask 1".into(),
        source: "normalizer-2".into(),
        time: UnixNanos::from_seconds(1_600_000_000).unwrap(),
        identity: identity.into(),
    }
}

pub async fn rejects_are_stored_once(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    fixture.bus.publish_reject(&reject(Some(btc()), "7/0")).await.unwrap();
    fixture.bus.publish_reject(&reject(Some(btc()), "7/0")).await.unwrap();
    fixture.bus.publish_reject(&reject(None, "7/1")).await.unwrap();
    let mut follower = fixture.bus.follow_rejects(FollowFrom::AfterSequence(0));
    assert_eq!(follower.next().await.unwrap().content, reject(Some(btc()), "7/0"));
    let second = follower.next().await.unwrap();
    assert_eq!((second.stream_sequence, second.pending), (2, 0));
    assert_eq!(second.content.identity, "7/1");
}

/// Of a round that was delivered again the reject is the one of before, and the batch is new.
pub async fn a_reject_is_recovered_however_old_it_is(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let rejected = reject(Some(btc()), "7/0");
    let trades = RefusedTrades { run: 0, rows: vec![(7, 9)] };
    fixture.bus.publish_faulty(&rejected, &trades).await.unwrap();
    let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    let later = UnixNanos::new(rejected.time.nanos() + 1);
    publisher.publish(&TickBatch { normalised_at: Some(later), ..batch(&btc(), [10]) }).await.unwrap();
    let other = fixture.participant().await;
    let recovered = other.tick_publisher(shard_of(&other, &btc())).recover().await.unwrap();
    let received = rejected.tick.unwrap().receive_time;
    assert_eq!(recovered.refused, [RecoveredRefusals { instrument: btc(), trades, received }]);
}

pub async fn the_newest_batches_are_found(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    for instrument in [btc(), eth()] {
        let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &instrument));
        for sequence in 1..=3 {
            publisher.publish(&batch(&instrument, [sequence * 10, sequence * 10 + 1])).await.unwrap();
        }
        publisher.publish_fill(&batch(&instrument, [999])).await.unwrap();
    }
    let batches = fixture.participant().await.last_batches().await.unwrap();
    let found: Vec<_> =
        batches.iter().map(|(at, batch)| (*at, batch.instrument.clone(), sequences(batch))).collect();
    assert_eq!(found, [(3, btc(), vec![30, 31]), (7, eth(), vec![30, 31])]);
}
