//! What came out at every exit.

use std::collections::BTreeMap;

use domain::{Decimal, parse_number};
use testkit::Postgres;

use crate::subscribers::Accepted;

/// A row of `tick_history`.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) product: String,
    pub(crate) trade_id: u64,
    pub(crate) run: u32,
    /// None for a trade that was fetched afterwards.
    pub(crate) sequence: Option<u64>,
    pub(crate) ts_event: i64,
    pub(crate) price: Decimal,
    pub(crate) size: Decimal,
    pub(crate) side: String,
}

/// A row of `gaps`.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    pub(crate) product: String,
    pub(crate) run: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) repaired: u64,
}

/// A message of the stream of rejects.
#[derive(Clone, Debug)]
pub(crate) struct Reject {
    pub(crate) product: String,
    pub(crate) trade_id: Option<u64>,
    pub(crate) reason: String,
}

/// What one subscriber saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) ticks: u64,
    /// Positions that were not above the one before on the same connection, with both.
    pub(crate) steps_back: Vec<String>,
    /// The trades, with the price as it was sent.
    pub(crate) trades: Vec<(String, u64, Decimal)>,
    /// The newest event time of each product.
    pub(crate) newest: BTreeMap<String, i64>,
    /// The last position of each product on this connection.
    pub(crate) positions: BTreeMap<String, (u32, u64)>,
    pub(crate) connections: u64,
    /// What it was told of holes, repairs and stale feeds.
    pub(crate) told: Vec<String>,
    /// Of who comes back with its tokens: the positions of each product, in stretches. Within one nothing may be missing.
    pub(crate) stretches: BTreeMap<String, Vec<Vec<(u32, u64)>>>,
    /// What it was told cannot be given.
    pub(crate) not_recovered: Vec<String>,
    /// Requests that were refused.
    pub(crate) refused: Vec<String>,
}

impl Seen {
    /// A new connection, without a token: what it begins with may have been seen on the one before.
    pub(crate) fn connected(&mut self) {
        self.connections += 1;
        self.positions.clear();
    }

    /// What comes of a product from here on has no connection to what came before.
    pub(crate) fn begins(&mut self, product: &str) {
        self.positions.remove(product);
        self.stretches.entry(product.to_owned()).or_default().push(Vec::new());
    }

    /// Takes note of a tick that is asked for from where the one before ended. What came already is given again when its token
    /// is older.
    pub(crate) fn follows(&mut self, product: &str, position: (u32, u64)) {
        if let Some(stretch) = self.stretches.get_mut(product).and_then(|stretches| stretches.last_mut())
            && stretch.last().is_none_or(|last| *last < position)
        {
            stretch.push(position);
        }
    }

    /// Takes note of the state that a subscription begins with: ticks come after it.
    pub(crate) fn snapshot(&mut self, product: &str, position: (u32, u64)) {
        if let Some(before) = self.positions.insert(product.to_owned(), position)
            && position < before
        {
            self.steps_back.push(format!("{product}: {before:?} and then a snapshot at {position:?}"));
        }
    }

    /// Takes note of a tick.
    pub(crate) fn tick(
        &mut self,
        product: &str,
        position: (u32, u64),
        ts_event: i64,
        trade: Option<(u64, Decimal)>,
    ) {
        self.ticks += 1;
        if let Some(before) = self.positions.insert(product.to_owned(), position)
            && position <= before
        {
            self.steps_back.push(format!("{product}: {before:?} and then {position:?}"));
        }
        self.newest.insert(product.to_owned(), ts_event);
        if let Some((trade_id, price)) = trade {
            self.trades.push((product.to_owned(), trade_id, price));
        }
    }
}

/// Everything that the checker compares with the truth.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) accepted: Accepted,
    pub(crate) stored: Vec<Row>,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) gaps: Vec<Gap>,
    /// Events by kind.
    pub(crate) events: BTreeMap<String, u64>,
    /// Minutes whose bar is not what its trades add up to.
    pub(crate) bars_that_differ: u64,
    pub(crate) bars: u64,
    /// Products whose latest price is not their newest tick.
    pub(crate) latest_that_differ: u64,
    pub(crate) subscribers: Vec<(&'static str, Seen)>,
}

