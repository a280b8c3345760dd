//! Inserting ticks, and learning which of them were new.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::{Decimal, Instrument, UnixNanos};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter,
    QueryResult, QuerySelect, Statement, Value, sea_query::Expr,
};

use super::{
    gaps::Around,
    prepare::{Identity, Prepared, Row},
};
use crate::{
    StoreError,
    entity::{Number, tick_history},
    error::during,
    row::numbers,
};

/// How many rows one statement takes on SQLite: 17 values each, of at most 32,766.
const SQLITE_ROWS_MAX: usize = 256;
/// How many trades are looked up at once.
const LOOKUP_MAX: usize = 1000;

const COLUMNS: &str = "venue, product, \"timestamp\", run, sequence, price, bid, ask, volume, bid_size, ask_size, \
                       side, trade_id, flags, ts_event, ts_ingest, tick_seq";
/// What [`identity`] reads, in this order.
const IDENTITY: &str = "venue, product, run, sequence, trade_id, ts_event";

/// One statement with an array per column. COPY cannot skip what is stored already; into a temporary table and on from there
/// it reaches 0.6 to 0.8 (batches of 1,000) or 0.7 to 0.9 (of 4,000) of the rows per second of this (medians of four runs of
/// `make bench-store`), and needs the right to make temporary tables.
///
/// Arrays cannot bind NULL, so absent integers travel as -1, absent texts as '' and absent numbers as the least decimal, which
/// is [`ABSENT`].
const SELECT_UNNEST: &str = "SELECT venue, product, $1, run, NULLIF(sequence, -1), NULLIF(price, $19), NULLIF(bid, $19), \
     NULLIF(ask, $19), NULLIF(volume, $19), NULLIF(bid_size, $19), NULLIF(ask_size, $19), NULLIF(side, ''), \
     NULLIF(trade_id, -1), flags, ts_event, ts_ingest, NULLIF(tick_seq, -1) \
     FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::numeric[], $7::numeric[], $8::numeric[], \
     $9::numeric[], $10::numeric[], $11::numeric[], $12::text[], $13::bigint[], $14::integer[], $15::bigint[], \
     $16::bigint[], $17::bigint[]) AS t(venue, product, run, sequence, price, bid, ask, volume, bid_size, ask_size, side, \
     trade_id, flags, ts_event, ts_ingest, tick_seq)";
/// No price or size is negative, so none is this.
const ABSENT: Decimal = Decimal::MIN;

/// Takes out the backfilled trades that are stored already, whatever their time, and the live ones that lie in a gap and are
/// stored already: they may have been fetched before they came, with another time.
pub(super) async fn remove_stored_trades(
    transaction: &DatabaseTransaction,
    prepared: &mut Prepared<'_>,
    around: &Around,
) -> Result<(), StoreError> {
    let in_question = |row: &Row<'_>| row.is_backfill() || around.gap_of(row).is_some();
    let mut wanted: Vec<(&Instrument, i64)> = prepared
        .rows
        .iter()
        .filter(|row| in_question(row))
        .filter_map(|row| Some((&row.tick.instrument, row.trade_id?)))
        .collect();
    // So that one lookup is of few products.
    wanted.sort_unstable();
    let mut stored = HashSet::new();
    for wanted in wanted.chunks(LOOKUP_MAX) {
        for (venue, product, run, trade_id) in &look_up(transaction, wanted).await? {
            if let Some(instrument) = prepared.number_of(venue, product) {
                // Under its run, and under any.
                stored.extend([(instrument, Some(*run), *trade_id), (instrument, None, *trade_id)]);
            }
        }
    }
    prepared.rows.retain(|row| {
        let run = if row.is_backfill() { None } else { Some(row.run) };
        let is_stored =
            row.trade_id.is_some_and(|trade_id| stored.contains(&(row.instrument, run, trade_id)));
        !(is_stored && in_question(row))
    });
    Ok(())
}

