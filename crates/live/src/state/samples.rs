//! Ticks for tests.

use domain::{Decimal, FeedSession, Instrument, Quote, Tick, TickBatch, TickFlags, Trade, UnixNanos};

pub(crate) fn instrument(product: &str) -> Instrument {
    Instrument::new("coinbase", product).unwrap()
}

/// A tick with everything; its price is its sequence.
pub(crate) fn tick(product: &str, run: u32, sequence: u64) -> Tick {
    let at = UnixNanos::new(i64::try_from(sequence).unwrap());
    let quote = || Some(Quote { price: Decimal::from(sequence), size: Some(Decimal::ONE) });
    Tick {
        instrument: instrument(product),
        run,
        sequence: Some(sequence),
        event_time: at,
        receive_time: at,
        last_trade: Some(Trade {
            price: Decimal::from(sequence),
            size: Decimal::ONE,
            side: None,
            trade_id: Some(sequence),
        }),
        best_bid: quote(),
        best_ask: quote(),
        day: None,
        flags: TickFlags::default(),
    }
}

pub(crate) fn batch(product: &str, sequences: impl IntoIterator<Item = u64>) -> TickBatch {
    batch_of(product, sequences.into_iter().map(|sequence| tick(product, 0, sequence)).collect())
}

pub(crate) fn batch_of(product: &str, ticks: Vec<Tick>) -> TickBatch {
    TickBatch {
        instrument: instrument(product),
        ticks,
        session: FeedSession { id: "test-1".into(), started: UnixNanos::new(0) },
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    }
}
