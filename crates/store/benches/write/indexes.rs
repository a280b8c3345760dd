//! What each index of `tick_history` costs: its bytes per row, and how much of a bare insert it takes.

use std::collections::BTreeMap;

use domain::Tick;
use sqlx::{AssertSqlSafe, Executor};
use testkit::Postgres;

use crate::{Rates, contenders::Bare, load::Load, rate};

const BATCH_TICKS: usize = 4000;
const ROUND_TICKS: usize = 24_000;
const ROUNDS: usize = 12;

pub(crate) async fn measure(server: &Postgres) {
    let probe = server.create_database().await;
    let _probe = Bare::new(&probe).await;
    for (kind, is_trade, condition) in [
        ("trades (a trade_id)", true, "(trade_id IS NOT NULL)"),
        ("quotes (no trade_id)", false, "(trade_id IS NULL)"),
    ] {
        println!("\nindexes, bare inserts of {kind}, batches of {BATCH_TICKS}");
        let list = format!(
            "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'tick_history'::regclass \
             AND coalesce(pg_get_expr(indpred, indrelid), '{condition}') = '{condition}' ORDER BY 1"
        );
        let names: Vec<String> = server.psql(&probe, &list).await.lines().map(str::to_owned).collect();
        measure_kind(server, &names, is_trade).await;
    }
}

async fn measure_kind(server: &Postgres, names: &[String], is_trade: bool) {
    let mut tables = Vec::new();
    for without in std::iter::once(None).chain(names.iter().map(Some)) {
        let url = server.create_database().await;
        let mut bare = Bare::new(&url).await;
        if let Some(name) = without {
            bare.connection().execute(AssertSqlSafe(format!("DROP INDEX {name}"))).await.unwrap();
        }
        tables.push((without, url, bare, Vec::new()));
    }
    let mut load = Load::default();
    for round in 0..ROUNDS {
        let ticks: Vec<Tick> = if is_trade { load.trades(ROUND_TICKS) } else { load.quotes(ROUND_TICKS) };
        let count = tables.len();
        for place in 0..count {
            let (_, _, bare, rates) = &mut tables[(round + place) % count];
            let rate = rate(bare, &ticks, BATCH_TICKS).await;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    let rows = ROUNDS * ROUND_TICKS;
    let mut sizes = BTreeMap::new();
    let whole = tables.remove(0);
    let select = "SELECT c.relname || ' ' || pg_relation_size(i.indexrelid) FROM pg_index i \
                  JOIN pg_inherits h ON h.inhrelid = i.indexrelid JOIN pg_class c ON c.oid = h.inhparent \
                  WHERE i.indrelid <> 'tick_history_default'::regclass";
    for line in server.psql(&whole.1, select).await.lines() {
        let (name, bytes) = line.split_once(' ').unwrap();
        sizes.insert(name.to_owned(), bytes.parse::<usize>().unwrap() / rows);
    }
    let heap =
        "SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'tick_history'::regclass";
    let heap: usize = server.psql(&whole.1, heap).await.parse().unwrap();
    for (without, _, _, rates) in tables {
        // The time of a row is 1 / rate; what is missing without the index is what it takes. Within a round, as the
        // machine has good and bad moments.
        let shares = whole.3.iter().zip(&rates).map(|(with, without)| 100.0 * (1.0 - with / without));
        let Rates(shares) = Rates::of(shares.collect());
        let (median, least, most) = (shares[shares.len() / 2], shares[0], shares[shares.len() - 1]);
        let name = without.cloned().unwrap_or_default();
        let bytes = sizes.get(&name).copied().unwrap_or_default();
        println!(
            "  {name:<24} {bytes:>4} bytes a row, {median:>5.1} % of the time (min {least:.1}, max {most:.1})"
        );
    }
    let with_all = Rates::of(whole.3);
    println!("  rows/s with every index {}; heap {} bytes a row", with_all.row(), heap / rows);
}
