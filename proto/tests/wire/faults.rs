//! Each way in which a tick, a batch or a snapshot can be wrong has a name.

use domain::{BATCH_TICKS_MAX, Instrument, InvalidInstrument, InvalidNumber, Snapshot, Tick, TickBatch};
use prost_types::Timestamp;
use proto::{
    DecodeError, InvalidBatch, InvalidDecimal, InvalidMarket, InvalidName, InvalidSnapshot, InvalidTick,
    InvalidTimestamp, TimeFault, decode_batch, v1,
};

use crate::samples;

const MISSING: TimeFault = TimeFault::Missing;

pub(crate) fn changed<T>(mut message: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut message);
    message
}

fn tick_fault(change: impl FnOnce(&mut v1::Tick)) -> InvalidTick {
    Tick::try_from(changed(v1::Tick::from(&samples::tick()), change)).unwrap_err()
}

fn batch_fault(change: impl FnOnce(&mut v1::TickBatch)) -> InvalidBatch {
    TickBatch::try_from(changed(v1::TickBatch::from(&samples::batch()), change)).unwrap_err()
}

fn snapshot_fault(change: impl FnOnce(&mut v1::Snapshot)) -> InvalidSnapshot {
    Snapshot::try_from(changed(v1::Snapshot::from(&samples::snapshot()), change)).unwrap_err()
}

fn malformed(field: &'static str) -> InvalidDecimal {
    InvalidDecimal { field, source: InvalidNumber::Malformed("1e5".into()) }
}

#[test]
fn a_tick_without_a_name() {
    assert_eq!(tick_fault(|tick| tick.venue.clear()), InvalidName::MissingVenue.into());
    assert_eq!(tick_fault(|tick| tick.product.clear()), InvalidName::MissingProduct.into());
    let expected = InvalidName::Malformed(InvalidInstrument::Product("a b".into()));
    assert_eq!(tick_fault(|tick| tick.product = "a b".into()), expected.into());
}

#[test]
fn a_tick_without_a_time() {
    let missing = |field| InvalidTick::Time(InvalidTimestamp { field, fault: MISSING });
    assert_eq!(tick_fault(|tick| tick.event_time = None), missing("event_time"));
    assert_eq!(tick_fault(|tick| tick.receive_time = None), missing("receive_time"));
    let fault = tick_fault(|tick| tick.event_time = Some(Timestamp { seconds: i64::MAX, nanos: 0 }));
    let out_of_range = InvalidTimestamp { field: "event_time", fault: TimeFault::OutOfRange };
    assert_eq!(fault, out_of_range.into());
}

type Number = fn(&mut v1::Tick) -> &mut String;