/// Of the trades with these numbers of these products, venue, product, run and number of those that are stored. By number, which
/// has an index of its own; other products may have the same numbers.
async fn look_up(
    transaction: &DatabaseTransaction,
    wanted: &[(&Instrument, i64)],
) -> Result<Vec<(String, String, i64, i64)>, StoreError> {
    let products: BTreeSet<&str> = wanted.iter().map(|(instrument, _)| instrument.product.as_str()).collect();
    let trade_ids = wanted.iter().map(|(_, trade_id)| *trade_id);
    let known = tick_history::Entity::find().select_only().columns([
        tick_history::Column::Venue,
        tick_history::Column::Product,
        tick_history::Column::Run,
        tick_history::Column::TradeId,
    ]);
    let known = if transaction.get_database_backend() == DbBackend::Postgres {
        // One statement, however many there are.
        let products: Vec<String> = products.into_iter().map(str::to_owned).collect();
        let arrays: [Value; 2] = [trade_ids.collect::<Vec<i64>>().into(), products.into()];
        known.filter(Expr::cust_with_values("trade_id = ANY($1) AND product = ANY($2)", arrays))
    } else {
        known
            .filter(tick_history::Column::TradeId.is_in(trade_ids))
            .filter(tick_history::Column::Product.is_in(products))
    };
    known.into_tuple().all(transaction).await.map_err(during("look up trades"))
}

/// Inserts the ticks that are not stored yet and returns them.
pub(super) async fn insert<'p, 'a>(
    transaction: &DatabaseTransaction,
    prepared: &'p Prepared<'a>,
    written_at: UnixNanos,
) -> Result<Vec<&'p Row<'a>>, StoreError> {
    if prepared.is_empty() {
        return Ok(Vec::new());
    }
    let insert = async |statement| transaction.query_all_raw(statement).await.map_err(during("insert ticks"));
    if transaction.get_database_backend() == DbBackend::Postgres {
        let returned = insert(unnest(&prepared.rows, written_at)).await?;
        let is_all_new = returned.first().map(|row| row.try_get("", "is_all_new")).transpose();
        return if is_all_new.map_err(during("insert ticks"))?.unwrap_or(false) {
            Ok(prepared.rows.iter().collect())
        } else {
            found(prepared, &prepared.rows, &returned)
        };
    }
    let mut inserted = Vec::with_capacity(prepared.rows.len());
    for rows in prepared.rows.chunks(SQLITE_ROWS_MAX) {
        let returned = insert(values(rows, written_at)).await?;
        if returned.len() == rows.len() {
            inserted.extend(rows);
        } else {
            inserted.extend(found(prepared, rows, &returned)?);
        }
    }
    Ok(inserted)
}

/// Those of `rows` that the database returned.
fn found<'p, 'a>(
    prepared: &Prepared<'_>,
    rows: &'p [Row<'a>],
    returned: &[QueryResult],
) -> Result<Vec<&'p Row<'a>>, StoreError> {
    let by_identity: HashMap<Identity, &Row<'_>> = rows.iter().map(|row| (row.identity, row)).collect();
    let mut found = Vec::with_capacity(returned.len());
    for row in returned {
        let identity = identity(prepared, row).map_err(during("insert ticks"))?;
        found.extend(identity.and_then(|identity| by_identity.get(&identity)));
    }
    Ok(found)
}

fn identity(prepared: &Prepared<'_>, row: &QueryResult) -> Result<Option<Identity>, DbErr> {
    let venue: String = row.try_get("", "venue")?;
    let product: String = row.try_get("", "product")?;
    let Some(instrument) = prepared.number_of(&venue, &product) else {
        return Ok(None);
    };
    let ts_event = row.try_get("", "ts_event")?;
    if let Some(trade_id) = row.try_get("", "trade_id")? {
        return Ok(Some(Identity::Trade { instrument, ts_event, trade_id }));
    }
    let run = row.try_get("", "run")?;
    let sequence = row.try_get("", "sequence")?;
    Ok(Some(Identity::Quote { instrument, run, sequence, ts_event }))
}

