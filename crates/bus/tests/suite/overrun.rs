//! Messages that left the stream before their worker read them, and messages that a worker gives up on.

use std::time::Duration;

use bus::{Config, FollowFrom, StreamKind, Work};
use domain::{EventKind, FeedEvent, Instrument, Position, RejectReason};
use testkit::eventually;

use crate::fixture::{
    DEADLINE, Fixture, Substrate, batch, btc, delivered, fetch, instrument, publish_raw, raw_reader, shard_of,
};

/// Everything in `LF_TICKS` ages out. The limit is that short only meanwhile: what is published before or after waits for its
/// reader, however slow the machine is.
async fn age_out(fixture: &Fixture) {
    let forgetful = Config { ticks_age_max: Duration::from_secs(1), ..Config::default() };
    fixture.participant_with(&forgetful).await.ensure_streams().await.unwrap();
    eventually(DEADLINE, || async {
        fixture.bus.stream_state(StreamKind::Ticks).await.unwrap().messages == 0
    })
    .await;
    fixture.bus.ensure_streams().await.unwrap();
}

async fn overruns(fixture: &Fixture) -> Vec<(Instrument, u64, u64)> {
    let state = fixture.bus.stream_state(StreamKind::Events).await.unwrap();
    let mut follower = fixture.bus.follow_events(FollowFrom::AfterSequence(0));
    let mut overruns = Vec::new();
    for _ in 0..state.messages {
        let FeedEvent { instrument, kind, source, .. } = follower.next().await.unwrap().content;
        let EventKind::Overrun { stream, first_sequence, last_sequence } = kind else { panic!("{kind:?}") };
        assert_eq!((stream.as_str(), source.starts_with("snapshotter/")), ("LF_TICKS", true));
        overruns.push((instrument, first_sequence, last_sequence));
    }
    overruns
}

/// Another product of the shard of BTC-USD.
fn neighbour(shards: domain::ShardCount) -> Instrument {
    let mut products = (0..).map(|number| instrument(&format!("X{number}-USD")));
    products.find(|product| shards.shard_of(product) == shards.shard_of(&btc())).unwrap()
}

pub async fn what_aged_out_unread_is_told_per_product(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let (shard, other) = (shard_of(&fixture.bus, &btc()), neighbour(fixture.bus.shards()));
    let mut publisher = fixture.bus.tick_publisher(shard);
    publisher.recover().await.unwrap();
    let mut reader = fixture.bus.work(Work::Ticks, shard);
    publisher.publish(&batch(&btc(), [1])).await.unwrap();
    publisher.publish(&batch(&other, [1])).await.unwrap();
    let read = fetch(&mut reader, 2).await;
    reader.ack(&read).await.unwrap();
    drop(reader);
    // Asked on the same connection: when this is answered, the server knows that the reader is gone and sends it nothing more.
    fixture.bus.lag(Work::Ticks, shard).await.unwrap();

    // Nobody reads. One product loses two messages (3 and 4), the other one none.
    publisher.publish(&batch(&btc(), [2])).await.unwrap();
    publisher.publish(&batch(&btc(), [3])).await.unwrap();
    age_out(&fixture).await;
    publisher.publish(&batch(&btc(), [4])).await.unwrap();
    publisher.publish(&batch(&other, [2])).await.unwrap();
    let heir = fixture.participant().await;
    let at = |sequence| Position { run: 0, sequence };
    let mut reader = heir.work(Work::Ticks, shard).with_stored([(btc(), at(1)), (other.clone(), at(1))]);
    let read = fetch(&mut reader, 2).await;
    assert_eq!(delivered(&read), [4, 2]);
    assert_eq!([read[0].detached, read[1].detached], [true, false]);
    assert_eq!(overruns(&fixture).await, [(btc(), 3, 4)], "told before it is given out, to the message");
    reader.ack(&read).await.unwrap();

    // The same for the other product. What the server had sent to the reader that died counts as acknowledged for it when
    // it ages out.
    drop(reader);
    publisher.publish(&batch(&other, [3])).await.unwrap();
    age_out(&fixture).await;
    publisher.publish(&batch(&other, [4])).await.unwrap();
    let heir = fixture.participant().await;
    let mut reader = heir.work(Work::Ticks, shard).with_stored([(btc(), at(4)), (other.clone(), at(2))]);
    assert_eq!(delivered(&fetch(&mut reader, 1).await), [4]);
    assert_eq!(overruns(&fixture).await[1..], [(other, 7, 7)]);
    // Said again after a restart, it is one event all the same.
    reader.restart();
    fetch(&mut reader, 1).await;
    assert_eq!(overruns(&fixture).await.len(), 2);
}

pub async fn what_was_read_in_time_is_no_overrun(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    publisher.recover().await.unwrap();
    let mut reader = fixture.bus.work(Work::Ticks, shard);
    for sequence in 1..=3 {
        publisher.publish(&batch(&btc(), [sequence])).await.unwrap();
        let read = fetch(&mut reader, 1).await;
        reader.ack(&read).await.unwrap();
    }
    // The stream goes on with what is none of this shard's business, and everything ages out.
    let elsewhere = instrument("ETH-USD");
    let mut other = fixture.bus.tick_publisher(shard_of(&fixture.bus, &elsewhere));
    other.recover().await.unwrap();
    for sequence in 1..=3 {
        other.publish(&batch(&elsewhere, [sequence])).await.unwrap();
    }
    age_out(&fixture).await;
    publisher.publish(&batch(&btc(), [4])).await.unwrap();
    // Both the reader that saw it all and one that knows only what was acknowledged.
    assert_eq!(delivered(&fetch(&mut reader, 1).await), [4]);
    drop(reader);
    let heir = fixture.participant().await;
    assert_eq!(delivered(&fetch(&mut heir.work(Work::Ticks, shard), 1).await), [4]);
    let stored = [(btc(), Position { run: 0, sequence: 3 })];
    assert_eq!(delivered(&fetch(&mut heir.work(Work::Ticks, shard).with_stored(stored), 1).await), [4]);
    assert_eq!(overruns(&fixture).await, []);
}

pub async fn a_message_that_is_given_up_is_filed_tick_by_tick(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let raw = batch(&btc(), [1, 2, 3]);
    fixture.bus.publish_raw_fill(&raw, "1").await.unwrap();
    publish_raw(&fixture.bus, &btc(), [4]).await;
    let mut reader = raw_reader(&fixture.bus, &btc());
    let read = fetch(&mut reader, 2).await;
    for _ in 0..2 {
        let why = "the worker panicked";
        fixture.bus.reject_message(&read[0], RejectReason::Unprocessable, why, "test/1").await.unwrap();
    }
    let mut follower = fixture.bus.follow_rejects(FollowFrom::AfterSequence(0));
    for tick in &raw.ticks {
        let reject = follower.next().await.unwrap().content;
        assert_eq!((reject.reason, reject.tick.as_ref()), (RejectReason::Unprocessable, Some(tick)));
        assert!(
            reject.detail.contains("panicked") && reject.detail.contains("message 1"),
            "{}",
            reject.detail
        );
    }
    let rejects = fixture.bus.stream_state(StreamKind::Rejects).await.unwrap();
    assert_eq!(rejects.messages, 3, "filed once");
}
