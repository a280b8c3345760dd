//! History in bulk: what a busy exchange sends in a day, copied straight into the partitions.

use std::fmt::Write as _;

use domain::{Decimal, Instrument, Quote, Side, Tick, TickFlags, Trade, UnixNanos};
use sqlx::{Connection as _, PgConnection};
use store::{Config, Store, TickRow, WriteBatch};
use testkit::Postgres;

/// How many products there are.
pub(crate) const PRODUCTS: u64 = 50;
/// 2026-11-20T00:00:00Z.
pub(crate) const START_NS: i64 = 1_795_132_800_000_000_000;
/// 20 million ticks take a day.
pub(crate) const STEP_NS: i64 = 4_320_000;
pub(crate) const HOUR_NS: i64 = 3_600_000_000_000;
/// One COPY writes so many ticks.
const COPY_TICKS: u64 = 100_000;

/// A database that holds so many ticks, an hour of event time in each partition.
pub(crate) struct History {
    pub(crate) url: String,
    pub(crate) ticks: u64,
}

impl History {
    /// Loads it, unless an earlier run has.
    pub(crate) async fn load(server: &Postgres, name: &str, ticks: u64) -> Self {
        let admin = server.url("postgres");
        let history = Self { url: server.url(name), ticks };
        let complete = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
        if server.psql(&admin, &complete).await == "1" {
            migrations::migrate(&history.url, false).await.unwrap();
            return history;
        }
        let started = std::time::Instant::now();
        // Under its name it appears when it is whole.
        let unfinished = format!("{name}_unfinished");
        server.psql(&admin, &format!("DROP DATABASE IF EXISTS {unfinished}")).await;
        server.psql(&admin, &format!("CREATE DATABASE {unfinished} TEMPLATE template0")).await;
        let url = server.url(&unfinished);
        prepare(&url, ticks).await;
        copy(&url, 0, ticks).await;
        server.psql(&url, BARS).await;
        server.psql(&url, COUNTS).await;
        server.psql(&url, "VACUUM ANALYZE").await;
        server.psql(&admin, "CHECKPOINT").await;
        server.psql(&admin, &format!("ALTER DATABASE {unfinished} RENAME TO {name}")).await;
        println!("loaded {ticks} ticks into {name} in {:.0} s", started.elapsed().as_secs_f64());
        history
    }

    /// The first time after the newest tick.
    pub(crate) fn end_ns(&self) -> i64 {
        START_NS + i64::try_from(self.ticks).unwrap() * STEP_NS
    }
}

/// The minute bars, from nothing.
const BARS: &str = "TRUNCATE price_stats_1min; \
    INSERT INTO price_stats_1min (venue, product, time_bucket, tick_count, sum_price, min_price, max_price, open_price, \
        close_price, sum_volume, open_ts_event, open_trade_id, open_sequence, close_ts_event, close_trade_id, close_sequence) \
    SELECT venue, product, to_timestamp(minute * 60), count(*), sum(price), min(price), max(price), \
        (array_agg(price ORDER BY ts_event, trade_id))[1], (array_agg(price ORDER BY ts_event DESC, trade_id DESC))[1], \
        sum(volume), min(ts_event), min(trade_id), min(sequence), max(ts_event), max(trade_id), max(sequence) \
    FROM (SELECT *, ts_event / 60000000000 AS minute FROM tick_history) AS ticks GROUP BY venue, product, minute";

/// What the writer counts beside the bars.
const COUNTS: &str = "TRUNCATE trade_counts_1day; \
    INSERT INTO trade_counts_1day (venue, product, ts_day, trades) \
    SELECT venue, product, extract(epoch FROM time_bucket)::bigint / 86400 * 86400000000000, sum(tick_count) FROM price_stats_1min GROUP BY 1, 2, 3";

