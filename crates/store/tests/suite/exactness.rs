//! What is read is what was written.

use domain::{DayStats, Decimal, Quote, Side, Tick, TickFlags, Trade, UnixNanos};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    database::{Database, history, on_each_database, write},
    ticks::{DAY, at, instrument, number, trade},
};

on_each_database!(every_field_round_trips, random_numbers_round_trip, rows_have_the_original_names);

/// 28 and 29 digits, tiny and huge, which no float holds.
const HARD: [&str; 8] = [
    "1234567890123456789012345678",
    "0.1234567890123456789012345678",
    "12345678901234567890.12345678",
    "79228162514264337593543950335",
    "7.9228162514264337593543950335",
    "0.0000000000000000000000000001",
    "7.922816251426433759354395033",
    "58800",
];

async fn every_field_round_trips(db: Database) {
    let mut ticks: Vec<Tick> = HARD
        .iter()
        .zip(1..)
        .map(|(text, id)| {
            let mut tick = trade(id, UnixNanos::new(DAY.nanos() + i64::try_from(id).unwrap()), text);
            tick.run = 3;
            tick.last_trade.as_mut().unwrap().size = number(text);
            tick.best_bid = Some(Quote { price: number(text), size: Some(number(text)) });
            tick.best_ask = Some(Quote { price: number(text), size: Some(number(text)) });
            tick.flags.locked_book = true;
            tick
        })
        .collect();
    let bare = Tick {
        instrument: instrument("BTC-USD"),
        run: u32::MAX,
        sequence: Some(i64::MAX as u64),
        event_time: at(60),
        receive_time: UnixNanos::new(i64::MAX),
        last_trade: None,
        best_bid: None,
        best_ask: None,
        day: None,
        flags: TickFlags::default(),
    };
    ticks.push(Tick { best_bid: Some(Quote { price: Decimal::ONE, size: None }), ..bare.clone() });
    ticks.push(Tick {
        event_time: at(61),
        best_ask: Some(Quote { price: Decimal::ONE, size: Some(Decimal::ZERO) }),
        ..bare.clone()
    });
    for (second, side) in [(62, None), (63, Some(Side::Buy)), (64, Some(Side::Sell))] {
        let last_trade =
            Some(Trade { price: Decimal::ONE, size: number("0.10"), side, trade_id: Some(i64::MAX as u64) });
        ticks.push(Tick { event_time: at(second), last_trade, ..bare.clone() });
    }
    let anonymous = Trade { price: Decimal::ONE, size: Decimal::ONE, side: None, trade_id: None };
    ticks.push(Tick { event_time: at(65), last_trade: Some(anonymous.clone()), ..bare.clone() });
    let flags = TickFlags { backfilled: true, locked_book: true };
    let last_trade = Some(Trade { trade_id: Some(0), ..anonymous });
    ticks.push(Tick { event_time: at(66), run: 0, sequence: None, last_trade, flags, ..bare });

    // Statistics of the day are not part of history.
    let mut given = ticks.clone();
    given[0].day = Some(DayStats { open_24h: Some(Decimal::ONE), ..DayStats::default() });
    assert_eq!(write(&db.store, &given).await.inserted, ticks.len());

    let read: Vec<Tick> =
        history(&db.store, &instrument("BTC-USD")).await.into_iter().map(|(_, tick)| tick).collect();
    assert_eq!(read, ticks);
    if !db.is_postgres() {
        let types = "SELECT DISTINCT typeof(price) || typeof(volume) || typeof(bid) FROM tick_history WHERE bid IS NOT NULL AND price IS NOT NULL";
        assert_eq!(db.select(types).await, [Some("texttexttext".to_owned())]);
        let types = "SELECT DISTINCT typeof(sum_price) || typeof(min_price) || typeof(sum_volume) FROM price_stats_1min";
        assert_eq!(db.select(types).await, [Some("texttexttext".to_owned())]);
    }
}

async fn random_numbers_round_trip(db: Database) {
    let mut runner = TestRunner::deterministic();
    let numbers = (1u128..(1 << 96), 0u32..=28, 0u32..96).prop_map(|(mantissa, scale, shift)| {
        Decimal::from_i128_with_scale(i128::try_from((mantissa >> shift).max(1)).unwrap(), scale)
    });
    let ticks: Vec<Tick> = (1..=2000)
        .map(|id| {
            let mut tick = trade(id, at(i64::try_from(id).unwrap()), "1");
            let mut next = || numbers.new_tree(&mut runner).unwrap().current();
            tick.last_trade.as_mut().unwrap().price = next();
            tick.best_bid = Some(Quote { price: next(), size: Some(next()) });
            tick
        })
        .collect();
    write(&db.store, &ticks).await;
    let read: Vec<Tick> =
        history(&db.store, &instrument("BTC-USD")).await.into_iter().map(|(_, tick)| tick).collect();
    for (read, written) in read.iter().zip(&ticks) {
        assert_eq!(read, written);
    }
    assert_eq!(read.len(), ticks.len());
}

/// Dashboards of the original system select these by name.
async fn rows_have_the_original_names(db: Database) {
    write(&db.store, &[trade(1, at(0), "10.5"), trade(2, at(1), "20")]).await;
    let columns = "id, venue, product, \"timestamp\", run, sequence, price, bid, ask, volume, bid_size, ask_size, side, \
                   trade_id, flags, ts_event, ts_ingest, tick_seq";
    let count = format!("SELECT CAST(count(*) AS TEXT) FROM (SELECT {columns} FROM tick_history) AS t");
    assert_eq!(db.select(&count).await, [Some("2".to_owned())]);
    let columns = "venue, product, time_bucket, tick_count, sum_price, min_price, max_price, open_price, close_price, sum_volume";
    let means = format!(
        "SELECT CAST(CAST(avg_price AS REAL) AS TEXT) FROM (SELECT {columns}, avg_price, avg_volume FROM price_stats_1min) AS t"
    );
    assert_eq!(db.select(&means).await, [Some("15.25".to_owned())]);
    let latest = "SELECT CAST(price AS TEXT) FROM (SELECT venue, product, price, bid, ask, volume, ts_event, \"timestamp\" FROM latest_prices) AS t";
    assert_eq!(db.select(latest).await, [Some("20".to_owned())]);
    let written = match db.is_postgres() {
        true => "SELECT DISTINCT to_char(\"timestamp\", 'YYYY-MM-DD HH24:MI:SS.US') FROM tick_history",
        false => "SELECT DISTINCT strftime('%Y-%m-%d %H:%M:%f', \"timestamp\") || '456' FROM tick_history",
    };
    assert_eq!(db.select(written).await, [Some("2027-01-15 08:00:00.123456".to_owned())]);
    for key in ["epoch", "horizon"] {
        assert_eq!(db.select(&format!("SELECT key FROM meta WHERE key = '{key}'")).await.len(), 1);
    }
}
