//! Inserting ticks, and learning which of them were new.

use std::collections::{HashMap, HashSet};

use domain::{Decimal, UnixNanos};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter,
    QueryResult, QuerySelect, Statement, Value,
};

use super::prepare::{Identity, Prepared, Row};
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
const RETURNING: &str = "ON CONFLICT DO NOTHING RETURNING venue, product, run, sequence, trade_id, ts_event";

/// Arrays cannot bind NULL, so absent integers travel as -1 and absent texts and numbers as ''. Numbers travel as text,
/// which PostgreSQL reads exactly.
const SELECT_UNNEST: &str = "SELECT venue, product, $1, run, NULLIF(sequence, -1), NULLIF(price, '')::numeric, \
     NULLIF(bid, '')::numeric, NULLIF(ask, '')::numeric, NULLIF(volume, '')::numeric, NULLIF(bid_size, '')::numeric, \
     NULLIF(ask_size, '')::numeric, NULLIF(side, ''), NULLIF(trade_id, -1), flags, ts_event, ts_ingest, NULLIF(tick_seq, -1) \
     FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], \
     $10::text[], $11::text[], $12::text[], $13::bigint[], $14::integer[], $15::bigint[], $16::bigint[], $17::bigint[]) \
     AS t(venue, product, run, sequence, price, bid, ask, volume, bid_size, ask_size, side, trade_id, flags, ts_event, \
     ts_ingest, tick_seq)";

/// Takes out the backfilled trades that are stored already, whatever their time.
pub(super) async fn remove_stored_backfills(
    transaction: &DatabaseTransaction,
    prepared: &mut Prepared<'_>,
) -> Result<(), StoreError> {
    let wanted: Vec<i64> =
        prepared.rows.iter().filter(|row| row.is_backfill()).filter_map(|row| row.trade_id).collect();
    let mut stored = HashSet::new();
    for trade_ids in wanted.chunks(LOOKUP_MAX) {
        // By trade_id alone, which has an index of its own; other products have few of the same numbers.
        let rows: Vec<(String, String, i64)> = tick_history::Entity::find()
            .select_only()
            .columns([
                tick_history::Column::Venue,
                tick_history::Column::Product,
                tick_history::Column::TradeId,
            ])
            .filter(tick_history::Column::TradeId.is_in(trade_ids.iter().copied()))
            .into_tuple()
            .all(transaction)
            .await
            .map_err(during("look up backfilled trades"))?;
        stored.extend(
            rows.iter().filter_map(|(venue, product, trade_id)| {
                Some((prepared.number_of(venue, product)?, *trade_id))
            }),
        );
    }
    prepared.rows.retain(|row| {
        let is_stored = row.trade_id.is_some_and(|trade_id| stored.contains(&(row.instrument, trade_id)));
        !(row.is_backfill() && is_stored)
    });
    Ok(())
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
    let by_identity: HashMap<Identity, &Row<'_>> =
        prepared.rows.iter().map(|row| (row.identity, row)).collect();
    let statements = match transaction.get_database_backend() {
        DbBackend::Postgres => vec![unnest(&prepared.rows, written_at)],
        _ => prepared.rows.chunks(SQLITE_ROWS_MAX).map(|rows| values(rows, written_at)).collect(),
    };
    let mut inserted = Vec::with_capacity(prepared.rows.len());
    for statement in statements {
        for returned in transaction.query_all_raw(statement).await.map_err(during("insert ticks"))? {
            let identity = identity(prepared, &returned).map_err(during("insert ticks"))?;
            inserted.extend(identity.and_then(|identity| by_identity.get(&identity)));
        }
    }
    Ok(inserted)
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
        let text =
            |row: &[Option<Decimal>; 6]| row.get(column).copied().flatten().map(|number| number.to_string());
        numbers.iter().map(|row| text(row).unwrap_or_default()).collect::<Vec<String>>().into()
    };
    let arguments = [
        written_at.to_offset_date_time().into(),
        texts(&|row| Some(row.tick.instrument.venue.to_string())),
        texts(&|row| Some(row.tick.instrument.product.to_string())),
        integers(&|row| Some(i64::from(row.tick.run))),
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
    ];
    let sql = format!("INSERT INTO tick_history ({COLUMNS}) {SELECT_UNNEST} {RETURNING}");
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
            i64::from(row.tick.run).into(),
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
    let sql = format!("INSERT INTO tick_history ({COLUMNS}) VALUES {places} {RETURNING}");
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, arguments)
}

fn side(row: &Row<'_>) -> Option<&'static str> {
    row.tick.last_trade.as_ref().and_then(|trade| trade.side).map(domain::Side::as_str)
}

fn flags(row: &Row<'_>) -> i32 {
    i32::try_from(row.tick.flags.to_bits()).unwrap_or_default()
}