fn unnest(rows: &[Row<'_>], written_at: UnixNanos) -> Statement {
    let integers = |value: &dyn Fn(&Row<'_>) -> Option<i64>| -> Value {
        rows.iter().map(|row| value(row).unwrap_or(-1)).collect::<Vec<i64>>().into()
    };
    let texts = |value: &dyn Fn(&Row<'_>) -> Option<String>| -> Value {
        rows.iter().map(|row| value(row).unwrap_or_default()).collect::<Vec<String>>().into()
    };
    let numbers = rows.iter().map(|row| numbers(row.tick)).collect::<Vec<_>>();
    let number = |column: usize| -> Value {
        let value = |row: &[Option<Decimal>; 6]| row.get(column).copied().flatten().unwrap_or(ABSENT);
        numbers.iter().map(value).collect::<Vec<Decimal>>().into()
    };
    let arguments = [
        written_at.to_offset_date_time().into(),
        texts(&|row| Some(row.tick.instrument.venue.to_string())),
        texts(&|row| Some(row.tick.instrument.product.to_string())),
        integers(&|row| Some(row.run)),
        integers(&|row| row.sequence),
        number(0),
        number(1),
        number(2),
        number(3),
        number(4),
        number(5),
        texts(&|row| side(row).map(str::to_owned)),
        integers(&|row| row.trade_id),
        rows.iter().map(flags).collect::<Vec<i32>>().into(),
        integers(&|row| Some(row.tick.event_time.nanos())),
        integers(&|row| Some(row.tick.receive_time.nanos())),
        integers(&|row| row.tick_seq),
        i64::try_from(rows.len()).unwrap_or(i64::MAX).into(),
        ABSENT.into(),
    ];
    // Nearly always every tick is new; then the answer is one row that says so.
    let sql = format!(
        "WITH inserted AS (INSERT INTO tick_history ({COLUMNS}) {SELECT_UNNEST} ON CONFLICT DO NOTHING RETURNING {IDENTITY}), \
         counted AS (SELECT count(*) = $18 AS is_all_new FROM inserted) \
         SELECT NULL::text AS venue, NULL::text AS product, NULL::bigint AS run, NULL::bigint AS sequence, \
         NULL::bigint AS trade_id, NULL::bigint AS ts_event, true AS is_all_new FROM counted WHERE is_all_new \
         UNION ALL SELECT {IDENTITY}, false FROM inserted, counted WHERE NOT is_all_new"
    );
    Statement::from_sql_and_values(DbBackend::Postgres, sql, arguments)
}

fn values(rows: &[Row<'_>], written_at: UnixNanos) -> Statement {
    let places = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows.len()].join(", ");
    let arguments = rows.iter().flat_map(|row| {
        let [price, bid, ask, volume, bid_size, ask_size] =
            numbers(row.tick).map(|number| Value::from(number.map(Number)));
        let values: [Value; 17] = [
            row.tick.instrument.venue.as_str().into(),
            row.tick.instrument.product.as_str().into(),
            written_at.to_offset_date_time().into(),
            row.run.into(),
            row.sequence.into(),
            price,
            bid,
            ask,
            volume,
            bid_size,
            ask_size,
            side(row).into(),
            row.trade_id.into(),
            flags(row).into(),
            row.tick.event_time.nanos().into(),
            row.tick.receive_time.nanos().into(),
            row.tick_seq.into(),
        ];
        values
    });
    let sql = format!(
        "INSERT INTO tick_history ({COLUMNS}) VALUES {places} ON CONFLICT DO NOTHING RETURNING {IDENTITY}"
    );
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, arguments)
}

fn side(row: &Row<'_>) -> Option<&'static str> {
    row.tick.last_trade.as_ref().and_then(|trade| trade.side).map(domain::Side::as_str)
}

fn flags(row: &Row<'_>) -> i32 {
    i32::try_from(row.tick.flags.to_bits()).unwrap_or_default()
}
