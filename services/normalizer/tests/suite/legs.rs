//! Feeds that lose trades, alone and in pairs, under owners that die.

use std::time::Duration;

use domain::{GapCause, Heartbeat, UnixNanos};
use testkit::eventually;

use crate::fixture::{
    Fixture, SOON, Substrate, config, gaps, instrument, missing, published, publisher, rejects, send, start,
    start_with, tick,
};

/// Runs each test on each substrate.
macro_rules! on_each_substrate {
    ($($test:ident),+) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(crate::fixture::Substrate::Embedded).await;
                }
            )+
        }

        mod jetstream {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(crate::fixture::Substrate::JetStream).await;
                }
            )+
        }
    };
}

on_each_substrate! {
    what_one_feed_loses_is_told_once,
    heartbeats_tell_of_the_end,
    of_two_feeds_each_fills_in_what_the_other_loses,
    one_of_two_ingestors_dies_under_load,
    what_comes_too_late_is_a_fill
}

/// Whether a leg loses a trade; some are lost by both.
fn is_lost(leg: u64, trade_id: u64) -> bool {
    let mixed = trade_id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    mixed % 10 == leg || mixed % 97 == 5
}

/// The whole of it: kills owners until `sending` is through, then lets one finish.
async fn under_dying_owners(
    fixture: &Fixture,
    config: &normalizer::Config,
    sending: impl Future<Output = ()> + Send + 'static,
    last: u64,
) -> Vec<u64> {
    let mut sending = tokio::spawn(sending);
    for death in 0..5 {
        let running = start_with(&fixture.participant().await, config.clone());
        tokio::time::sleep(Duration::from_millis(15 * (death + 1))).await;
        running.task.abort();
    }
    let running = start_with(&fixture.participant().await, config.clone());
    tokio::time::timeout(SOON, &mut sending).await.expect("the raw stream takes everything").unwrap();
    let sequences = published(&fixture.bus, last).await;
    running.stop().await;
    sequences
}

/// A reconnect in the middle, losses all over, and owners that die between the events, the ticks and the acknowledgement.
async fn what_one_feed_loses_is_told_once(substrate: Substrate) {
    const LAST: u64 = 2000;
    let kept = |trade_id: &u64| [1, LAST].contains(trade_id) || !is_lost(0, *trade_id);
    let fixture = substrate.start().await;
    let bus = fixture.bus.clone();
    let sending = async move {
        send(&bus, "host-a-1", (1..=LAST / 2).filter(kept)).await;
        send(&bus, "host-a-2", (LAST / 2 + 1..=LAST).filter(kept)).await;
    };
    let config = normalizer::Config { fetch_messages_max: 4, merge_wait: Duration::ZERO, ..config() };
    let sequences = under_dying_owners(&fixture, &config, sending, LAST).await;
    assert_eq!(sequences, (1..=LAST).filter(kept).collect::<Vec<_>>(), "each once, in order");
    let gaps = gaps(&fixture.bus).await;
    assert_eq!(missing(&gaps), (1..=LAST).filter(|trade_id| !kept(trade_id)).collect::<Vec<_>>());
    assert!(gaps.iter().all(|gap| matches!(gap.cause, GapCause::Batched | GapCause::Disconnect)));
    assert_eq!(rejects(&fixture.bus).await, 0);
}

/// Trades that are lost before the product goes quiet.
async fn heartbeats_tell_of_the_end(substrate: Substrate) {
    let fixture = substrate.start().await;
    let running = start(&fixture.bus);
    let feed = publisher(&fixture.bus, "host-a-1");
    for sequence in 1..=10 {
        feed.send(tick(sequence)).await.unwrap();
    }
    for last_trade_id in [10, 13, 13] {
        let heartbeat = Heartbeat { last_trade_id, time: UnixNanos::from_seconds(1_600_000_005).unwrap() };
        feed.send_heartbeat(instrument(), heartbeat).await.unwrap();
    }
    let told = eventually(SOON, || async {
        let gaps = gaps(&fixture.bus).await;
        if gaps.is_empty() { Err(gaps) } else { Ok(gaps) }
    })
    .await;
    assert_eq!((missing(&told), told[0].cause), (vec![11, 12, 13], GapCause::Drop));
    feed.send(tick(14)).await.unwrap();
    feed.close().await;
    assert_eq!(published(&fixture.bus, 14).await, (1..=10).chain([14]).collect::<Vec<_>>());
    running.stop().await;
    assert_eq!(gaps(&fixture.bus).await, told);
}