/// The tables, the partitions, and the newest tick of each product as the writer leaves it.
pub(crate) async fn prepare(url: &str, ticks: u64) -> Store {
    migrations::migrate(url, false).await.unwrap();
    let partition_width = Some(std::time::Duration::from_nanos(HOUR_NS.unsigned_abs()));
    let config = Config { url: url.into(), partition_width, ..Config::default() };
    let store = Store::connect(&config).await.unwrap();
    let hour = u64::try_from(HOUR_NS / STEP_NS).unwrap();
    // One in each hour, just beyond what is copied, so that each has its partition.
    let seeds: Vec<Tick> = (0..=ticks / hour).map(|number| tick(number * hour)).collect();
    write(&store, &seeds).await;
    let mut connection = PgConnection::connect(url).await.unwrap();
    for statement in ["TRUNCATE tick_history", "TRUNCATE latest_prices"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    store
}

pub(crate) async fn write(store: &Store, ticks: &[Tick]) -> store::Written {
    let rows: Vec<_> = ticks.iter().map(|tick| TickRow { tick, tick_seq: Some(1) }).collect();
    let batch = WriteBatch { ticks: &rows, snapshots: &[], written_at: UnixNanos::now() };
    store.write(&batch).await.unwrap()
}

/// Copies ticks `from..until`, in their order.
pub(crate) async fn copy(url: &str, from: u64, until: u64) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let mut text = String::new();
    let mut next = from;
    while next < until {
        let end = (next + COPY_TICKS).min(until);
        text.clear();
        (next..end).for_each(|number| line(&mut text, &tick(number)));
        let statement = "COPY tick_history (venue, product, \"timestamp\", run, sequence, price, bid, ask, volume, bid_size, \
                         ask_size, side, trade_id, flags, ts_event, ts_ingest, tick_seq) FROM STDIN";
        let mut copy = connection.copy_in_raw(statement).await.unwrap();
        copy.send(text.as_bytes()).await.unwrap();
        copy.finish().await.unwrap();
        next = end;
    }
}

fn line(text: &mut String, tick: &Tick) {
    let (trade, bid) = (tick.last_trade.as_ref().unwrap(), tick.best_bid.as_ref().unwrap());
    let ask = tick.best_ask.as_ref().unwrap();
    writeln!(
        text,
        "coinbase\t{}\t2026-11-21T00:00:00Z\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t0\t{}\t{}\t1",
        tick.instrument.product,
        tick.run,
        tick.sequence.unwrap(),
        trade.price,
        bid.price,
        ask.price,
        trade.size,
        bid.size.unwrap(),
        ask.size.unwrap(),
        trade.side.unwrap().as_str(),
        trade.trade_id.unwrap(),
        tick.event_time.nanos(),
        tick.receive_time.nanos(),
    )
    .unwrap();
}

pub(crate) fn instrument(product: u64) -> Instrument {
    Instrument::new("coinbase", &format!("PROD{product}-USD")).unwrap()
}

/// The tick of this number: the products take turns.
pub(crate) fn tick(number: u64) -> Tick {
    let event_time = UnixNanos::new(START_NS + i64::try_from(number).unwrap() * STEP_NS);
    let (product, turn) = (number % PRODUCTS, number / PRODUCTS);
    let price = |offset: u64| {
        let cents = 6_100_000 + product * 1000 + number % 997 + offset;
        Decimal::new(i64::try_from(cents).unwrap(), 2)
    };
    let size = |factor: u64| Decimal::new(i64::try_from(number * factor % 99_991 + 1).unwrap(), 8);
    Tick {
        instrument: instrument(product),
        run: 0,
        sequence: Some(50_000_000_000 + turn * 7),
        event_time,
        receive_time: UnixNanos::new(event_time.nanos() + 1_234_567),
        last_trade: Some(Trade {
            price: price(1),
            size: size(7),
            side: Some(if turn.is_multiple_of(2) { Side::Buy } else { Side::Sell }),
            trade_id: Some(900_000_000 + turn),
        }),
        best_bid: Some(Quote { price: price(0), size: Some(size(11)) }),
        best_ask: Some(Quote { price: price(2), size: Some(size(13)) }),
        day: None,
        flags: TickFlags::default(),
    }
}
