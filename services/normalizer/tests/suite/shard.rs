//! Owners of a shard.

use std::time::Duration;

use bus::Bus;
use domain::{
    Decimal, EventKind, FeedEvent, FeedSession, Gap, GapCause, GapState, Quote, Tick, TickBatch, UnixNanos,
};
use testkit::eventually;

use crate::fixture::{
    SOON, Substrate, announce_snapshotter, gaps, missing, published, publisher, rejects, send, shard, start,
    start_with, tick,
};

async fn an_owner_dies_again_and_again(substrate: Substrate) {
    let fixture = substrate.start().await;
    let bus = fixture.bus.clone();
    let mut from = 1;
    for death in 0..4 {
        let running = start(&fixture.participant().await);
        let (sender, session) = (bus.clone(), format!("feed-{death}"));
        let range = from..from + 400;
        from += 400;
        let sending = tokio::spawn(async move { send(&sender, &session, range).await });
        tokio::time::sleep(Duration::from_millis(20 * (death + 1))).await;
        running.task.abort();
        sending.await.unwrap();
    }
    let running = start(&fixture.participant().await);
    let sequences = published(&bus, from - 1).await;
    assert_eq!(sequences, (1..from).collect::<Vec<_>>(), "each once, in order");
    // What a dead owner had in hand is recognised, never refused.
    let rejects = bus.stream_state(bus::StreamKind::Rejects).await.unwrap().messages;
    assert_eq!(rejects, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_dies_again_and_again_embedded() {
    an_owner_dies_again_and_again(Substrate::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_dies_again_and_again_jetstream() {
    an_owner_dies_again_and_again(Substrate::JetStream).await;
}

/// Faulty trades are in one place, the rejects, also when they were the last thing that a normalizer did.
async fn a_faulty_trade_that_was_filed_last_is_not_told_to_be_missing(substrate: Substrate) {
    let fixture = substrate.start().await;
    let bus = fixture.bus.clone();
    let running = start(&fixture.participant().await);
    let sender = publisher(&bus, "feed-1");
    for sequence in 1..=5 {
        sender.send(tick(sequence)).await.unwrap();
    }
    assert_eq!(published(&bus, 5).await.len(), 5);
    let mut not_positive = tick(6);
    not_positive.last_trade.as_mut().unwrap().price = Decimal::ZERO;
    sender.send(not_positive).await.unwrap();
    for sequence in [7, 8] {
        let mut crossed = tick(sequence);
        crossed.best_bid = Some(Quote { price: Decimal::from(2), size: None });
        crossed.best_ask = Some(Quote { price: Decimal::ONE, size: None });
        sender.send(crossed).await.unwrap();
    }
    eventually(SOON, || async {
        let lag = bus.lag(bus::Work::Raw, shard(&bus)).await.unwrap();
        rejects(&bus).await == 3 && lag.pending_messages + lag.unacknowledged == 0
    })
    .await;
    running.task.abort();

    let running = start(&fixture.participant().await);
    // 10 is missing indeed.
    for sequence in [9, 11] {
        sender.send(tick(sequence)).await.unwrap();
    }
    sender.close().await;
    assert_eq!(published(&bus, 11).await, [1, 2, 3, 4, 5, 9, 11]);
    assert_eq!((missing(&gaps(&bus).await), rejects(&bus).await), (vec![10], 3));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_trade_that_was_filed_last_is_not_told_to_be_missing_embedded() {
    a_faulty_trade_that_was_filed_last_is_not_told_to_be_missing(Substrate::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_trade_that_was_filed_last_is_not_told_to_be_missing_jetstream() {
    a_faulty_trade_that_was_filed_last_is_not_told_to_be_missing(Substrate::JetStream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_started_earlier_is_fenced_and_comes_back_after_a_while() {
    let config = bus::Config::default();
    let bus = Bus::embedded(&config);
    bus.ensure_streams().await.unwrap();
    announce_snapshotter(&bus).await;
    let earlier = start(&bus);
    send(&bus, "feed-1", 1..=10).await;
    assert_eq!(published(&bus, 10).await.len(), 10);

    // Somebody who started later publishes as the owner of the shard.
    let later = bus.join(&config);
    let mut publisher = later.tick_publisher(shard(&bus));
    let recovered = publisher.recover().await.unwrap();
    let mut batch = recovered.batches[0].batch.clone();
    batch.ticks = vec![tick(20)];
    publisher.publish(&batch).await.unwrap();

    send(&bus, "feed-2", 15..=30).await;
    let reason = eventually(SOON, || async {
        let report = earlier.readiness.report();
        let told = format!("{report:?}");
        report.waiting.into_iter().find(|latch| latch.reason.contains("started later")).ok_or(told)
    })
    .await
    .reason;
    assert!(reason.contains(&later.owner().to_string()), "it says who: {reason}");

    // The later one publishes no more: the earlier one takes up where the shard stands, repeating nothing.
    let sequences = published(&bus, 30).await;
    assert_eq!(sequences, (1..=10).chain(20..=30).collect::<Vec<_>>());
    earlier.stop().await;
}

/// Where small messages, all of them read, fill most of the stream, the average says little of what waits: large ones.
#[tokio::test]
async fn what_waits_is_measured_by_what_was_published_lately() {
    let shards = domain::ShardCount::new(1).unwrap();
    let config =
        bus::Config { shards, ticks_size_max_bytes: Some(4 * 1024 * 1024), ..bus::Config::default() };
    let bus = Bus::embedded(&config);
    bus.ensure_streams().await.unwrap();
    let mut publisher = bus.tick_publisher(shard(&bus));
    publisher.recover().await.unwrap();
    let batch = |ticks: Vec<Tick>| TickBatch {
        instrument: tick(1).instrument,
        ticks,
        session: FeedSession { id: "feed-1".into(), started: UnixNanos::now() },
        raw_sequence: None,
        normalised_at: Some(UnixNanos::now()),
        heartbeat: None,
    };
    let mut snapshotter = bus.work(bus::Work::Ticks, shard(&bus));
    for sequence in 1..=2_000 {
        publisher.publish(&batch(vec![tick(sequence)])).await.unwrap();
    }
    while bus.lag(bus::Work::Ticks, shard(&bus)).await.unwrap().pending_messages > 0 {
        let read = snapshotter.fetch(256, SOON).await.unwrap();
        snapshotter.ack(&read).await.unwrap();
    }
    let state = || async { bus.stream_state(bus::StreamKind::Ticks).await.unwrap() };
    let read = state().await.size_bytes;
    let mut next = 2_001;
    // Nothing is dropped up to here: what was added is what waits.
    while state().await.size_bytes < state().await.size_bytes_max / 100 * 95 {
        publisher.publish(&batch((next..next + 512).map(tick).collect())).await.unwrap();
        next += 512;
    }
    let unread_percent = (state().await.size_bytes - read) * 100 / state().await.size_bytes_max;
    let (work, shard) = (bus::Work::Ticks, shard(&bus));
    let by_average = bus.lag(work, shard).await.unwrap().percent_of_limit;
    let measured =
        bus.lag_of_messages(work, shard, publisher.message_bytes()).await.unwrap().percent_of_limit;
    assert!(by_average < unread_percent / 2, "{by_average} % of {unread_percent} % by the average");
    assert!(measured >= unread_percent * 9 / 10, "{measured} % of {unread_percent} %");
}

/// With the snapshotter away, a normalizer stops before the tick stream would drop what was not read; the raw stream
/// keeps the rest, and everything comes in order when the snapshotter is back.
#[tokio::test(flavor = "multi_thread")]
async fn it_pauses_while_the_snapshotter_is_too_far_behind() {
    const TICKS: u64 = 120_000;
    let shards = domain::ShardCount::new(1).unwrap();
    let config =
        bus::Config { shards, ticks_size_max_bytes: Some(3 * 1024 * 1024), ..bus::Config::default() };
    let bus = Bus::embedded(&config);
    bus.ensure_streams().await.unwrap();
    let mut snapshotter = bus.work(bus::Work::Ticks, shard(&bus));
    assert!(snapshotter.fetch(1, Duration::ZERO).await.unwrap().is_empty());
    announce_snapshotter(&bus).await;
    let normalizer_config = normalizer::Config { fetch_messages_max: 2, ..normalizer::Config::default() };
    let running = start_with(&bus, normalizer_config);
    send(&bus, "feed-1", 1..=TICKS).await;
    eventually(SOON, || async {
        let report = running.readiness.report();
        report.waiting.iter().any(|latch| latch.reason.contains("paused"))
    })
    .await;

    let mut sequences = Vec::new();
    while sequences.last() != Some(&TICKS) {
        let deliveries = snapshotter.fetch(64, SOON).await.unwrap();
        assert!(!deliveries.is_empty(), "{} of {TICKS} ticks came", sequences.len());
        for delivery in &deliveries {
            let batch = delivery.content.as_ref().unwrap();
            sequences.extend(batch.ticks.iter().map(|tick| tick.sequence.unwrap()));
        }
        snapshotter.ack(&deliveries).await.unwrap();
    }
    assert!(sequences.iter().copied().eq(1..=TICKS), "nothing was dropped unread");
    running.stop().await;
}

/// The same for the gaps that the ledger has not read; what it has read may fill the stream of events.
#[tokio::test(flavor = "multi_thread")]
async fn it_pauses_while_the_ledger_is_too_far_behind() {
    let shards = domain::ShardCount::new(1).unwrap();
    let config = bus::Config { shards, events_size_max_bytes: Some(1024 * 1024), ..bus::Config::default() };
    let bus = Bus::embedded(&config);
    bus.ensure_streams().await.unwrap();
    announce_snapshotter(&bus).await;
    let mut ledger = bus.gap_work(shard(&bus));
    let mut first_trade_id = 0;
    loop {
        let state = bus.stream_state(bus::StreamKind::Events).await.unwrap();
        if state.size_bytes > state.size_bytes_max / 100 * 90 {
            break;
        }
        first_trade_id += 2;
        bus.publish_event(&gap(first_trade_id)).await.unwrap();
    }
    let running = start(&bus);
    send(&bus, "feed-1", 1..=10).await;
    eventually(SOON, || async {
        let report = running.readiness.report();
        report.waiting.iter().any(|latch| latch.reason.contains("paused"))
    })
    .await;
    while bus.lag(bus::Work::Gaps, shard(&bus)).await.unwrap().pending_messages > 0 {
        let read = ledger.fetch(256, SOON).await.unwrap();
        ledger.ack(&read).await.unwrap();
    }
    eventually(SOON, || async { running.readiness.is_ready() }).await;
    assert_eq!(published(&bus, 10).await, (1..=10).collect::<Vec<_>>());
    running.stop().await;
}

fn gap(first_trade_id: u64) -> FeedEvent {
    let instrument = tick(1).instrument;
    let gap = Gap {
        instrument: instrument.clone(),
        run: 0,
        first_trade_id,
        last_trade_id: first_trade_id,
        after: None,
        before: None,
        detected_at: UnixNanos::now(),
        cause: GapCause::Drop,
        state: GapState::Open,
        repaired_count: 0,
    };
    FeedEvent { instrument, time: gap.detected_at, source: "test".into(), kind: EventKind::Gap(gap) }
}
