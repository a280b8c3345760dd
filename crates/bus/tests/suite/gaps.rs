use bus::{Config, PublishError, StreamKind};
use domain::{EventKind, FeedEvent, Gap, GapCause, GapState, Instrument, UnixNanos};

use crate::fixture::{Substrate, batch, btc, eth, shard_of};

/// Two trades of a product are missing.
fn gap(instrument: &Instrument, first: u64) -> Gap {
    Gap {
        instrument: instrument.clone(),
        run: 0,
        first_trade_id: first,
        last_trade_id: first + 1,
        after: None,
        before: None,
        detected_at: UnixNanos::from_seconds(1_600_000_000).unwrap(),
        cause: GapCause::Drop,
        state: GapState::Open,
        repaired_count: 0,
    }
}

fn told(gap: Gap, kind: impl FnOnce(Gap) -> EventKind) -> FeedEvent {
    let (instrument, time) = (gap.instrument.clone(), gap.detected_at);
    FeedEvent { instrument, time, source: "normalizer/a".into(), kind: kind(gap) }
}

fn event(instrument: &Instrument, first: u64) -> FeedEvent {
    told(gap(instrument, first), EventKind::Gap)
}

pub async fn the_newest_gap_of_each_product_is_recovered(substrate: Substrate) {
    let config = Config { shards: domain::ShardCount::new(1).unwrap(), ..Config::default() };
    let fixture = substrate.start(config).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    for first in [10, 20, 30] {
        publisher.publish_gaps(&[&event(&btc(), first), &event(&eth(), first)]).await.unwrap();
    }
    fixture.bus.publish_event(&told(gap(&btc(), 10), EventKind::Repaired)).await.unwrap();
    let other = fixture.participant().await;
    let recovered = other.tick_publisher(shard).recover().await.unwrap();
    let mut newest = recovered.gaps;
    newest.sort_by(|one, other| one.instrument.cmp(&other.instrument));
    assert_eq!(newest, [gap(&btc(), 30), gap(&eth(), 30)]);
}

/// Somebody else has the shard, and has published what seems to be missing: it must not be told.
pub async fn a_gap_is_not_told_by_who_does_not_know_the_ticks(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut earlier = fixture.bus.tick_publisher(shard);
    earlier.recover().await.unwrap();
    earlier.publish(&batch(&btc(), [1])).await.unwrap();
    let mut later = fixture.participant().await.tick_publisher(shard);
    later.recover().await.unwrap();

    earlier.publish(&batch(&btc(), [2])).await.unwrap();
    let error = later.publish_gaps(&[&event(&btc(), 2)]).await.unwrap_err();
    assert!(matches!(error, PublishError::TakenOver { .. }) && error.needs_recovery(), "{error}");
    later.recover().await.unwrap();
    later.publish_gaps(&[&event(&btc(), 3)]).await.unwrap();
    later.publish(&batch(&btc(), [5])).await.unwrap();
    let error = earlier.publish_gaps(&[&event(&btc(), 3)]).await.unwrap_err();
    assert!(matches!(error, PublishError::Fenced { .. }), "{error}");
    assert_eq!(fixture.bus.stream_state(StreamKind::Events).await.unwrap().messages, 1);
}

pub async fn a_gap_is_not_told_by_who_does_not_know_the_gaps(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut earlier = fixture.bus.tick_publisher(shard);
    earlier.recover().await.unwrap();
    let mut later = fixture.participant().await.tick_publisher(shard);
    later.recover().await.unwrap();

    earlier.publish_gaps(&[&event(&btc(), 10)]).await.unwrap();
    let error = later.publish_gaps(&[&event(&btc(), 11)]).await.unwrap_err();
    assert!(matches!(error, PublishError::TakenOver { .. }), "{error}");
    later.recover().await.unwrap();
    // The same one again is stored once, and another one behind it.
    later.publish_gaps(&[&event(&btc(), 10)]).await.unwrap();
    later.publish_gaps(&[&event(&btc(), 20)]).await.unwrap();
    later.publish_gaps(&[&event(&btc(), 30)]).await.unwrap();
    assert_eq!(fixture.bus.stream_state(StreamKind::Events).await.unwrap().messages, 3);
}

/// A snapshotter tells of gaps without owning the shard.
pub async fn who_owns_nothing_fences_nobody(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    publisher.recover().await.unwrap();
    let aside = async |first| fixture.bus.publish_event(&event(&btc(), first)).await.unwrap();
    aside(10).await;
    publisher.publish_gaps(&[&event(&btc(), 20)]).await.unwrap();
    aside(30).await;
    // Both tell of the same one, and it goes on behind that.
    publisher.publish_gaps(&[&event(&btc(), 30)]).await.unwrap();
    aside(40).await;
    publisher.publish_gaps(&[&event(&btc(), 50)]).await.unwrap();
    assert_eq!(fixture.bus.stream_state(StreamKind::Events).await.unwrap().messages, 5);

    let mut heir = fixture.participant().await.tick_publisher(shard);
    assert_eq!(heir.recover().await.unwrap().gaps, [gap(&btc(), 50)]);
    aside(60).await;
    assert_eq!(heir.recover().await.unwrap().gaps, [], "what others tell is not where the shard stands");
    heir.publish_gaps(&[&event(&btc(), 70)]).await.unwrap();
    let error = publisher.publish_gaps(&[&event(&btc(), 80)]).await.unwrap_err();
    assert!(matches!(error, PublishError::Fenced { .. }), "{error}");
}