async fn of_two_feeds_each_fills_in_what_the_other_loses(substrate: Substrate) {
    const LAST: u64 = 2000;
    let kept = |leg, trade_id| [1, LAST].contains(&trade_id) || !is_lost(leg, trade_id);
    let by_both = |trade_id: &u64| !kept(0, *trade_id) && !kept(1, *trade_id);
    let fixture = substrate.start().await;
    let bus = fixture.bus.clone();
    let sending = async move {
        let feeds = [publisher(&bus, "host-a-1"), publisher(&bus, "host-b-1")];
        for trade_id in 1..=LAST {
            for (leg, feed) in (0..).zip(&feeds) {
                if kept(leg, trade_id) {
                    feed.send(tick(trade_id)).await.unwrap();
                }
            }
            if trade_id % 20 == 0 {
                // So that the owners have something to die over.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        for feed in feeds {
            feed.close().await;
        }
    };
    // Longer than any stall of the machine that this runs on.
    let config = normalizer::Config { merge_wait: Duration::from_secs(3), ..config() };
    let sequences = under_dying_owners(&fixture, &config, sending, LAST).await;
    let came = (1..=LAST).filter(|trade_id| !by_both(trade_id)).collect::<Vec<_>>();
    assert_eq!(sequences, came, "each once, in order");
    let lost = (1..=LAST).filter(by_both).collect::<Vec<_>>();
    assert!(!lost.is_empty());
    assert_eq!(missing(&gaps(&fixture.bus).await), lost, "what both lost is in one gap");
    assert_eq!(rejects(&fixture.bus).await, 0);
}

async fn one_of_two_ingestors_dies_under_load(substrate: Substrate) {
    const LAST: u64 = 4000;
    let fixture = substrate.start().await;
    let running = start(&fixture.participant().await);
    let (mut first, second) =
        (Some(publisher(&fixture.bus, "host-a-1")), publisher(&fixture.bus, "host-b-1"));
    for trade_id in 1..=LAST {
        if trade_id == LAST / 2 {
            // With everything that it has not got rid of.
            first = None;
        }
        if let Some(feed) = &first {
            feed.send(tick(trade_id)).await.unwrap();
        }
        second.send(tick(trade_id)).await.unwrap();
    }
    second.close().await;
    let sequences = published(&fixture.bus, LAST).await;
    assert_eq!(sequences, (1..=LAST).collect::<Vec<_>>(), "each once, in order");
    assert_eq!((gaps(&fixture.bus).await, rejects(&fixture.bus).await), (vec![], 0));
    running.stop().await;
}

/// The other leg has it, but brings it after the wait.
async fn what_comes_too_late_is_a_fill(substrate: Substrate) {
    let fixture = substrate.start().await;
    let config = normalizer::Config { merge_wait: Duration::from_millis(20), ..config() };
    let running = start_with(&fixture.participant().await, config);
    send(&fixture.bus, "host-b-1", [1]).await;
    send(&fixture.bus, "host-a-1", [1, 3]).await;
    // Nothing comes that would wake the owner; the wait does.
    assert_eq!(published(&fixture.bus, 3).await, [1, 3]);
    assert_eq!(missing(&gaps(&fixture.bus).await), [2]);
    send(&fixture.bus, "host-b-2", [2, 3, 4]).await;
    assert_eq!(published(&fixture.bus, 4).await, [1, 3, 4]);
    let mut follower = fixture.bus.follow_ticks(bus::FollowFrom::AfterSequence(0));
    let fill = eventually(SOON, || async {
        let state = fixture.bus.stream_state(bus::StreamKind::Ticks).await.unwrap();
        if state.messages < 4 { Err(state) } else { Ok(state) }
    });
    let count = fill.await.messages;
    let mut fills = Vec::new();
    for _ in 0..count {
        let batch = follower.next().await.unwrap().content;
        fills.extend(batch.ticks.into_iter().filter(|tick| tick.flags.backfilled));
    }
    let [fill] = &fills[..] else { panic!("{fills:?}") };
    assert_eq!((fill.trade_id(), fill.position()), (Some(2), None));
    assert_eq!((missing(&gaps(&fixture.bus).await), rejects(&fixture.bus).await), (vec![2], 0));
    running.stop().await;
}
