//! Changing the number of shards of streams that hold data, on a real server.

use std::{collections::BTreeMap, time::Duration};

use bus::{Bus, Config, ManageError, ReshardError, Source, StreamKind, Work};
use domain::{EventKind, FeedEvent, Gap, GapCause, GapState, Instrument, RoleStatus, ShardCount, UnixNanos};
use tokio::time::{Instant, timeout};

use crate::fixture::{
    DEADLINE, Fixture, Substrate, batch, fetch, instrument, sequences, session, shard_of, tick,
};

const PRODUCTS: usize = 12;
const RAW: std::ops::RangeInclusive<u64> = 21..=30;
const TICKS: std::ops::RangeInclusive<u64> = 1..=20;
/// Up to here the snapshotters have acknowledged.
const STORED: u64 = 12;

fn shards(count: u64) -> Config {
    Config { shards: ShardCount::new(count).unwrap(), ..Config::default() }
}

fn products() -> Vec<Instrument> {
    (0..PRODUCTS).map(|number| instrument(&format!("X{number}-USD"))).collect()
}

/// Four shards, with ticks of which some are stored, raw ticks behind them, and backfills of both kinds.
async fn fixture() -> Fixture {
    let fixture = Substrate::JetStream.start(shards(4)).await;
    let bus = &fixture.bus;
    for shard in bus.shards().shards() {
        let mut publisher = bus.tick_publisher(shard);
        publisher.recover().await.unwrap();
        let own: Vec<_> = products().into_iter().filter(|product| shard_of(bus, product) == shard).collect();
        let mut reader = bus.work(Work::Ticks, shard);
        for sequence in TICKS {
            for product in &own {
                publisher.publish(&batch(product, [sequence])).await.unwrap();
            }
            if sequence <= STORED && !own.is_empty() {
                let read = fetch(&mut reader, own.len()).await;
                reader.ack(&read).await.unwrap();
            }
        }
        for product in &own {
            publisher.publish_fill(&batch(product, [1000])).await.unwrap();
        }
    }
    let publisher = bus.raw_publisher(session("feed-1"));
    for sequence in RAW {
        for product in products() {
            publisher.send(tick(&product, sequence)).await.unwrap();
        }
    }
    publisher.close().await;
    for product in products() {
        bus.publish_raw_fill(&batch(&product, [2000]), "1").await.unwrap();
    }
    fixture
}

/// What each product's worker of `work` gets: live and backfilled, in the order in which it comes.
async fn waiting(bus: &Bus, work: Work) -> BTreeMap<Instrument, (Vec<u64>, Vec<u64>)> {
    let mut waiting: BTreeMap<Instrument, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
    for shard in bus.shards().shards() {
        let until = Instant::now() + DEADLINE;
        let mut reader = bus.work(work, shard);
        loop {
            let read = reader.fetch(100, Duration::from_millis(300)).await.unwrap();
            for delivery in &read {
                let batch = delivery.content.as_ref().unwrap();
                assert_eq!(shard_of(bus, &batch.instrument), shard, "it is for this shard");
                let of_product = waiting.entry(batch.instrument.clone()).or_default();
                match delivery.source {
                    Source::Live => of_product.0.extend(sequences(batch)),
                    Source::Fill => of_product.1.extend(sequences(batch)),
                }
            }
            reader.ack(&read).await.unwrap();
            // On a slow machine nothing may have come yet though something waits.
            let lag = bus.lag(work, shard).await.unwrap();
            if read.is_empty() && lag.pending_messages + lag.unacknowledged == 0 {
                break;
            }
            assert!(Instant::now() < until, "what waits does not come: {lag:?}");
        }
    }
    waiting
}

/// How many messages the rewritten streams have ever had: one more for each that moves.
async fn stored(bus: &Bus) -> u64 {
    let raw = bus.stream_state(StreamKind::Raw).await.unwrap().last_sequence;
    raw + bus.stream_state(StreamKind::Ticks).await.unwrap().last_sequence
}

fn expected(live: impl IntoIterator<Item = u64>, fill: u64) -> BTreeMap<Instrument, (Vec<u64>, Vec<u64>)> {
    let of_product = (live.into_iter().collect::<Vec<_>>(), vec![fill]);
    products().into_iter().map(|product| (product, of_product.clone())).collect()
}

async fn participant(fixture: &Fixture, count: u64) -> Bus {
    fixture.participant_with(&shards(count)).await
}

#[tokio::test]
async fn what_waits_goes_to_the_new_shards_in_order() {
    for count in [8, 3] {
        let fixture = fixture().await;
        let bus = participant(&fixture, count).await;
        let done = timeout(DEADLINE, bus.reshard()).await.unwrap().unwrap();
        assert_eq!((done.before, u64::from(done.after)), (Some(4), count));
        assert!(done.raw_messages > 0 && done.tick_messages > 0, "{done:?}");
        bus.ensure_streams().await.unwrap();
        let refused = fixture.bus.ensure_streams().await.unwrap_err();
        assert!(matches!(refused, ManageError::ShardCount { wanted: 4, .. }), "{refused}");
        // The position of each product is found wherever its last ticks stand.
        let mut positions = BTreeMap::new();
        for (_, batch) in bus.last_batches().await.unwrap() {
            positions.insert(batch.instrument.clone(), sequences(&batch));
        }
        assert!(positions.len() == PRODUCTS && positions.values().all(|last| *last == [*TICKS.end()]));
        assert_eq!(waiting(&bus, Work::Raw).await, expected(RAW, 2000));
        assert_eq!(waiting(&bus, Work::Ticks).await, expected(STORED + 1..=*TICKS.end(), 1000));
        assert_eq!(bus.reshard().await.unwrap().raw_messages, 0, "done once, it changes nothing");
    }
}

