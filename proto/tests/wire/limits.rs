//! Limits of messages on the bus.

use domain::{
    BATCH_BYTES_MAX, BATCH_TICKS_MAX, DayStats, Decimal, FeedSession, Heartbeat, Instrument, Quote, Side,
    Tick, TickBatch, TickFlags, Trade, UnixNanos,
};
use proto::{DecodeError, TICK_BYTES_MAX, decode_batch, encode_batch, tick_encoded_len, v1};

use crate::samples;

/// The tick that takes the most bytes: 1 ns before 1970 is the time whose seconds and nanoseconds are longest.
fn longest() -> Tick {
    let number = Decimal::from_i128_with_scale(-79_228_162_514_264_337_593_543_950_335, 28);
    let quote = || Some(Quote { price: number, size: Some(number) });
    Tick {
        instrument: Instrument::new(&"v".repeat(32), &"P".repeat(64)).unwrap(),
        run: u32::MAX,
        sequence: Some(u64::MAX),
        event_time: UnixNanos::new(-1),
        receive_time: UnixNanos::new(-1),
        last_trade: Some(Trade {
            price: number,
            size: number,
            side: Some(Side::Sell),
            trade_id: Some(u64::MAX),
        }),
        best_bid: quote(),
        best_ask: quote(),
        day: Some(DayStats {
            open_24h: Some(number),
            high_24h: Some(number),
            low_24h: Some(number),
            volume_24h: Some(number),
            volume_30d: Some(number),
        }),
        flags: TickFlags { backfilled: true, locked_book: true },
    }
}

#[test]
fn the_longest_tick_has_the_length_that_the_limits_are_computed_with() {
    assert_eq!(tick_encoded_len(&longest()), TICK_BYTES_MAX);
}

#[test]
fn the_largest_batch_keeps_the_limit_of_bytes() {
    let tick = longest();
    let batch = TickBatch {
        instrument: tick.instrument.clone(),
        ticks: vec![tick; BATCH_TICKS_MAX],
        session: FeedSession { id: "s".repeat(1024), started: UnixNanos::new(-1) },
        raw_sequence: Some(u64::MAX),
        normalised_at: Some(UnixNanos::new(-1)),
        heartbeat: Some(Heartbeat { last_trade_id: u64::MAX, time: UnixNanos::new(-1) }),
    };
    let payload = encode_batch(&batch);
    assert!(payload.len() <= BATCH_BYTES_MAX, "{}", payload.len());
    assert_eq!(decode_batch(&payload).unwrap(), batch);
}

#[test]
fn a_tick_adds_what_it_says() {
    let one = TickBatch { ticks: vec![samples::tick()], ..samples::batch() };
    let two = TickBatch { ticks: vec![samples::tick(); 2], ..samples::batch() };
    let added = encode_batch(&two).len() - encode_batch(&one).len();
    assert_eq!(added, tick_encoded_len(&samples::tick()));
}

#[test]
fn a_batch_of_too_many_bytes_is_not_even_read() {
    let payload = vec![0; BATCH_BYTES_MAX + 1];
    assert_eq!(decode_batch(&payload), Err(DecodeError::TooLarge(BATCH_BYTES_MAX + 1)));
}

#[test]
fn names_travel_once() {
    let batch = v1::TickBatch::from(&samples::batch());
    assert_eq!((batch.venue.as_str(), batch.product.as_str()), ("coinbase", "BTC-USD"));
    assert!(batch.ticks.iter().all(|tick| tick.venue.is_empty() && tick.product.is_empty()));
    let alone = v1::Tick::from(&samples::tick());
    assert_eq!((alone.venue.as_str(), alone.product.as_str()), ("coinbase", "BTC-USD"));
}

#[test]
fn the_ticks_of_a_batch_share_its_names() {
    let batch = decode_batch(&encode_batch(&samples::batch())).unwrap();
    let name = batch.instrument.product.as_str().as_ptr();
    assert!(batch.ticks.iter().all(|tick| tick.instrument.product.as_str().as_ptr() == name));
}
