use std::time::Duration;

use bus::{Bus, Config, Delivery, Work, WorkReader};
use domain::{
    EventKind, FeedEvent, FeedState, Gap, GapCause, GapState, Instrument, RejectReason, RejectedTick,
    UnixNanos,
};
use tokio::time::Instant;

use crate::fixture::{DEADLINE, Substrate, btc, eth, shard_of};

fn gap(instrument: &Instrument, first: u64) -> Gap {
    Gap {
        instrument: instrument.clone(),
        run: 0,
        first_trade_id: first,
        last_trade_id: first + 1,
        after: None,
        before: None,
        detected_at: UnixNanos::new(7),
        cause: GapCause::Drop,
        state: GapState::Open,
        repaired_count: 0,
    }
}

fn event(instrument: &Instrument, kind: EventKind) -> FeedEvent {
    FeedEvent { instrument: instrument.clone(), time: UnixNanos::new(8), source: "test".into(), kind }
}

/// At least `count` messages, or what there is at the deadline.
async fn fetch(reader: &mut WorkReader<FeedEvent>, count: usize) -> Vec<Delivery<FeedEvent>> {
    let until = Instant::now() + DEADLINE;
    let mut all = Vec::new();
    while all.len() < count && Instant::now() < until {
        all.extend(reader.fetch(count - all.len(), Duration::from_millis(200)).await.unwrap());
    }
    all
}

async fn unread(bus: &Bus, instrument: &Instrument) -> u64 {
    let lag = bus.lag(Work::Gaps, shard_of(bus, instrument)).await.unwrap();
    lag.pending_messages + lag.unacknowledged
}

pub async fn what_is_said_of_gaps_comes_until_it_is_acknowledged(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let bus = &fixture.bus;
    let said = [
        event(&btc(), EventKind::Gap(gap(&btc(), 5))),
        event(&eth(), EventKind::Gap(gap(&eth(), 5))),
        event(&btc(), EventKind::Repaired(gap(&btc(), 5))),
    ];
    bus.publish_event(&said[0]).await.unwrap();
    bus.publish_event(&event(&btc(), EventKind::FeedState(FeedState::Stale))).await.unwrap();
    bus.publish_event(&said[1]).await.unwrap();
    bus.publish_event(&said[2]).await.unwrap();
    assert_eq!(unread(bus, &btc()).await, 3, "also before anybody has read");

    let dying = fixture.participant().await;
    let mut reader = dying.gap_work(shard_of(bus, &btc()));
    let read = fetch(&mut reader, 3).await;
    let contents: Vec<&FeedEvent> = read.iter().map(|delivery| delivery.content.as_ref().unwrap()).collect();
    assert_eq!(
        contents,
        said.iter().collect::<Vec<_>>(),
        "gaps of every product, in order, and nothing else"
    );
    reader.ack(&read[..1]).await.unwrap();
    drop((reader, dying));

    // The next owner of the shard goes on where the one before ended; another shard reads everything by itself.
    let mut heir = fixture.participant().await.gap_work(shard_of(bus, &btc()));
    let read = fetch(&mut heir, 2).await;
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].content.as_ref().unwrap(), &said[1]);
    heir.ack(&read).await.unwrap();
    assert_eq!(unread(bus, &btc()).await, 0);
    assert_ne!(shard_of(bus, &btc()), shard_of(bus, &eth()));
    assert_eq!(unread(bus, &eth()).await, 3);
}

pub async fn rejects_are_counted_by_product(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let reject = |instrument: Option<Instrument>, reason, number: u64| RejectedTick {
        instrument,
        tick: None,
        raw: vec![1],
        raw_length: 1,
        reason,
        detail: "test".into(),
        source: "test".into(),
        time: UnixNanos::new(1),
        identity: number.to_string(),
    };
    assert!(fixture.bus.reject_counts().await.unwrap().is_empty());
    for (number, (instrument, reason)) in [
        (Some(btc()), RejectReason::CrossedBook),
        (Some(btc()), RejectReason::CrossedBook),
        (Some(btc()), RejectReason::TooOld),
        (Some(eth()), RejectReason::TooOld),
        (None, RejectReason::Undecodable),
    ]
    .into_iter()
    .enumerate()
    {
        fixture.bus.publish_reject(&reject(instrument, reason, number as u64)).await.unwrap();
    }
    let counts = fixture.bus.reject_counts().await.unwrap();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(btc(), 3), (eth(), 1)]);
}