const ROWS: &str = "COPY (SELECT product, trade_id, run, sequence, ts_event, price, volume, side \
    FROM tick_history ORDER BY product, run, sequence NULLS FIRST, trade_id) TO STDOUT";
const GAPS: &str = "SELECT product, run, first_trade_id, last_trade_id, repaired_count FROM gaps ORDER BY product, first_trade_id";
/// The trades of each minute, added up anew, beside the bar; a minute that has only one of the two differs.
const BARS: &str = "WITH trades AS (SELECT venue, product, price, volume, ts_event, trade_id, sequence, \
        ts_event - ts_event % 60000000000 AS minute FROM tick_history WHERE price IS NOT NULL), \
    sums AS (SELECT venue, product, minute, count(*) AS tick_count, sum(price) AS sum_price, \
        min(price) AS min_price, max(price) AS max_price, sum(volume) AS sum_volume, \
        (array_agg(price ORDER BY ts_event, trade_id, sequence))[1] AS open_price, \
        (array_agg(price ORDER BY ts_event DESC, trade_id DESC, sequence DESC))[1] AS close_price \
        FROM trades GROUP BY venue, product, minute) \
    SELECT count(*), count(*) FILTER (WHERE s.tick_count IS DISTINCT FROM b.tick_count \
        OR s.sum_price <> b.sum_price OR s.min_price <> b.min_price OR s.max_price <> b.max_price \
        OR s.sum_volume <> b.sum_volume OR s.open_price <> b.open_price OR s.close_price <> b.close_price) \
    FROM sums s FULL JOIN price_stats_1min b ON b.venue = s.venue AND b.product = s.product \
        AND (extract(epoch FROM b.time_bucket)::bigint * 1000000000) = s.minute";
const LATEST: &str = "SELECT count(*) FROM latest_prices l WHERE NOT EXISTS (SELECT FROM \
    (SELECT run, sequence FROM tick_history t WHERE t.venue = l.venue AND t.product = l.product \
        AND t.sequence IS NOT NULL ORDER BY run DESC, sequence DESC LIMIT 1) n \
    WHERE n.run = l.run AND n.sequence = l.last_seq)";

impl Evidence {
    /// Reads the database.
    pub(crate) async fn read_database(&mut self, postgres: &Postgres, url: &str) {
        self.stored = postgres.psql(url, ROWS).await.lines().map(row).collect();
        self.gaps = postgres.psql(url, GAPS).await.lines().map(gap).collect();
        let bars = postgres.psql(url, BARS).await;
        let mut counts = bars.split('|').map(|count| count.parse().expect("a count of bars"));
        (self.bars, self.bars_that_differ) = (counts.next().expect("bars"), counts.next().expect("bars"));
        self.latest_that_differ = postgres.psql(url, LATEST).await.parse().expect("a count of products");
    }
}

fn row(line: &str) -> Row {
    let mut fields = line.split('\t');
    let mut next = || fields.next().expect("a column");
    Row {
        product: next().to_owned(),
        trade_id: next().parse().expect("a trade_id"),
        run: next().parse().expect("a run"),
        sequence: next().parse().ok(),
        ts_event: next().parse().expect("an event time"),
        price: parse_number(next()).expect("a price"),
        size: parse_number(next()).expect("a size"),
        side: next().to_owned(),
    }
}

fn gap(line: &str) -> Gap {
    let mut fields = line.split('|');
    let mut next = || fields.next().expect("a column");
    Gap {
        product: next().to_owned(),
        run: next().parse().expect("a run"),
        first: next().parse().expect("a trade_id"),
        last: next().parse().expect("a trade_id"),
        repaired: next().parse().expect("a count"),
    }
}
