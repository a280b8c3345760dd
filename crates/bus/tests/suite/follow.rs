use std::time::{Duration, Instant};

use bus::{Bus, Config, FollowError, FollowFrom, Source, StreamKind, TickFollower};
use domain::Instrument;
use tokio::time::timeout;

use crate::fixture::{DEADLINE, Substrate, batch, btc, eth, sequences, shard_of, snapshot};

/// Reads until the follower is at the end of the stream.
async fn catch_up(follower: &mut TickFollower) -> Vec<(u64, Vec<u64>)> {
    let mut seen = Vec::new();
    loop {
        let followed = timeout(DEADLINE, follower.next()).await.unwrap().unwrap();
        seen.push((followed.stream_sequence, sequences(&followed.content)));
        if followed.pending == 0 {
            return seen;
        }
    }
}

async fn publish(bus: &Bus, sequences: impl IntoIterator<Item = u64>) {
    let mut publisher = bus.tick_publisher(shard_of(bus, &btc()));
    publisher.recover().await.unwrap();
    for sequence in sequences {
        publisher.publish(&batch(&btc(), [sequence])).await.unwrap();
    }
}

pub async fn one_message_is_found_by_its_number(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    publisher.recover().await.unwrap();
    publisher.publish(&batch(&btc(), [1, 2])).await.unwrap();
    let fill = publisher.publish_fill(&batch(&btc(), [3])).await.unwrap();
    let found = async |sequence| fixture.bus.tick_message(sequence).await.unwrap();
    let message = found(1).await.unwrap();
    assert_eq!((message.stream_sequence, message.shard), (1, 2));
    assert_eq!(message.subject, "lf.tick.2.coinbase.BTC-USD");
    assert_eq!(message.batch, batch(&btc(), [1, 2]));
    assert_eq!(found(fill).await.unwrap().subject, "lf.fill.2.coinbase.BTC-USD");
    assert_eq!((found(0).await, found(fill + 1).await), (None, None));
}

pub async fn four_followers_see_every_tick(substrate: Substrate) {
    const TICKS: u64 = 200;
    let fixture = substrate.start(Config::default()).await;
    publish(&fixture.bus, 1..=20).await;
    let mut tasks = Vec::new();
    for from in [FollowFrom::AfterSequence(0), FollowFrom::LastPerSubject, FollowFrom::AfterSequence(20)] {
        let bus = fixture.participant().await;
        tasks.push(tokio::spawn(async move { follow_to(&bus, from, TICKS).await }));
    }
    publish(&fixture.bus, 21..=100).await;
    let late = fixture.participant().await;
    tasks.push(tokio::spawn(async move { follow_to(&late, FollowFrom::AfterSequence(20), TICKS).await }));
    publish(&fixture.bus, 101..=TICKS).await;
    for (task, first) in tasks.into_iter().zip([1, 20, 21, 21]) {
        let seen = timeout(DEADLINE, task).await.unwrap().unwrap();
        // The one that starts with the last of each subject may come when newer ticks are there already.
        let start = if first == 20 { seen[0] } else { first };
        assert!(start >= first);
        assert_eq!(seen, (start..=TICKS).collect::<Vec<_>>());
    }
}

async fn follow_to(bus: &Bus, from: FollowFrom, last: u64) -> Vec<u64> {
    let mut follower = bus.follow_ticks(from);
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        let followed = follower.next().await.unwrap();
        assert_eq!(followed.source, Source::Live);
        seen.extend(sequences(&followed.content));
    }
    seen
}

pub async fn a_late_follower_starts_with_the_last_of_each(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    publish(&fixture.bus, 1..=5).await;
    let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &eth()));
    publisher.publish(&batch(&eth(), [1])).await.unwrap();
    publisher.publish(&batch(&eth(), [2, 3])).await.unwrap();
    publisher.publish_fill(&batch(&eth(), [9])).await.unwrap();
    let late = fixture.participant().await;
    let mut follower = late.follow_ticks(FollowFrom::LastPerSubject);
    assert_eq!(follower.attach().await.unwrap(), 3);
    let seen = catch_up(&mut follower).await;
    assert_eq!(seen, [(5, vec![5]), (7, vec![2, 3]), (8, vec![9])]);
    publish(&fixture.bus, 6..=7).await;
    let next = timeout(DEADLINE, follower.next()).await.unwrap().unwrap();
    assert_eq!((next.stream_sequence, sequences(&next.content)), (9, vec![6]));
    // A follower that is resumed goes on without a seam.
    let mut resumed = late.follow_ticks(FollowFrom::AfterSequence(next.stream_sequence));
    assert_eq!(catch_up(&mut resumed).await, [(10, vec![7])]);
    // Cancelling a wait loses nothing.
    let waited = timeout(Duration::from_millis(50), resumed.next()).await;
    assert!(waited.is_err());
    publish(&fixture.bus, [8]).await;
    assert_eq!(catch_up(&mut resumed).await, [(11, vec![8])]);
}

