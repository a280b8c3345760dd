use std::sync::Arc;

use bytes::Bytes;
use domain::{FeedSession, Instrument, Snapshot, Tick, TickFlags, UnixNanos};

use super::*;
use crate::{Config, UndecodableReason, broker::Outgoing, codec::Payload, headers::Headers};

const SOON: Duration = Duration::from_secs(5);

fn instrument() -> Instrument {
    Instrument::new("coinbase", "BTC-USD").unwrap()
}

fn tick(sequence: u64) -> Tick {
    Tick {
        instrument: instrument(),
        run: 0,
        sequence: Some(sequence),
        event_time: UnixNanos::new(1),
        receive_time: UnixNanos::new(1),
        last_trade: None,
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    }
}

async fn publish(bus: &Bus, schema: &str, payload: Bytes) {
    let outgoing = Outgoing {
        stream: StreamKind::Raw,
        subject: bus.subjects().raw(&instrument()).into(),
        headers: Headers::new(schema, &Context::new()),
        payload,
        message_id: None,
        expected_last: None,
    };
    bus.broker.publish(&outgoing).await.unwrap();
}

async fn bus() -> (Bus, WorkReader) {
    let bus = Bus::embedded(&Config::default());
    bus.ensure_streams().await.unwrap();
    let reader = bus.work(Work::Raw, bus.shards().shard_of(&instrument()));
    (bus, reader)
}

#[tokio::test]
async fn what_cannot_be_decoded_is_handed_over_with_the_reason() {
    let (bus, mut reader) = bus().await;
    publish(&bus, TickBatch::SCHEMA, Bytes::from_static(b"no protobuf")).await;
    publish(&bus, Snapshot::SCHEMA, Bytes::new()).await;
    let deliveries = reader.fetch(10, SOON).await.unwrap();
    let reasons: Vec<_> = deliveries.iter().map(|delivery| delivery.content.as_ref().unwrap_err()).collect();
    assert!(matches!(*reasons[0].why, UndecodableReason::Payload(_)));
    assert_eq!(reasons[0].raw, Bytes::from_static(b"no protobuf"));
    assert!(
        matches!(&*reasons[1].why, UndecodableReason::Schema { expected, .. } if *expected == TickBatch::SCHEMA)
    );
    reader.ack(&deliveries).await.unwrap();
    assert_eq!(bus.stream_state(StreamKind::Raw).await.unwrap().messages, 0);
}

/// The payload that is read is the one that was published, not a copy.
#[tokio::test]
async fn the_embedded_bus_shares_payloads() {
    let (bus, mut reader) = bus().await;
    let payload = Bytes::from(vec![0xff; 1000]);
    publish(&bus, TickBatch::SCHEMA, payload.clone()).await;
    let deliveries = reader.fetch(1, SOON).await.unwrap();
    let raw = &deliveries[0].content.as_ref().unwrap_err().raw;
    assert_eq!(raw.as_ptr(), payload.as_ptr());
}

#[tokio::test]
async fn a_stream_that_was_not_made_is_an_error() {
    let bus = Bus::embedded(&Config::default());
    let mut reader = bus.work(Work::Ticks, bus.shards().shard_of(&instrument()));
    assert!(matches!(reader.fetch(1, SOON).await, Err(FetchError::Reset(_))));
    bus.ensure_streams().await.unwrap();
    assert!(reader.fetch(1, Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dropped_publisher_gives_up_what_was_not_acknowledged() {
    // Without streams nothing is acknowledged.
    let bus = Bus::embedded(&Config::default());
    let session = FeedSession { id: "host-1".into(), started: UnixNanos::new(0) };
    let publisher = bus.raw_publisher(session);
    for sequence in 1..=3 {
        publisher.send(tick(sequence)).await.unwrap();
    }
    assert_eq!(publisher.unacknowledged_ticks(), 3);
    let closing = tokio::time::timeout(Duration::from_millis(100), publisher.close());
    assert!(closing.await.is_err(), "there is nobody to acknowledge");
    bus.ensure_streams().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        bus.stream_state(StreamKind::Raw).await.unwrap().messages,
        0,
        "nothing goes on behind our back"
    );
}

#[tokio::test]
async fn messages_out_of_order_are_held_back() {
    let (bus, mut reader) = bus().await;
    let message = |sequence| WorkMessage {
        stored: crate::broker::Stored {
            subject: bus.subjects().raw(&instrument()).into(),
            sequence,
            headers: Arc::new(Headers::default()),
            payload: Bytes::new(),
        },
        deliveries: 1,
        receipt: Receipt::Embedded(sequence),
    };
    reader.reset = None;
    let given = reader.in_order([3, 4, 7, 5, 8].into_iter().map(message).collect());
    let sequences: Vec<u64> = given.iter().map(|delivery| delivery.stream_sequence).collect();
    assert_eq!(sequences, [3, 4, 7]);
    assert!(matches!(reader.reset, Some(ResetCause::OutOfOrder)));
}