/// A ledger takes the gaps of its own shard and acknowledges the others, of which one that has not read them yet may lose
/// the product.
#[tokio::test]
async fn gaps_are_read_again_by_whose_they_are_now() {
    let fixture = Substrate::JetStream.start(shards(4)).await;
    let gap = |product: &Instrument| Gap {
        instrument: product.clone(),
        run: 0,
        first_trade_id: 5,
        last_trade_id: 6,
        after: None,
        before: None,
        detected_at: UnixNanos::new(7),
        cause: GapCause::Drop,
        state: GapState::Open,
        repaired_count: 0,
    };
    for product in products() {
        let event = FeedEvent {
            instrument: product.clone(),
            time: UnixNanos::new(8),
            source: "test".into(),
            kind: EventKind::Gap(gap(&product)),
        };
        fixture.bus.publish_event(&event).await.unwrap();
    }
    let read = async |bus: &Bus, shard| {
        let mut reader = bus.gap_work(shard);
        let mut read = Vec::new();
        while read.len() < PRODUCTS {
            let some = reader.fetch(PRODUCTS, Duration::from_secs(2)).await.unwrap();
            if some.is_empty() {
                break;
            }
            reader.ack(&some).await.unwrap();
            read.extend(some.into_iter().map(|delivery| delivery.content.unwrap().instrument));
        }
        read
    };
    // All but the last ledger have read.
    for shard in fixture.bus.shards().shards().take(3) {
        assert_eq!(read(&fixture.bus, shard).await, products());
    }
    for count in [3, 8] {
        let bus = participant(&fixture, count).await;
        timeout(DEADLINE, bus.reshard()).await.unwrap().unwrap();
        for shard in bus.shards().shards() {
            assert_eq!(read(&bus, shard).await, products(), "shard {shard} of {count}");
        }
    }
}

#[tokio::test]
async fn interrupted_it_goes_on_and_loses_nothing() {
    let fixture = fixture().await;
    let mut interruptions = 0;
    // Each time it gets a little further, and it changes its mind on the way.
    for count in [8, 8, 8, 5, 5, 8, 8, 8] {
        let bus = participant(&fixture, count).await;
        // Counted in what moves, and not in time: how much that is in a second depends on the machine.
        let until = stored(&fixture.bus).await + 7 + 9 * interruptions;
        let far_enough = async {
            while stored(&fixture.bus).await < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            done = bus.reshard() => {
                done.unwrap();
                continue;
            }
            () = far_enough => {}
        }
        let refused = fixture.bus.ensure_streams().await.unwrap_err();
        match &refused {
            ManageError::Resharding { .. } => {
                assert!(refused.is_retryable(), "{refused}");
                interruptions += 1;
            }
            // Its last word had been taken, and only the answer was not waited for any more.
            ManageError::ShardCount { wanted: 4, .. } => {}
            _ => panic!("{refused}"),
        }
    }
    assert!(interruptions > 0);
    let bus = participant(&fixture, 8).await;
    timeout(DEADLINE, bus.reshard()).await.unwrap().unwrap();
    bus.ensure_streams().await.unwrap();
    // An interruption between a publish and the deletion repeats one message; the readers recognise it.
    let once = |waiting: BTreeMap<Instrument, (Vec<u64>, Vec<u64>)>| {
        let once = |mut list: Vec<u64>| {
            list.dedup();
            list
        };
        waiting.into_iter().map(|(name, (live, fill))| (name, (once(live), once(fill)))).collect()
    };
    let raw: BTreeMap<_, _> = once(waiting(&bus, Work::Raw).await);
    assert_eq!(raw, expected(RAW, 2000));
    let ticks: BTreeMap<_, _> = once(waiting(&bus, Work::Ticks).await);
    assert_eq!(ticks, expected(STORED + 1..=*TICKS.end(), 1000));
}

#[tokio::test]
async fn who_is_at_work_is_named_and_nothing_changes() {
    let fixture = fixture().await;
    let status = |time| RoleStatus {
        role: "normalizer".into(),
        instance: "host-1-shard-2".into(),
        time,
        ready: true,
        feed_state: None,
        heartbeat_age: None,
        product_states: Vec::new(),
        progress: Vec::new(),
        backlog_messages: None,
        ticks: 0,
        rejected: 0,
        duplicates: 0,
    };
    let bus = participant(&fixture, 8).await;
    let speaking = async {
        loop {
            fixture.bus.publish_status(&status(UnixNanos::now())).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let refused = tokio::select! {
        outcome = bus.reshard() => outcome.unwrap_err(),
        () = speaking => unreachable!(),
    };
    assert!(
        matches!(&refused, ReshardError::AtWork(who) if who[..] == ["normalizer host-1-shard-2"]),
        "{refused}"
    );
    fixture.bus.ensure_streams().await.unwrap();
    assert_eq!(fixture.bus.stream_state(StreamKind::Rejects).await.unwrap().messages, 0);
    // It fell silent a while ago: its last word stays for a minute and counts no more.
    timeout(DEADLINE, bus.reshard()).await.unwrap().unwrap();
}