pub async fn a_follower_starts_with_what_is_recent(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    publish(&fixture.bus, 1..=3).await;
    let all = Duration::from_secs(1_000_000_000_000);
    for age in [all, Duration::from_secs(60)] {
        let mut follower = fixture.bus.follow_ticks(FollowFrom::Recent(age));
        assert_eq!(follower.attach().await.unwrap(), 3, "{age:?}");
        assert_eq!(catch_up(&mut follower).await, [(1, vec![1]), (2, vec![2]), (3, vec![3])]);
    }
    // The first three are older than the pause, and the fourth is not as old as most of it.
    let pause = Duration::from_secs(2);
    tokio::time::sleep(pause).await;
    let after_pause = Instant::now();
    publish(&fixture.bus, [4]).await;
    let mut follower = fixture.bus.follow_ticks(FollowFrom::Recent(after_pause.elapsed() + pause * 3 / 4));
    assert_eq!(catch_up(&mut follower).await, [(4, vec![4])]);
    let mut follower = fixture.bus.follow_ticks(FollowFrom::Recent(Duration::ZERO));
    assert_eq!(follower.attach().await.unwrap(), 0);
    publish(&fixture.bus, [5]).await;
    assert_eq!(catch_up(&mut follower).await, [(5, vec![5])]);
}

pub async fn what_is_gone_is_told_with_its_range(substrate: Substrate) {
    let config = Config { ticks_size_max_bytes: Some(100_000), ..Config::default() };
    let fixture = substrate.start(config).await;
    let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    for start in 0..10 {
        publisher.publish(&batch(&btc(), start * 500 + 1..=start * 500 + 500)).await.unwrap();
    }
    let first = fixture.bus.stream_state(StreamKind::Ticks).await.unwrap().first_sequence;
    assert!((3..=10).contains(&first), "{first}");
    let mut follower = fixture.bus.follow_ticks(FollowFrom::AfterSequence(1));
    match follower.next().await.unwrap_err() {
        FollowError::Gone { stream, first: from, last } => {
            assert_eq!((stream.as_str(), from, last), ("LF_TICKS", 2, first - 1));
        }
        other => panic!("{other}"),
    }
    let seen = catch_up(&mut follower).await;
    assert_eq!(
        seen.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
        (first..=10).collect::<Vec<_>>()
    );
    // From the start means from the oldest there is.
    let mut from_start = fixture.bus.follow_ticks(FollowFrom::AfterSequence(0));
    assert_eq!(from_start.next().await.unwrap().stream_sequence, first);
}

pub async fn an_empty_stream_is_at_its_end(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    for from in [FollowFrom::LastPerSubject, FollowFrom::AfterSequence(0)] {
        let mut follower = fixture.bus.follow_ticks(from);
        assert_eq!(follower.attach().await.unwrap(), 0);
    }
    let mut follower = fixture.bus.follow_ticks(FollowFrom::LastPerSubject);
    follower.attach().await.unwrap();
    publish(&fixture.bus, [1]).await;
    assert_eq!(catch_up(&mut follower).await, [(1, vec![1])]);
    // A sequence from a stream that is no more.
    let mut stale = fixture.bus.follow_ticks(FollowFrom::AfterSequence(77));
    assert!(matches!(stale.next().await.unwrap_err(), FollowError::Restarted { known: 77, last: 1, .. }));
    assert_eq!(catch_up(&mut stale).await, [(1, vec![1])]);
}

pub async fn snapshots_are_followed_without_gaps(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let publish = async |instrument: Instrument, sequence| {
        fixture.bus.publish_snapshot(&snapshot(&instrument, sequence)).await.unwrap();
    };
    for sequence in 1..=3 {
        publish(btc(), sequence).await;
    }
    publish(eth(), 9).await;
    let reader = fixture.participant().await;
    let mut follower = reader.follow_snapshots(FollowFrom::LastPerSubject);
    assert_eq!(follower.attach().await.unwrap(), 2);
    for (at, content, pending) in [(3, snapshot(&btc(), 3), 1), (4, snapshot(&eth(), 9), 0)] {
        let followed = timeout(DEADLINE, follower.next()).await.unwrap().unwrap();
        assert_eq!((followed.stream_sequence, followed.content, followed.pending), (at, content, pending));
    }
    // Of so many that are not read in between, any may be missing but the last.
    for sequence in 4..=50 {
        publish(btc(), sequence).await;
    }
    let mut last = 4;
    while last < 51 {
        let followed = timeout(DEADLINE, follower.next()).await.unwrap().unwrap();
        assert!(followed.stream_sequence > last);
        last = followed.stream_sequence;
    }
    // The same for one who comes back: 5 to 50 are no more.
    let mut resumed = reader.follow_snapshots(FollowFrom::AfterSequence(4));
    let next = timeout(DEADLINE, resumed.next()).await.unwrap().unwrap();
    assert_eq!((next.stream_sequence, next.content, next.pending), (51, snapshot(&btc(), 50), 0));
    // And for one who goes from the very first to the end.
    let mut early = reader.follow_snapshots(FollowFrom::AfterSequence(1));
    for at in [4, 51] {
        assert_eq!(timeout(DEADLINE, early.next()).await.unwrap().unwrap().stream_sequence, at);
    }
}
