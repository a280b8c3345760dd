use std::time::Duration;

use bus::{Config, FollowFrom, PublishError, Source, StreamKind};
use domain::Instrument;
use testkit::eventually;

use crate::fixture::{DEADLINE, Substrate, batch, btc, eth, sequences, shard_of, snapshot};

pub async fn a_subject_that_aged_out_starts_again(substrate: Substrate) {
    let config = Config { ticks_age_max: Duration::from_secs(1), ..Config::default() };
    let fixture = substrate.start(config).await;
    let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    publisher.recover().await.unwrap();
    assert_eq!(publisher.publish(&batch(&btc(), [1])).await.unwrap(), 1);
    assert_eq!(publisher.publish(&batch(&btc(), [2])).await.unwrap(), 2);
    eventually(DEADLINE, || async {
        fixture.bus.stream_state(StreamKind::Ticks).await.unwrap().messages == 0
    })
    .await;
    assert_eq!(publisher.publish(&batch(&btc(), [3])).await.unwrap(), 3);
    assert_eq!(publisher.publish(&batch(&btc(), [4])).await.unwrap(), 4);
}

pub async fn a_lost_acknowledgement_is_found(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    assert_eq!(publisher.publish(&batch(&btc(), [1])).await.unwrap(), 1);
    // The same owner that does not know of its own message: as if the acknowledgement had been lost.
    let mut forgetful = fixture.bus.tick_publisher(shard);
    assert_eq!(forgetful.publish(&batch(&btc(), [1])).await.unwrap(), 1);
    assert_eq!(fixture.bus.stream_state(StreamKind::Ticks).await.unwrap().messages, 1);
    assert_eq!(forgetful.publish(&batch(&btc(), [2])).await.unwrap(), 2);
}

/// What was given up and stored all the same must be seen before anything is published behind it: it may hold the same
/// ticks.
pub async fn an_own_earlier_message_asks_for_recovery(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    fixture.bus.tick_publisher(shard).publish(&batch(&btc(), [1])).await.unwrap();
    let mut forgetful = fixture.bus.tick_publisher(shard);
    let error = forgetful.publish(&batch(&btc(), [1, 2])).await.unwrap_err();
    assert!(matches!(error, PublishError::Unrecovered { .. }) && error.needs_recovery(), "{error}");
    let recovered = forgetful.recover().await.unwrap();
    assert_eq!(recovered.batches[0].batch, batch(&btc(), [1]));
    assert_eq!(forgetful.publish(&batch(&btc(), [2])).await.unwrap(), 2);
}

pub async fn many_products_are_published_together(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    publisher.recover().await.unwrap();
    let live = |instrument: &Instrument, sequence| (Source::Live, batch(instrument, [sequence]));
    let fill = (Source::Fill, batch(&btc(), [7]));
    let batches = [live(&btc(), 1), live(&eth(), 1), live(&btc(), 2), fill, live(&btc(), 3), live(&eth(), 2)];
    publisher.publish_all(&batches).await.unwrap();
    // What it knows of each subject is up to date.
    publisher.publish_all(&[live(&btc(), 4), live(&eth(), 3)]).await.unwrap();

    let mut follower = fixture.bus.follow_ticks(FollowFrom::AfterSequence(0));
    let mut seen = Vec::new();
    for _ in 0..8 {
        let followed = follower.next().await.unwrap();
        if followed.source == Source::Live {
            seen.push((followed.content.instrument.clone(), followed.content.ticks[0].sequence.unwrap()));
        }
    }
    let of = |instrument: &Instrument| -> Vec<u64> {
        seen.iter().filter(|(name, _)| name == instrument).map(|(_, sequence)| *sequence).collect()
    };
    assert_eq!((of(&btc()), of(&eth())), (vec![1, 2, 3, 4], vec![1, 2, 3]));
}

pub async fn who_started_earlier_is_fenced(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut earlier = fixture.bus.tick_publisher(shard);
    earlier.publish(&batch(&btc(), [1])).await.unwrap();
    let later = fixture.participant().await;
    let mut publisher = later.tick_publisher(shard);
    publisher.recover().await.unwrap();
    publisher.publish(&batch(&btc(), [2])).await.unwrap();
    let error = earlier.publish(&batch(&btc(), [2, 3])).await.unwrap_err();
    assert!(!error.is_retryable() && !error.needs_recovery());
    match error {
        PublishError::Fenced { subject, by } => {
            assert_eq!((subject.as_str(), by), ("lf.tick.2.coinbase.BTC-USD", *later.owner()));
        }
        other => panic!("{other}"),
    }
    assert_eq!(fixture.bus.stream_state(StreamKind::Ticks).await.unwrap().messages, 2);
}

pub async fn who_started_later_takes_over(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let later = fixture.participant().await;
    let mut publisher = later.tick_publisher(shard);
    publisher.recover().await.unwrap();
    fixture.bus.tick_publisher(shard).publish(&batch(&btc(), [1, 2])).await.unwrap();
    let error = publisher.publish(&batch(&btc(), [1])).await.unwrap_err();
    assert!(error.needs_recovery());
    assert!(matches!(error, PublishError::TakenOver { from, .. } if from == *fixture.bus.owner()), "{error}");
    let recovered = publisher.recover().await.unwrap();
    assert_eq!(recovered.batches.len(), 1);
    assert_eq!(recovered.batches[0].stream_sequence, 1);
    assert_eq!(sequences(&recovered.batches[0].batch), [1, 2]);
    assert_eq!(publisher.publish(&batch(&btc(), [3])).await.unwrap(), 2);
}

pub async fn a_shard_recovers_what_is_its_own(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let shard = shard_of(&fixture.bus, &btc());
    let mut publisher = fixture.bus.tick_publisher(shard);
    publisher.publish(&batch(&btc(), [1])).await.unwrap();
    publisher.publish(&batch(&btc(), [2, 3])).await.unwrap();
    publisher.publish_fill(&batch(&btc(), [9])).await.unwrap();
    fixture.bus.tick_publisher(shard_of(&fixture.bus, &eth())).publish(&batch(&eth(), [7])).await.unwrap();
    fixture.bus.publish_snapshot(&snapshot(&btc(), 1)).await.unwrap();
    fixture.bus.publish_snapshot(&snapshot(&eth(), 1)).await.unwrap();
    let other = fixture.participant().await;
    let mut publisher = other.tick_publisher(shard);
    let recovered = publisher.recover().await.unwrap();
    let batches: Vec<_> =
        recovered.batches.iter().map(|batch| (batch.stream_sequence, sequences(&batch.batch))).collect();
    assert_eq!(batches, [(2, vec![2, 3])], "a backfill is no position");
    assert_eq!(recovered.snapshots, [snapshot(&btc(), 1)]);
    assert_eq!(publisher.publish_fill(&batch(&btc(), [10])).await.unwrap(), 5);
    assert_eq!(publisher.publish(&batch(&btc(), [4])).await.unwrap(), 6);
}

pub async fn a_batch_says_which_raw_stream_it_was_made_from(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let mut publisher = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    publisher.publish(&batch(&btc(), [1])).await.unwrap();
    let unsaid = publisher.recover().await.unwrap();
    assert!(!unsaid.batches[0].raw_is_current, "it was published before the raw stream was looked at");
    publisher.publish(&batch(&btc(), [2])).await.unwrap();
    let other = fixture.participant().await;
    let recovered = other.tick_publisher(shard_of(&other, &btc())).recover().await.unwrap();
    assert!(recovered.batches[0].raw_is_current);
}