#[test]
fn a_tick_with_a_bad_number_names_the_field() {
    let numbers: [(&'static str, Number); 11] = [
        ("last_trade.price", |tick| &mut tick.last_trade.as_mut().unwrap().price),
        ("last_trade.size", |tick| &mut tick.last_trade.as_mut().unwrap().size),
        ("best_bid.price", |tick| &mut tick.best_bid.as_mut().unwrap().price),
        ("best_bid.size", |tick| tick.best_bid.as_mut().unwrap().size.get_or_insert_default()),
        ("best_ask.price", |tick| &mut tick.best_ask.as_mut().unwrap().price),
        ("best_ask.size", |tick| tick.best_ask.as_mut().unwrap().size.get_or_insert_default()),
        ("day_stats.open_24h", |tick| tick.day_stats.as_mut().unwrap().open_24h.get_or_insert_default()),
        ("day_stats.high_24h", |tick| tick.day_stats.as_mut().unwrap().high_24h.get_or_insert_default()),
        ("day_stats.low_24h", |tick| tick.day_stats.as_mut().unwrap().low_24h.get_or_insert_default()),
        ("day_stats.volume_24h", |tick| tick.day_stats.as_mut().unwrap().volume_24h.get_or_insert_default()),
        ("day_stats.volume_30d", |tick| tick.day_stats.as_mut().unwrap().volume_30d.get_or_insert_default()),
    ];
    for (field, number) in numbers {
        let fault = tick_fault(|tick| "1e5".clone_into(number(tick)));
        assert_eq!(fault, InvalidTick::Market(malformed(field).into()));
    }
    // An empty text is no number; absence is said by leaving the field out.
    let fault = tick_fault(|tick| tick.best_bid.as_mut().unwrap().size = Some(String::new()));
    let empty = InvalidDecimal { field: "best_bid.size", source: InvalidNumber::Empty };
    assert_eq!(fault, InvalidTick::Market(empty.into()));
}

#[test]
fn a_tick_with_an_unknown_side() {
    let fault = tick_fault(|tick| tick.last_trade.as_mut().unwrap().side = 9);
    assert_eq!(fault, InvalidMarket::UnknownSide(9).into());
}

#[test]
fn a_batch_without_its_parts() {
    assert_eq!(batch_fault(|batch| batch.venue.clear()), InvalidName::MissingVenue.into());
    assert_eq!(batch_fault(|batch| batch.session = None), InvalidBatch::MissingSession);
    let no_id = |batch: &mut v1::TickBatch| batch.session.as_mut().unwrap().id.clear();
    assert_eq!(batch_fault(no_id), InvalidBatch::MissingSessionId);
    let no_start = |batch: &mut v1::TickBatch| batch.session.as_mut().unwrap().start_time = None;
    let missing = InvalidTimestamp { field: "session.start_time", fault: MISSING };
    assert_eq!(batch_fault(no_start), missing.into());
}

#[test]
fn a_batch_has_1_to_512_ticks_or_a_heartbeat() {
    let heartbeat_alone = changed(v1::TickBatch::from(&samples::batch()), |batch| batch.ticks.clear());
    assert!(TickBatch::try_from(heartbeat_alone).unwrap().heartbeat.is_some());
    let empty = batch_fault(|batch| {
        batch.ticks.clear();
        batch.heartbeat = None;
    });
    assert_eq!(empty, InvalidBatch::TickCount(0));
    let missing = InvalidTimestamp { field: "heartbeat.time", fault: MISSING };
    assert_eq!(batch_fault(|batch| batch.heartbeat.as_mut().unwrap().time = None), missing.into());
    let filled = |count| move |batch: &mut v1::TickBatch| batch.ticks = vec![batch.ticks[0].clone(); count];
    assert_eq!(batch_fault(filled(BATCH_TICKS_MAX + 1)), InvalidBatch::TickCount(BATCH_TICKS_MAX + 1));
    let full = changed(v1::TickBatch::from(&samples::batch()), filled(BATCH_TICKS_MAX));
    assert_eq!(TickBatch::try_from(full).unwrap().ticks.len(), BATCH_TICKS_MAX);
}

#[test]
fn a_batch_names_the_tick_at_fault() {
    let fault = batch_fault(|batch| batch.ticks[1].event_time = None);
    let source = InvalidTimestamp { field: "event_time", fault: MISSING }.into();
    assert_eq!(fault, InvalidBatch::Tick { index: 1, source });
}

#[test]
fn a_batch_never_relabels_a_tick() {
    let mut batch = samples::batch();
    batch.ticks[1].instrument = Instrument::new("coinbase", "ETH-USD").unwrap();
    let fault = TickBatch::try_from(v1::TickBatch::from(&batch)).unwrap_err();
    let source =
        InvalidTick::OtherInstrument { tick: "coinbase:ETH-USD".into(), batch: samples::instrument() };
    assert_eq!(fault, InvalidBatch::Tick { index: 1, source });
    // Names that are the batch's own are redundant and no fault.
    let named =
        changed(v1::TickBatch::from(&samples::batch()), |batch| batch.ticks[0].product = "BTC-USD".into());
    assert!(TickBatch::try_from(named).is_ok());
}

#[test]
fn a_snapshot_without_its_parts() {
    assert_eq!(snapshot_fault(|snapshot| snapshot.product.clear()), InvalidName::MissingProduct.into());
    assert_eq!(snapshot_fault(|snapshot| snapshot.sequence = None), InvalidSnapshot::MissingSequence);
    assert_eq!(snapshot_fault(|snapshot| snapshot.state = None), InvalidSnapshot::MissingState);
    let missing = |field| InvalidSnapshot::Time(InvalidTimestamp { field, fault: MISSING });
    assert_eq!(snapshot_fault(|snapshot| snapshot.snapshot_time = None), missing("snapshot_time"));
    let without_time = |snapshot: &mut v1::Snapshot| snapshot.state.as_mut().unwrap().best_ask_time = None;
    assert_eq!(snapshot_fault(without_time), missing("state.best_ask_time"));
    let bad_price = |snapshot: &mut v1::Snapshot| {
        snapshot.state.as_mut().unwrap().best_bid.as_mut().unwrap().price = "1e5".into();
    };
    assert_eq!(snapshot_fault(bad_price), InvalidSnapshot::Market(malformed("best_bid.price").into()));
}

#[test]
fn bytes_that_are_no_message() {
    assert!(matches!(decode_batch(b"\xff\xff\xff"), Err(DecodeError::Malformed(_))));
    // No bytes at all are an empty message in protobuf; the name is the first thing that it lacks.
    let empty = InvalidBatch::Name(InvalidName::MissingVenue);
    assert_eq!(decode_batch(b""), Err(DecodeError::Batch(empty)));
}
